"""FKD, FGFI, DeFeat and PKD where their releases leave something open, and what they are built to avoid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.methods import fgfi
from tasks.methods.defeat import DeFeatHeadLoss, DeFeatLoss, covered_cells
from tasks.methods.fgfi import FGFILoss, FGFISingleMapLoss, imitated_cells
from tasks.methods.fkd import DotProductNonLocal, FKDLoss
from tasks.methods.pkd import PKDLoss
from tasks.methods.pyramids import boxes_of_levels
from tests.methods.cases.fgfi import ANCHORS
from tests.methods.loss_case import feature_maps, pyramid_inputs

STRIDES = (4, 8, 16)
SHAPES = [(48, 56)] * 2
ON_PYRAMIDS: dict[str, Callable[..., Any]] = {"FGFI": FGFILoss, "DeFeat": DeFeatLoss}
each_on_pyramids = pytest.mark.parametrize("loss", ON_PYRAMIDS.values(), ids=ON_PYRAMIDS)


def pair(images: int = 2, channels: int = 4) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(0)
    inputs = pyramid_inputs(images, channels, channels)
    student: list[Tensor] = [level.requires_grad_() for level in inputs.student["student"]]
    return student, inputs.teacher["teacher"]


def finite_gradients(value: Tensor, *of: Any) -> list[Tensor]:
    """Gradients with respect to lists of tensors and parameters of modules; all are there, and finite."""
    leaves: list[Tensor] = []
    for one in of:
        leaves += one.parameters() if isinstance(one, nn.Module) else one
    gradients = torch.autograd.grad(value, leaves)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return list(gradients)


class Counted(TorchDispatchMode):
    """Counts operations, and remembers the largest tensor that one gave out."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.operations += 1
        self.largest = max([self.largest, *(one.numel() for one in (found,) if isinstance(one, Tensor))])
        return found


def operations(compute: Callable[[], Any]) -> int:
    counted = Counted()
    with counted:
        compute()
    return counted.operations


# FKD


def norm_of(block: Any) -> Any:
    return block.W[1]


def exact_fkd() -> FKDLoss:
    """Adaptations that change nothing; the relations start as the identity."""
    loss = FKDLoss(4, 4, pool_strides=(4, 2, 2))
    for layers in (loss.adaptation_layers, loss.non_local_adaptation):
        for layer in layers:
            weight, bias = layer.parameters()
            nn.init.dirac_(weight)
            nn.init.zeros_(bias)
    return loss


def test_fkd_of_an_exact_match_is_zero_with_a_gradient_of_zero() -> None:
    loss = exact_fkd()
    student, _ = pair()
    terms = loss.terms(student, [level.detach().clone() for level in student])
    for name in ("feature", "nonlocal"):
        assert terms[name] == 0
        layers = loss.adaptation_layers if name == "feature" else loss.non_local_adaptation
        (gradients := finite_gradients(terms[name], student)).extend(
            torch.autograd.grad(loss.terms(student, student)[name], list(layers.parameters()))
        )
        assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


@pytest.mark.parametrize("term", ["channel", "spatial"])
def test_fkd_of_blank_maps_has_finite_gradients_in_its_norms(term: str) -> None:
    loss = FKDLoss(4, 4, pool_strides=(4, 2, 2))
    for layer in (*loss.channel_wise_adaptation, *loss.spatial_wise_adaptation):
        _, bias = layer.parameters()
        nn.init.zeros_(bias)
    student = [torch.zeros(2, 4, *size, requires_grad=True) for size in ((12, 14), (6, 7), (3, 4))]
    value = loss.terms(student, student)[term]
    assert value == 0
    finite_gradients(value, student)


@pytest.mark.parametrize("training", [True, False])
def test_fkd_of_a_single_position_in_a_batch_of_one_trains_all_of_its_layers(training: bool) -> None:
    loss = FKDLoss(4, 4, pool_strides=(8,)).train(training)
    student, teacher = torch.randn(1, 4, 1, 1, requires_grad=True), torch.randn(1, 4, 1, 1)
    value = loss([student], [teacher])
    assert torch.isfinite(value)
    finite_gradients(value, [student], loss)


def test_a_single_position_is_its_own_mean() -> None:
    block = DotProductNonLocal(3, 2, stride=2)
    nn.init.normal_(norm_of(block).weight)
    nn.init.normal_(norm_of(block).bias)
    features = torch.randn(1, 3, 1, 1)
    twice = block(features.repeat(2, 1, 1, 1))
    torch.testing.assert_close(block(features), twice[:1])


def test_a_map_smaller_than_the_stride_is_pooled_to_one_position() -> None:
    torch.manual_seed(0)
    wide, narrow = (DotProductNonLocal(3, 2, stride).eval() for stride in (8, 3))
    narrow.load_state_dict(wide.state_dict())
    for block in (wide, narrow):
        nn.init.ones_(norm_of(block).weight)
    features = torch.randn(2, 3, 3, 3)
    torch.testing.assert_close(wide(features), narrow(features))


def test_the_relation_never_holds_the_products_of_all_pairs_of_positions() -> None:
    features = torch.randn(1, 4, 24, 24)
    with Counted() as counted:
        DotProductNonLocal(4, 2, stride=2)(features)
    assert 0 < counted.largest <= features.numel() < 24 * 24 * 12 * 12


def test_the_relation_has_64_and_128_inner_channels_of_256_unless_told() -> None:
    def inner(loss: FKDLoss) -> list[int]:
        return [len(next(block.get_submodule("theta").parameters())) for block in loss.student_non_local]

    assert inner(FKDLoss(256, 256)) == [64, 64, 128, 128, 128]
    assert inner(FKDLoss(64, 64)) == [16, 16, 32, 32, 32]
    assert inner(FKDLoss(64, 64, pool_strides=(2, 2), inner_channels=(8, 24))) == [8, 24]


def test_fkd_starts_with_relations_that_change_nothing() -> None:
    student, teacher = pair()
    loss = FKDLoss(4, 4, pool_strides=(4, 2, 2))
    for blocks, levels in ((loss.student_non_local, student), (loss.teacher_non_local, teacher)):
        assert all(torch.equal(block(level), level) for block, level in zip(blocks, levels, strict=True))


def test_fkd_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"student has 4 channels and teacher 6.*equal width"):
        FKDLoss(4, 6)
    with pytest.raises(ValueError, match="2 inner_channels and 5 pool_strides"):
        FKDLoss(4, 4, inner_channels=(2, 2))
    student, teacher = pair()
    with pytest.raises(ValueError, match=r"student \[\(2, 4, 12, 14\), .* do not fit: .* 5 levels"):
        FKDLoss(4, 4)(student, teacher)


# Boxes and their levels


def test_boxes_are_dealt_out_by_their_side_with_both_ends_counted() -> None:
    sides = torch.tensor([0.0, 54.0, 55.0, 110.0, 111.0, 223.0, 5000.0])
    boxes = torch.stack([torch.full_like(sides, 3), torch.zeros_like(sides), sides + 3, sides], dim=1)
    dealt = boxes_of_levels(boxes.unsqueeze(0), 3, 56.0)
    there = torch.stack([level[0].isfinite().all(dim=1) for level in dealt])
    assert there.long().argmax(dim=0).tolist() == [0, 0, 0, 0, 1, 2, 2]
    assert torch.equal(there.sum(dim=0), torch.ones(7, dtype=torch.long))
    assert torch.equal(dealt[1][0][4], boxes[4])


@each_on_pyramids
def test_boxes_that_are_not_one_tensor_an_image_are_refused(loss: Callable[..., Any]) -> None:
    student, teacher = pair()
    with pytest.raises(ValueError, match="2 images, 1 box tensors and 2 image shapes do not fit"):
        loss(4, 4, strides=STRIDES)(student, teacher, [torch.zeros(0, 4)], SHAPES)
    with pytest.raises(ValueError, match=r"boxes of image 1 have shape \(3,\)"):
        loss(4, 4, strides=STRIDES)(student, teacher, [torch.zeros(0, 4), torch.zeros(3)], SHAPES)
    single = FGFISingleMapLoss(4, 6, ANCHORS)
    with pytest.raises(ValueError, match="2 images, 1 box tensors do not fit: give one n x 4 box tensor per"):
        single(*feature_maps(2), [torch.zeros(0, 4)])


@each_on_pyramids
def test_strides_of_another_network_are_refused(loss: Callable[..., Any]) -> None:
    student, teacher = pair()
    empty = [torch.zeros(0, 4)] * 2
    loss(4, 4, strides=STRIDES)(student, teacher, empty, [(48, 30), (20, 56)])
    with pytest.raises(ValueError, match=r"12 x 14 cells and stride 2 do not fit images of up to 48 x 56"):
        loss(4, 4, strides=(2, 4, 8))(student, teacher, empty, [(48, 30), (20, 56)])


@each_on_pyramids
def test_no_loop_runs_over_boxes_or_anchors(loss: Callable[..., Any]) -> None:
    student, teacher = pair()
    module = loss(4, 4, strides=STRIDES)
    one, most = (torch.tensor([[3.0, 4.0, 40.0, 30.0]]).repeat(count, 1) for count in (1, fgfi.BOXES_AT_ONCE))

    def counted(boxes: Tensor) -> int:
        return operations(lambda: module(student, teacher, [boxes, boxes], SHAPES))

    assert counted(most) == counted(one) > 0


@each_on_pyramids
def test_a_box_outside_of_the_image_leaves_the_loss_finite(loss: Callable[..., Any]) -> None:
    student, teacher = pair()
    module = loss(4, 4, strides=STRIDES)
    boxes = torch.tensor([[500.0, 500.0, 520.0, 520.0], [-30.0, -9.0, -10.0, -2.0], [9.0, 9.0, 9.0, 9.0]])
    value = module(student, teacher, [boxes, boxes[:1]], SHAPES)
    assert torch.isfinite(value)
    finite_gradients(value, student, module)


# FGFI


def test_fgfi_of_a_batch_without_any_box_is_zero_with_a_gradient_of_zero() -> None:
    student, teacher = pair()
    empty = [torch.zeros(0, 4)] * 2
    module = FGFILoss(4, 4, strides=STRIDES)
    single = FGFISingleMapLoss(4, 4, ANCHORS, stride=4)
    for value, levels, loss in (
        (module(student, teacher, empty, SHAPES), student, module),
        (single(student[0], teacher[0], empty), student[:1], single),
    ):
        assert value == 0
        assert all(gradient.abs().max() == 0 for gradient in finite_gradients(value, levels, loss))


def test_a_crowded_image_is_taken_block_by_block_to_the_same_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    corners = torch.rand(2, 3 * fgfi.BOXES_AT_ONCE + 1, 2) * 40
    boxes = torch.cat([corners, corners + 2 + 30 * torch.rand_like(corners)], dim=2)
    anchors = torch.tensor(ANCHORS)

    def cells() -> Tensor:
        return imitated_cells(boxes, anchors, 4, (12, 14), 0.9)

    in_blocks, counted = cells(), operations(cells)
    monkeypatch.setattr(fgfi, "BOXES_AT_ONCE", 1000)
    assert torch.equal(in_blocks, cells())
    assert 0 < in_blocks.sum() < in_blocks.numel()
    assert operations(cells) < counted


def test_only_anchors_above_the_share_of_the_largest_overlap_are_imitated() -> None:
    # Anchors of 4 x 4 pixels, one a cell; the box overlaps with two of them.
    boxes = torch.tensor([[[0.0, 0.0, 6.0, 4.0]]])
    anchors = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    # IoU 16 / 24 and 8 / 32: a share of 0.375.
    found = {share: imitated_cells(boxes, anchors, 4, (1, 3), share)[0, 0].tolist() for share in (0.37, 0.38)}
    assert found == {0.37: [True, True, False], 0.38: [True, False, False]}


def test_a_box_that_no_anchor_overlaps_with_imitates_nothing() -> None:
    boxes = torch.tensor([[[500.0, 500.0, 520.0, 520.0], [-30.0, -9.0, -20.0, -5.0], [9.0, 9.0, 9.0, 9.0]]])
    assert not imitated_cells(boxes, torch.tensor(ANCHORS), 4, (12, 14), 0.5).any()


def test_the_adaptation_of_one_map_starts_small_and_not_at_zero() -> None:
    weight = next(FGFISingleMapLoss(16, 16, ANCHORS).parameters())
    assert 0 < weight.abs().max() < 2e-4
    assert weight.std() > 5e-5


# DeFeat


@pytest.mark.parametrize(
    ("box", "columns", "rows"),
    [
        # From the cell it begins in to the one before it ends in.
        ([5.0, 0.0, 13.0, 8.0], [1, 2], [0, 1]),
        # Without a cell of its own in one direction: the one it begins in.
        ([5.0, 0.0, 7.0, 12.0], [1], [0]),
        ([5.0, 9.0, 5.0, 9.0], [1], [2]),
        # Over the border on either side.
        ([-5.0, -1.0, 99.0, 99.0], [0, 1, 2, 3], [0, 1, 2]),
        # Behind the map.
        ([40.0, 2.0, 60.0, 9.0], [3], [0]),
        ([16.0, 12.0, 18.0, 13.0], [3], [2]),
    ],
)
def test_a_box_covers_the_cells_of_the_release(box: list[float], columns: list[int], rows: list[int]) -> None:
    expected = torch.zeros(3, 4, dtype=torch.bool)
    expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    found = covered_cells(torch.tensor([[box]]), 4, (3, 4))
    assert torch.equal(found[0], expected)


def test_defeat_of_a_batch_that_is_all_object_or_none_has_one_term() -> None:
    student, teacher = (levels[:1] for levels in pair(images=1))
    whole, nothing = torch.tensor([[0.0, 0.0, 56.0, 48.0]]), torch.zeros(0, 4)
    for boxes, weights in ((whole, (3.0, 0.0)), (nothing, (0.0, 12.0))):
        torch.manual_seed(1)
        both = DeFeatLoss(4, 4, strides=(4,))
        one = DeFeatLoss(4, 4, *weights, strides=(4,))
        one.load_state_dict(both.state_dict())
        values = [module(student, teacher, [boxes], [(48, 56)]) for module in (both, one)]
        assert values[0] == values[1] > 0
        finite_gradients(values[0], student, both)


def test_a_head_without_proposals_of_one_kind_has_the_term_of_the_other() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    divergence = (teacher.softmax(1) * (teacher.log_softmax(1) - student.log_softmax(1))).sum(1).mean()
    loss = DeFeatHeadLoss(foreground_weight=2.0, background_weight=5.0)
    # No background here, and yet the largest label is not taken for it.
    for label, weight in ((torch.tensor([0, 1, 2, 2, 0]), 2.0), (torch.full((5,), 3), 5.0)):
        value = loss(student, teacher, label)
        torch.testing.assert_close(value, weight * divergence)
        finite_gradients(value, [student])
    assert loss(student[:0], teacher[:0], torch.zeros(0, dtype=torch.long)) == 0


def test_labels_that_are_not_one_a_proposal_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits \(5, 4\) and label \(4,\) do not fit"):
        DeFeatHeadLoss()(torch.zeros(5, 4), torch.zeros(5, 4), torch.zeros(4, dtype=torch.long))


# PKD


def test_a_flat_channel_is_zero_whatever_its_offset() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(2, 64, 9, 11)
    count = teacher[:, 0].numel()
    # Of most of these values the sum over a channel is rounded.
    offsets = torch.linspace(100, 2000, 64).view(1, 64, 1, 1)
    student = offsets.expand_as(teacher).clone().requires_grad_()
    value = PKDLoss(weight=6.0)(student, teacher)
    torch.testing.assert_close(value, torch.tensor(3.0 * (count - 1) / count))
    assert finite_gradients(value, [student])[0].abs().max() > 10
    both = PKDLoss()(student, torch.full_like(teacher, -3.3))
    assert both == 0
    assert finite_gradients(both, [student])[0].abs().max() == 0


def test_pkd_of_a_single_position_in_a_batch_of_one_is_zero() -> None:
    student = torch.randn(1, 4, 1, 1, requires_grad=True)
    value = PKDLoss()(student, torch.randn(1, 4, 1, 1))
    assert value == 0
    assert torch.equal(finite_gradients(value, [student])[0], torch.zeros(1, 4, 1, 1))


def test_a_student_that_differs_by_magnitude_and_offset_alone_has_no_loss() -> None:
    teacher = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert PKDLoss()(3 * teacher + 1, teacher) == pytest.approx(0, abs=1e-9)
    assert PKDLoss()(-teacher, teacher) == pytest.approx(2 * 6 * 49 / 50, rel=1e-5)


def test_pkd_refuses_maps_of_one_height_and_two_widths_and_an_unknown_side() -> None:
    with pytest.raises(ValueError, match="of one width where they are of one height"):
        PKDLoss()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match="resize 'teachers' is unknown: use 'student' or 'teacher'"):
        PKDLoss(resize="teachers")  # type: ignore[arg-type]
