"""Losses on features on the edges: AT, VID, FitNet, OFD, ReviewKD and CRD, and the memory of the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.methods.at import ATLoss
from tasks.methods.crd import CRDLoss, OtherClasses
from tasks.methods.fitnet import FitNetLoss
from tasks.methods.ofd import OFDLoss, margin, partial_error
from tasks.methods.reviewkd import ReviewKDLoss, hierarchical_context_loss
from tasks.methods.stages import StageNorm
from tasks.methods.vid import VIDLoss
from tests.fake_gpu import FakeGPU


def maps(channels: int, *size: int, images: int = 2) -> Tensor:
    return torch.randn(images, channels, *size)


def finite_gradient(loss: Tensor, of: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, of)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    return gradient


# Attention transfer


@pytest.mark.parametrize("distance", ["mean_square", "euclidean"])
@pytest.mark.parametrize("factor", [1.0, 0.0], ids=["exact match", "two maps of zeros"])
def test_at_is_zero_without_a_gradient_where_the_attentions_agree(distance: Any, factor: float) -> None:
    teacher = factor * maps(6, 4, 5)
    student = teacher.clone().requires_grad_()
    loss = ATLoss(distance=distance)(student, teacher)
    assert loss == 0
    assert not finite_gradient(loss, student).any()


def test_at_takes_one_map_as_one_stage_and_refuses_another_number_of_stages() -> None:
    student, teacher = maps(4, 5, 7), maps(6, 5, 7)
    assert ATLoss()(student, teacher) == ATLoss()([student], [teacher])
    with pytest.raises(ValueError, match="2 student and 1 teacher stages do not fit"):
        ATLoss()([student, student], teacher)
    with pytest.raises(ValueError, match="0 student and 0 teacher stages do not fit"):
        ATLoss()([], [])


@pytest.mark.parametrize("loss", [ATLoss(), VIDLoss(4, 6)], ids=["AT", "VID"])
def test_maps_of_unequal_height_are_pooled_and_of_unequal_width_alone_refused(loss: nn.Module) -> None:
    coarse, fine = maps(6, 3, 4), nn.functional.interpolate(maps(4, 3, 4), scale_factor=2)
    torch.testing.assert_close(loss(fine, coarse), loss(fine[:, :, ::2, ::2], coarse))
    with pytest.raises(ValueError, match=r"\(2, 4, 3, 5\) and teacher \(2, 6, 3, 4\) do not fit"):
        loss(maps(4, 3, 5), coarse)


def test_at_refuses_an_unknown_distance() -> None:
    with pytest.raises(ValueError, match="distance 'l1' is unknown"):
        ATLoss(distance="l1")  # type: ignore[arg-type]  # the mistake in question


# VID


def test_vid_begins_with_the_variance_that_it_is_told() -> None:
    loss = VIDLoss(4, 6, initial_variance=3.0)
    for layer in loss.regressor.parameters():
        nn.init.zeros_(layer)
    found = loss(maps(4, 5, 7), torch.full((2, 6, 5, 7), 2.0))
    assert found.item() == pytest.approx(0.5 * (4 / 3 + torch.tensor(3.0).log().item()), rel=1e-5)
    with pytest.raises(ValueError, match="initial_variance 0 is out of range"):
        VIDLoss(4, 6, initial_variance=0)


# FitNet, and the batch norm of a single value


@pytest.mark.parametrize(("student", "teacher"), [(8, 4), (4, 8), (8, 5), (7, 7), (2, 1), (1, 2), (1, 1)])
def test_fitnet_makes_maps_of_these_heights_fit(student: int, teacher: int) -> None:
    loss = FitNetLoss(4, 6, student_size=student, teacher_size=teacher)
    own = maps(4, student, student, images=1).requires_grad_()
    finite_gradient(loss(own, maps(6, teacher, teacher, images=1)), own)


def test_fitnet_refuses_a_student_map_that_it_cannot_enlarge() -> None:
    with pytest.raises(ValueError, match="student_size 4 and teacher_size 6 do not fit"):
        FitNetLoss(4, 6, student_size=4, teacher_size=6)
    # A loss that was built for maps of one height.
    with pytest.raises(ValueError, match=r"student \(2, 4, 8, 8\) and teacher \(2, 6, 4, 4\) do not fit"):
        FitNetLoss(4, 6)(maps(4, 8, 8), maps(6, 4, 4))


def test_a_single_value_a_channel_is_normalised_with_the_running_statistics() -> None:
    norm = StageNorm(3)
    several = maps(3, 4, 4)
    torch.testing.assert_close(norm(several), nn.BatchNorm2d(3)(several))
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    one = maps(3, 1, 1, images=1)
    torch.testing.assert_close(norm(one), norm.eval()(one))
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


# OFD


def test_the_margin_is_the_mean_of_the_negative_part_of_a_channel() -> None:
    weight, bias = torch.tensor([1.0, -0.7, 2.0]), torch.tensor([0.5, -0.3, -4.0])
    steps = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    values = bias[:, None].double() + weight.abs()[:, None].double() * steps
    density = (-steps.square() / 2).exp() * (values < 0)
    torch.testing.assert_close(
        margin(weight, bias), ((values * density).sum(1) / density.sum(1)).float(), rtol=1e-3, atol=0
    )


def test_the_margin_of_a_channel_that_is_hardly_negative_or_constant_is_finite() -> None:
    weight, bias = torch.tensor([0.1, -0.1, 0.0, 0.0, 0.0]), torch.tensor([9.0, 9.0, -2.0, 3.0, 0.0])
    torch.testing.assert_close(margin(weight, bias), torch.tensor([-0.3, -0.3, -2.0, 0.0, 0.0]))


def test_ofd_lets_a_student_below_a_negative_teacher_alone() -> None:
    teacher = torch.tensor([[[[-1.0]], [[-1.0]], [[1.0]], [[-9.0]]]])
    least = torch.full((4,), -2.0)
    student = torch.tensor([[[[-3.0]], [[0.0]], [[-3.0]], [[-3.0]]]], requires_grad=True)
    loss = partial_error(student, teacher, least)
    assert loss == 1 + 16
    assert finite_gradient(loss, student).flatten().tolist() == [0, 2, -8, 0]


def test_ofd_refuses_other_numbers_of_stages_and_batch_norms() -> None:
    loss = OFDLoss([4, 5], [6, 7])
    stages = [maps(4, 4, 4), maps(5, 2, 2)], [maps(6, 4, 4), maps(7, 2, 2)]
    norms = [torch.ones(6), torch.zeros(6), torch.ones(7), torch.zeros(7)]
    assert torch.isfinite(loss(*stages, *norms))
    with pytest.raises(ValueError, match=r"2 parameters of batch norms do not fit: .* weight and bias of 2"):
        loss(*stages, *norms[:2])
    with pytest.raises(ValueError, match="1 student and 1 teacher stages do not fit: this loss takes 2"):
        loss(stages[0][:1], stages[1][:1], *norms)
    with pytest.raises(ValueError, match="1 student and 2 teacher stages"):
        OFDLoss([4], [6, 7])


# ReviewKD


def reviewed(loss: ReviewKDLoss, images: int = 2, **epoch: int) -> Tensor:
    torch.manual_seed(0)
    own = [maps(4, 4, 4, images=images), maps(5, 2, 2, images=images)], torch.randn(images, 5)
    other = [maps(6, 4, 4, images=images), maps(7, 2, 2, images=images)], torch.randn(images, 7)
    found: Tensor = loss(*own, *other, **epoch)
    return found


def review(**options: Any) -> ReviewKDLoss:
    torch.manual_seed(1)
    return ReviewKDLoss([4, 5, 5], [6, 7, 7], mid_channels=3, **options)


def test_the_weight_of_reviewkd_rises_over_its_warm_up() -> None:
    whole = reviewed(review())
    for epoch, share in ((0, 0.0), (5, 0.25), (20, 1.0), (30, 1.0)):
        torch.testing.assert_close(reviewed(review(warm_up=20), epoch=epoch), share * whole)
    # Without a warm-up it does not matter how far the training is.
    torch.testing.assert_close(reviewed(review(), epoch=3), whole)
    with pytest.raises(ValueError, match="warm_up 20 needs the epoch"):
        reviewed(review(warm_up=20))


def test_reviewkd_of_one_image_is_finite_and_trains_every_layer() -> None:
    loss = review()
    reviewed(loss, images=1).backward()
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_reviewkd_refuses_other_numbers_of_features() -> None:
    with pytest.raises(ValueError, match="2 student and 3 teacher features do not fit"):
        ReviewKDLoss([4, 5], [6, 7, 7])
    pooled = torch.randn(2, 5), torch.randn(2, 7)
    with pytest.raises(ValueError, match="2 student and 2 teacher stages do not fit: this loss takes 3"):
        review()([maps(4, 4, 4)], pooled[0], [maps(6, 4, 4)], pooled[1])


def test_maps_that_agree_cost_nothing_at_any_size() -> None:
    feature = maps(3, 6, 6)
    assert hierarchical_context_loss(feature, feature) == 0
    assert hierarchical_context_loss(feature, feature + 1) == pytest.approx(1.0, rel=1e-5)


# CRD

LABELS = [2, 0, 1, 2, 0, 1, 0, 2, 2, 0]


def crd(labels: list[int] = LABELS, **options: Any) -> CRDLoss:
    torch.manual_seed(2)
    return CRDLoss(4, 6, labels, **{"negatives": 3, "width": 5, **options})


class NoCopyOf(TorchDispatchMode):
    """Fails on an operation that makes a tensor with as many numbers as another."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.numel() >= self.size:
            there = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, Tensor)}
            assert found.untyped_storage().data_ptr() in there, f"aten.{func.overloadpacket.__name__} copies"
        return found


def test_the_check_for_copies_notices_one() -> None:
    memory = torch.randn(8, 2)
    with NoCopyOf(memory.numel()):
        memory.T.mul_(2)
        for copy in (memory.clone, lambda: memory * 2, lambda: memory[torch.arange(8)]):
            with pytest.raises(AssertionError, match="copies"):
                copy()


def test_crd_moves_its_memories_in_place_and_never_copies_one() -> None:
    images, width = 600, 64
    loss = CRDLoss(4, 6, [image % 3 for image in range(images)], negatives=7, width=width)
    banks = [loss.contrast.memory_v1, loss.contrast.memory_v2]
    places, before = [bank.data_ptr() for bank in banks], [bank.clone() for bank in banks]
    index = torch.tensor([5, 17])
    for _ in range(2):
        with NoCopyOf(images * width):
            loss(torch.randn(2, 4), torch.randn(2, 6), index).backward()
    assert [bank.data_ptr() for bank in (loss.contrast.memory_v1, loss.contrast.memory_v2)] == places
    for bank, old in zip(banks, before, strict=True):
        moved = (bank != old).any(dim=1).nonzero().flatten()
        assert torch.equal(moved, index)
        torch.testing.assert_close(bank[index].norm(dim=1), torch.ones(2))


def test_crd_keeps_the_constants_of_the_first_batch() -> None:
    loss = crd()
    loss(torch.randn(2, 4), torch.randn(2, 6), torch.tensor([0, 1]))
    constants = loss.contrast.params[2:4].clone()
    assert (constants > 0).all()
    loss(torch.randn(2, 4), torch.randn(2, 6), torch.tensor([4, 2]))
    assert torch.equal(loss.contrast.params[2:4], constants)


def test_crd_of_features_that_embed_as_zero_is_finite() -> None:
    loss = crd()
    for layer in (loss.embed_s.linear, loss.embed_t.linear):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    student = torch.randn(2, 4, requires_grad=True)
    finite_gradient(loss(student, torch.randn(2, 6), torch.tensor([0, 1])), student)


@pytest.mark.parametrize("replacement", [True, False], ids=["with", "without"])
def test_negatives_are_all_the_images_of_other_classes_and_no_others(replacement: bool) -> None:
    torch.manual_seed(0)
    draws = 200 if replacement else 6
    sampler = OtherClasses(LABELS, draws, replacement)
    assert sampler.replacement == replacement
    drawn = sampler.draw(torch.arange(len(LABELS)))
    for image, negatives in enumerate(drawn.tolist()):
        others = {other for other, label in enumerate(LABELS) if label != LABELS[image]}
        assert set(negatives) == others if replacement else set(negatives) <= others
        assert replacement or len(set(negatives)) == draws


@pytest.mark.parametrize("replacement", [True, False], ids=["with", "without"])
def test_negatives_are_drawn_on_the_gpu_without_waiting_for_it(replacement: bool) -> None:
    with FakeGPU().in_use():
        drawn = OtherClasses(LABELS, 3, replacement).draw(torch.arange(2))
    assert (drawn.device.type, drawn.shape) == ("cuda", (2, 3))


def test_negatives_may_repeat_where_a_class_leaves_too_few_others() -> None:
    # Of class 0 and class 2 there are four each.
    assert not OtherClasses(LABELS, 6, replacement=False).replacement
    assert OtherClasses(LABELS, 7, replacement=False).replacement


def test_crd_draws_negatives_where_none_are_given() -> None:
    inputs = torch.randn(2, 4), torch.randn(2, 6), torch.tensor([0, 3])
    first, second = crd(), crd()
    torch.manual_seed(5)
    drawn = first(*inputs)
    torch.manual_seed(5)
    chosen = torch.cat([inputs[2][:, None], second.sampler.draw(inputs[2])], dim=1)
    assert torch.equal(second(*inputs, chosen), drawn)


@pytest.mark.parametrize(
    ("labels", "negatives", "text"),
    [
        ([1, 1, 1], 2, "3 training images of fewer than two classes do not fit"),
        ([], 2, "0 training images of fewer than two classes do not fit"),
        ([0, 1], 0, "negatives must be at least 1, got 0"),
    ],
)
def test_crd_refuses_training_data_without_negatives(labels: list[int], negatives: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        crd(labels, negatives=negatives)


def test_the_samplers_order_is_no_part_of_a_checkpoint() -> None:
    assert {key.partition(".")[0] for key in crd().state_dict()} == {"embed_s", "embed_t", "contrast"}


BATCH = 6


def one_step(chosen: slice) -> CRDLoss:
    """A step on a part of a batch, with the negatives that belong to it."""
    loss = crd()
    torch.manual_seed(9)
    student, teacher, index = torch.randn(BATCH, 4), torch.randn(BATCH, 6), torch.arange(BATCH)
    negatives = torch.cat([index[:, None], loss.sampler.draw(index)], dim=1)
    loss(student[chosen], teacher[chosen], index[chosen], negatives[chosen])
    return loss


def one_of_two(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    torch.save(one_step(slice(rank, None, 2)).state_dict(), folder / f"{rank}.pth")
    distributed.destroy_process_group()


def test_two_processes_keep_the_memories_of_the_whole_batch(tmp_path: Path) -> None:
    expected = one_step(slice(None)).state_dict()
    spawn(one_of_two, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)
