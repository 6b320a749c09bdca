"""ViTKD beside its golden files: its formula reckoned token by token with other settings, and its mask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.methods.vitkd import ViTKDLoss

SIDE = 4


def tokens(width: int, layers: int = 3, images: int = 2) -> list[Tensor]:
    return [torch.randn(images, SIDE * SIDE, width, dtype=torch.float64) for _ in range(layers)]


def convolved(grid: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution with zero padding of one image, ``H x W x C``, position by position."""
    height, width, _ = grid.shape
    result = torch.zeros(height, width, len(weight), dtype=grid.dtype)
    for y in range(height):
        for x in range(width):
            result[y, x] = bias
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        result[y, x] += weight[:, :, dy + 1, dx + 1] @ grid[y + dy, x + dx]
    return result


def vitkd_token_by_token(
    loss: ViTKDLoss, student: list[Tensor], teacher: list[Tensor], keep: Tensor
) -> Tensor:
    weights = loss.state_dict()

    def aligned(token: Tensor, name: str) -> Tensor:
        return (
            weights[f"{name}.weight"] @ token + weights[f"{name}.bias"]
            if f"{name}.weight" in weights
            else token
        )

    total = torch.zeros((), dtype=torch.float64)
    images = len(keep)
    for image in range(images):
        for layer in range(len(student) - 1):
            for own, other in zip(student[layer][image], teacher[layer][image], strict=True):
                total += loss.alpha * (aligned(own, f"align2.{layer}") - other).square().sum() / images
        grid = torch.stack(
            [
                aligned(own, "align") if kept else weights["mask_token"][0, 0]
                for own, kept in zip(student[-1][image], keep[image].tolist(), strict=True)
            ]
        ).view(SIDE, SIDE, -1)
        hidden = convolved(grid, weights["generation.0.weight"], weights["generation.0.bias"]).clamp(min=0)
        generated = convolved(hidden, weights["generation.2.weight"], weights["generation.2.bias"])
        for position in range(SIDE * SIDE):
            if not keep[image, position]:
                error = generated[position // SIDE, position % SIDE] - teacher[-1][image, position]
                total += loss.beta / loss.mask_ratio * error.square().sum() / images
    return total


def trained(student_channels: int, **options: Any) -> ViTKDLoss:
    loss = ViTKDLoss(student_channels, 5, **options).double()
    torch.nn.init.normal_(loss.mask_token)
    return loss


@pytest.mark.parametrize("student_channels", [3, 5], ids=["aligned", "same width"])
@pytest.mark.parametrize("options", [{}, {"mask_ratio": 0.3, "shallow_layers": 1}], ids=["defaults", "other"])
def test_the_loss_is_its_formula_reckoned_token_by_token(
    student_channels: int, options: dict[str, Any]
) -> None:
    torch.manual_seed(4)
    loss = trained(student_channels, **options)
    layers = loss.shallow_layers + 1
    student, teacher = tokens(student_channels, layers), tokens(5, layers)
    keep = torch.rand(2, SIDE * SIDE) > 0.4
    expected = vitkd_token_by_token(loss, student, teacher, keep)
    torch.testing.assert_close(loss(student, teacher, keep), expected, rtol=1e-10, atol=0)


def test_the_gradients_are_the_derivatives() -> None:
    torch.manual_seed(4)
    loss = trained(3, alpha=1.0, beta=1.0)
    student, teacher = [layer.requires_grad_() for layer in tokens(3)], tokens(5)
    keep = torch.rand(2, SIDE * SIDE) > 0.4
    assert torch.autograd.gradcheck(lambda *layers: loss(layers, teacher, keep), student)
    loss(student, teacher, keep).backward()
    assert loss.mask_token.grad is not None
    assert loss.mask_token.grad.abs().min() > 0


def test_the_mask_drawn_drops_the_same_number_of_tokens_in_each_image() -> None:
    torch.manual_seed(4)
    keep = trained(3, mask_ratio=0.7).draw_keep_mask(torch.zeros(3, 196, 5))
    assert keep.sum(dim=1).tolist() == [int(196 * (1 - 0.7))] * 3
    assert not torch.equal(keep[0], keep[1])


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("name", ["vitkd", "vitkd_align", "vitkd_batch_of_1"])
def test_the_mask_is_the_released_one_from_the_same_seed(name: str) -> None:
    with np.load(Path(__file__).parents[1] / "golden" / f"{name}.npz") as arrays:
        keep, seed = torch.from_numpy(arrays["keep_mask"]), int(arrays["cpu_seed"])
    loss = trained(3, mask_ratio=0.5)
    torch.manual_seed(seed)
    assert torch.equal(loss.draw_keep_mask(torch.zeros(*keep.shape, 5)), keep.bool())


def test_without_a_mask_one_is_drawn() -> None:
    loss, student, teacher = trained(3), tokens(3), tokens(5)
    torch.manual_seed(8)
    keep = loss.draw_keep_mask(teacher[-1])
    torch.manual_seed(8)
    torch.testing.assert_close(loss(student, teacher), loss(student, teacher, keep))


def test_the_teachers_tokens_that_are_kept_do_not_matter() -> None:
    torch.manual_seed(4)
    loss, student, teacher = trained(3), tokens(3), tokens(5)
    keep = torch.rand(2, SIDE * SIDE) > 0.4
    before = loss(student, teacher, keep)
    teacher[-1][keep] += 1
    torch.testing.assert_close(loss(student, teacher, keep), before)
    teacher[-1][~keep] += 1
    assert loss(student, teacher, keep) > before


def test_state_dict_keys_are_those_of_released_checkpoints() -> None:
    generation = {f"generation.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    aligned = {f"{name}.{kind}" for name in ("align", "align2.0", "align2.1") for kind in ("weight", "bias")}
    assert ViTKDLoss(5, 5).state_dict().keys() == generation | {"mask_token"}
    assert ViTKDLoss(3, 5).state_dict().keys() == generation | {"mask_token"} | aligned


def test_class_tokens_missing_layers_and_odd_masks_are_refused() -> None:
    loss, student, teacher = trained(3), tokens(3), tokens(5)
    with pytest.raises(ValueError, match="2 student and 3 teacher layers"):
        loss(student[:2], teacher)
    with_class_token = [torch.cat([layer, layer[:, :1]], dim=1) for layer in student]
    with pytest.raises(ValueError, match=r"student \(2, 17, 3\) and teacher \(2, 16, 5\)"):
        loss(with_class_token, teacher)
    with pytest.raises(ValueError, match=r"keep_mask \(2, 15\) and teacher \(2, 16, 5\)"):
        loss(student, teacher, torch.ones(2, 15, dtype=torch.bool))


@pytest.mark.parametrize("mask_ratio", [0.0, 1.1])
def test_a_mask_ratio_out_of_range_is_refused(mask_ratio: float) -> None:
    with pytest.raises(ValueError, match="mask_ratio"):
        ViTKDLoss(3, 5, mask_ratio=mask_ratio)
