"""FGD: box masks, terms, the hand-written backward passes and the benchmark's plain arithmetic."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.methods import FGDLoss
from tasks.methods.fgd import BOXES_AT_ONCE, box_masks
from tasks.methods.reductions import attention_pool, mean_magnitudes, pair_sums
from tests.benchmarks.fgd_loss import Workload, disagreement

NO_BOXES = torch.zeros(0, 4)


def masks_cell_by_cell(
    boxes: Tensor, image_shape: tuple[int, int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The weights of one image, each cell asked for each box."""
    (image_height, image_width), (height, width) = image_shape, size
    foreground, covered = torch.zeros(size), torch.zeros(size, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes.tolist():
        left, right = math.floor(x0 / image_width * width), math.ceil(x1 / image_width * width)
        top, bottom = math.floor(y0 / image_height * height), math.ceil(y1 / image_height * height)
        area = (right - left + 1) * (bottom - top + 1)
        for y in range(height):
            for x in range(width):
                if left <= x <= right and top <= y <= bottom:
                    covered[y, x] = True
                    foreground[y, x] = max(foreground[y, x].item(), 1 / area)
    background = torch.zeros(size)
    if not covered.all():
        background[~covered] = 1 / (~covered).sum().item()
    return foreground, background


def random_boxes(count: int, image_shape: tuple[int, int]) -> Tensor:
    """Boxes of which some reach past the image or lie outside, in float64 as the reference reckons."""
    height, width = image_shape
    scale = torch.tensor([width, height, width, height], dtype=torch.float64)
    corner = torch.rand(count, 2, dtype=torch.float64) * 1.3 - 0.2
    extent = torch.rand(count, 2, dtype=torch.float64) * 0.5
    return torch.cat([corner, corner + extent], dim=1) * scale


@pytest.mark.parametrize("counts", [(3, 0, 7), (0, 0, 0), (1, 2 * BOXES_AT_ONCE + 5, 1)], ids=str)
def test_box_masks_are_those_of_a_loop_over_cells_and_boxes(counts: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    image_shapes = [(90, 130), (100, 128), (64, 111)]
    boxes = [random_boxes(count, shape) for count, shape in zip(counts, image_shapes, strict=True)]
    foreground, background = box_masks(boxes, image_shapes, (9, 13))
    for index, (box, shape) in enumerate(zip(boxes, image_shapes, strict=True)):
        expected_foreground, expected_background = masks_cell_by_cell(box, shape, (9, 13))
        torch.testing.assert_close(foreground[index], expected_foreground)
        torch.testing.assert_close(background[index], expected_background)


def test_both_ends_of_a_box_are_covered_and_the_smallest_box_counts() -> None:
    # At stride 10 the first box covers cells 1 to 3 by 2 to 3, the second, inside it, cell 2 to 3 by 2 to 3.
    boxes = torch.tensor([[10.0, 21.0, 30.0, 29.0], [20.0, 20.0, 25.0, 25.0]])
    foreground, background = box_masks([boxes], [(50, 60)], (5, 6))
    expected = torch.zeros(5, 6)
    expected[2:4, 1:4] = 1 / 6
    expected[2:4, 2:4] = 1 / 4
    torch.testing.assert_close(foreground[0], expected)
    torch.testing.assert_close(background[0], (expected == 0) / 24)


def test_the_area_of_a_box_counts_what_lies_off_the_map() -> None:
    boxes = torch.tensor([[40.0, 30.0, 60.0, 50.0]])
    foreground, _ = box_masks([boxes], [(50, 60)], (5, 6))
    torch.testing.assert_close(foreground[0, 3:, 4:], torch.full((2, 2), 1 / 9))


def test_the_background_of_an_image_is_even_or_nothing() -> None:
    whole = torch.tensor([[0.0, 0.0, 60.0, 50.0]])
    foreground, background = box_masks([NO_BOXES, whole], [(50, 60)] * 2, (5, 6))
    assert not foreground[0].any()
    torch.testing.assert_close(background[0], torch.full((5, 6), 1 / 30))
    assert not background[1].any()


def test_a_crowded_image_needs_no_map_for_each_box() -> None:
    class LargestResult(TorchDispatchMode):
        values = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                self.values = max(self.values, result.numel())
            return result

    boxes = [random_boxes(100, (800, 1333)) for _ in range(2)]
    with LargestResult() as largest:
        box_masks(boxes, [(800, 1333)] * 2, (100, 168))
    assert largest.values <= 2 * BOXES_AT_ONCE * 100 * 168


def inputs(channels: int = 6, images: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    shape = (images, channels, 5, 7)
    return torch.randn(shape, dtype=dtype, requires_grad=True), torch.randn(shape, dtype=dtype)


def trained(channels: int = 6) -> FGDLoss:
    """A loss whose context transforms have left their zero start."""
    loss = FGDLoss(channels, channels).double()
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return loss


def test_a_batch_without_any_box_has_background_alone() -> None:
    student, teacher = inputs()
    loss = trained()
    terms = loss.terms(student, teacher, [NO_BOXES] * 2, [(40, 56)] * 2)
    assert terms["foreground"].item() == 0
    assert terms["background"].item() > 0
    value = loss(student, teacher, [NO_BOXES] * 2, [(40, 56)] * 2)
    value.backward()
    assert torch.isfinite(value)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_a_student_equal_to_its_teacher_has_no_loss_at_the_start() -> None:
    student, _ = inputs()
    terms = FGDLoss(6, 6).double().terms(student, student.detach(), [NO_BOXES] * 2, [(40, 56)] * 2)
    assert {name: term.item() for name, term in terms.items()} == dict.fromkeys(terms, 0.0)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    student, teacher = inputs()
    loss = FGDLoss(6, 6, alpha=2.0, beta=3.0, gamma=5.0, lambda_=7.0).double()
    arguments = (student, teacher, [torch.tensor([[1.0, 2.0, 30.0, 20.0]]), NO_BOXES], [(40, 56)] * 2)
    terms = loss.terms(*arguments)
    expected = (
        2 * terms["foreground"] + 3 * terms["background"] + 5 * terms["attention"] + 7 * terms["relation"]
    )
    torch.testing.assert_close(loss(*arguments), expected)


def test_the_relation_term_compares_the_two_maps_with_their_context_added() -> None:
    student, teacher = inputs()
    loss = trained()

    def with_context(features: Tensor, mask: Any, transform: Any) -> Tensor:
        attention = mask(features).flatten(2).softmax(dim=2)
        context = (features.flatten(2) * attention).sum(dim=2)
        added: Tensor = transform(context[:, :, None, None])
        return features + added

    own = with_context(student, loss.conv_mask_s, loss.channel_add_conv_s)
    other = with_context(teacher, loss.conv_mask_t, loss.channel_add_conv_t)
    relation = loss.terms(student, teacher, [NO_BOXES] * 2, [(40, 56)] * 2)["relation"]
    torch.testing.assert_close(relation, (own - other).square().sum() / 2)


def test_features_that_are_not_contiguous_give_the_same_loss() -> None:
    student, teacher = inputs()
    loss = trained()
    expected = loss(student, teacher, [NO_BOXES] * 2, [(40, 56)] * 2)
    channels_last = [feature.to(memory_format=torch.channels_last) for feature in (student, teacher)]
    torch.testing.assert_close(loss(*channels_last, [NO_BOXES] * 2, [(40, 56)] * 2), expected)


@pytest.mark.parametrize(
    ("boxes", "image_shapes", "message"),
    [
        ([NO_BOXES], [(40, 56)] * 2, "2 images, 1 box tensors and 2 image shapes"),
        ([NO_BOXES] * 2, [(40, 56)], "2 images, 2 box tensors and 1 image shapes"),
        ([NO_BOXES, torch.zeros(3, 5)], [(40, 56)] * 2, r"boxes of image 1 have shape \(3, 5\)"),
        ([NO_BOXES, torch.zeros(4)], [(40, 56)] * 2, r"boxes of image 1 have shape \(4,\)"),
    ],
)
def test_boxes_that_are_not_one_list_an_image_are_refused(
    boxes: list[Tensor], image_shapes: list[tuple[int, int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FGDLoss(6, 6).double()(*inputs(), boxes, image_shapes)


def test_backward_passes_written_by_hand_are_the_derivatives() -> None:
    torch.manual_seed(2)
    student = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 5, dtype=torch.float64)
    weights = torch.rand(2, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda features: pair_sums(features, teacher, weights), (student,))

    score = torch.randn(3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention_pool, (student, score, bias))
    assert torch.autograd.gradcheck(lambda *layer: attention_pool(teacher, *layer), (score, bias))


def test_features_that_are_exactly_zero_have_the_gradient_of_autograd() -> None:
    student = torch.tensor([[[0.0, -2.0], [3.0, 0.0]]], requires_grad=True)
    sums = pair_sums(student, torch.ones(1, 2, 2), torch.ones(1, 1, 2))
    (by_hand,) = torch.autograd.grad(sums.cell_magnitude.sum() + sums.channel_magnitude.sum(), student)
    cells, channels = mean_magnitudes(student)
    (by_autograd,) = torch.autograd.grad(cells.sum() + channels.sum(), student)
    torch.testing.assert_close(by_hand, by_autograd)


def test_backward_inside_autocast_keeps_float32() -> None:
    student, teacher = inputs(dtype=torch.float32)
    loss = trained().float()
    arguments = (teacher, [NO_BOXES] * 2, [(40, 56)] * 2)
    (expected,) = torch.autograd.grad(loss(student, *arguments), student)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(loss(student, *arguments), student)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)


def test_the_benchmark_compares_equal_things() -> None:
    assert disagreement(Workload.draw(channels=16, levels=[(13, 21), (7, 11)])) < 1e-5
