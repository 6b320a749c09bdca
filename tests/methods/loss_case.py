"""Building a loss for the tests that all losses have in common: its inputs, sorted by whom they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 6


@dataclass
class Inputs:
    """Arguments of a loss, sorted by whom they come from; a value is a tensor or a list of tensors."""

    student: dict[str, Any]
    teacher: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        return {**self.student, **self.teacher, **self.rest}

    def moved(self, dtype: torch.dtype | None = None, device: str | None = None) -> Inputs:
        """The same inputs elsewhere: student and teacher as fresh leaves, also of another type."""
        student, teacher = (
            {key: _moved(value, dtype, device, leaf=True) for key, value in part.items()}
            for part in (self.student, self.teacher)
        )
        return Inputs(
            student, teacher, {key: _moved(value, None, device) for key, value in self.rest.items()}
        )


def _moved(value: Any, dtype: torch.dtype | None, device: str | None, leaf: bool = False) -> Any:
    if isinstance(value, list):
        return [_moved(item, dtype, device, leaf) for item in value]
    if isinstance(value, Tensor):
        return value.detach().to(device=device, dtype=dtype, copy=True).requires_grad_(leaf)
    return value


def tensors(part: dict[str, Any]) -> Iterator[Tensor]:
    for value in part.values():
        yield from value if isinstance(value, list) else [value]


def feature_maps(images: int, student_channels: int = 4, teacher_channels: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(images, student_channels, 5, 7), torch.randn(images, teacher_channels, 5, 7)


def logits(images: int) -> Tensor:
    return 2 * torch.randn(images, CLASSES)


def target(images: int) -> Tensor:
    return torch.randint(CLASSES, (images,))


def logit_inputs(images: int) -> Inputs:
    pair = {"student_logits": logits(images)}, {"teacher_logits": logits(images)}
    return Inputs(*pair, {"target": target(images)})


def logit_pair(images: int) -> Inputs:
    return Inputs({"student_logits": logits(images)}, {"teacher_logits": logits(images)})


def labelled_inputs(images: int) -> Inputs:
    return Inputs({"student_logits": logits(images)}, rest={"target": target(images)})


def pooled_inputs(images: int, student_channels: int = 4, teacher_channels: int = 6) -> Inputs:
    return Inputs(
        {"student": torch.randn(images, student_channels)}, {"teacher": torch.randn(images, teacher_channels)}
    )


def feature_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    return Inputs({"student": student}, {"teacher": teacher})


def stage_inputs(images: int) -> Inputs:
    """Feature maps after three stages."""
    sizes = [(8, 10), (4, 5), (2, 3)]
    student, teacher = (
        [torch.randn(images, first + stage, *size) for stage, size in enumerate(sizes)] for first in (4, 6)
    )
    return Inputs({"student": student}, {"teacher": teacher})


def image_boxes(images: int) -> list[Tensor]:
    """Two boxes in the first image, of 48 x 56 pixels, and none in the others."""
    two = torch.tensor([[3.0, 4.0, 20.0, 30.0], [10.0, 2.0, 50.0, 12.0]])
    return [two] + [torch.zeros(0, 4)] * (images - 1)


def pyramid_inputs(
    images: int, student_channels: int, teacher_channels: int, *, boxes: bool = False
) -> Inputs:
    """Three levels, of strides 4, 8 and 16 in an image of 48 x 56 pixels."""
    student, teacher = (
        [torch.randn(images, channels, *size) for size in ((12, 14), (6, 7), (3, 4))]
        for channels in (student_channels, teacher_channels)
    )
    rest = {"boxes": image_boxes(images), "image_shapes": [(48, 56)] * images} if boxes else {}
    return Inputs({"student": student}, {"teacher": teacher}, rest)


def segmentation_inputs(images: int) -> Inputs:
    return Inputs(
        {"student_logits": torch.randn(images, 3, 5, 7)}, {"teacher_logits": torch.randn(images, 3, 5, 7)}
    )


@dataclass(frozen=True)
class LossCase:
    """How to build a loss, and what is true of it.

    Attributes:
        module: builds it.
        inputs: makes its inputs for a number of images.
        compared: two arguments that have to fit each other.
        odd: a shape that the second of them may not have.
        images: in a batch, where a test does not say it.
        waits: whether the host has to know the value of a tensor, as where boxes are selected.
        differentiates: whether its forward pass takes a gradient, for which autograd asks for a real device.
    """

    module: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]
    compared: tuple[str, str]
    odd: tuple[int, ...]
    images: int = 2
    waits: bool = False
    differentiates: bool = False
