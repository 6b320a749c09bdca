"""FGFI: imitation of the teacher's features around the objects (CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from tasks.methods.common import full_precision, require_feature_maps
from tasks.methods.pyramids import (
    BoxPyramidLoss,
    mean_error_within,
    mean_over_levels,
    padded_boxes,
    require_boxes,
)
from tasks.methods.registry import register_loss

BOXES_AT_ONCE = 8
"""Boxes of an image that are compared with all anchors at once: bounds the memory of a crowded image."""


@register_loss("FGFILoss", version=1)
class FGFILoss(BoxPyramidLoss):
    """Fine-grained Feature Imitation on a feature pyramid.

    A box belongs to one level by its size (`boxes_of_levels`). An anchor of that level is selected for it if
    their IoU is larger than ``threshold`` times the largest IoU that the box has with any anchor of the
    level, and a cell is imitated if one of its anchors is selected for any box. With ``A`` the 3x3
    convolution of a level, ``m`` its imitated cells, over the whole batch, and ``C`` the teacher's channels::

        loss = weight * mean_levels( sum m * (A(F) - T)^2 / max(1, 2 * C * sum m) )

    The loss is zero for a level without an imitated cell, and for a batch without any box. Anchors that
    extend beyond the image take part.

    Source: arXiv:1906.03609, which has one map (`FGFISingleMapLoss`) and divides by ``2 * sum m`` alone. The
    pyramid, the mean over its levels and the divisor are those of the comparison in the release of
    arXiv:2103.14475, and so are the defaults, made for Faster R-CNN on VOC. No release has a weight for COCO.

    Args:
        student_channels: channels of the student's maps.
        teacher_channels: channels of the teacher's maps.
        weight: weight of the loss.
        strides: pixels from one cell to the next, of each level, finest first; one per level.
        anchor_scale: side of an anchor over its stride.
        anchor_ratios: heights of a cell's anchors over their widths.
        threshold: share of a box's largest IoU above which an anchor is selected.
        finest_scale: see `boxes_of_levels`, in pixels.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        weight: float = 3.0,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        anchor_scale: float = 8.0,
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        threshold: float = 0.5,
        finest_scale: float = 56.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, strides, finest_scale)
        self.weight = weight
        self.threshold = threshold
        anchors = [_centred_anchors(anchor_scale * stride, anchor_ratios) for stride in strides]
        self.base_anchors: Tensor
        self.register_buffer("base_anchors", torch.tensor(anchors), persistent=False)

    def selected(self, boxes: Tensor, level: int, size: tuple[int, int]) -> Tensor:
        """The cells that are imitated (see `BoxPyramidLoss.selected`)."""
        return imitated_cells(boxes, self.base_anchors[level], self.strides[level], size, self.threshold)

    def combined(self, errors: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """The weighted mean over the imitated cells."""
        return self.weight * mean_over_levels(errors, masks, self.teacher_channels)


@register_loss("FGFISingleMapLoss", version=1)
class FGFISingleMapLoss(nn.Module):
    """Fine-grained Feature Imitation on a single feature map, as its authors released it.

    As `FGFILoss` on one map that takes all boxes, with ``A`` a 3x3 convolution and a ReLU::

        loss = weight * sum m * (A(F) - T)^2 / max(1, 2 * sum m)

    Widths and heights of boxes and anchors count both ends, ``x1 - x0 + 1``. A batch without any box gives
    zero, where the release divides by zero. The release imitates nothing in the first 400 iterations, which
    is left out here.

    Source: arXiv:1906.03609; the defaults are those of the release for VGG networks on VOC.

    Args:
        student_channels: channels of the student's map.
        teacher_channels: channels of the teacher's map.
        base_anchors: the anchors of the first cell, each ``x0, y0, x1, y1`` in pixels.
        stride: pixels from one cell to the next.
        weight: weight of the loss.
        threshold: share of a box's largest IoU above which an anchor is selected.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        base_anchors: Sequence[Sequence[float]],
        stride: int = 16,
        weight: float = 0.01,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.stride = stride
        self.weight = weight
        self.threshold = threshold
        self.stu_feature_adap = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, kernel_size=3, padding=1), nn.ReLU()
        )
        self.base_anchors: Tensor
        self.register_buffer("base_anchors", torch.tensor(base_anchors).float(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws small weights as the release does: normal, modulo two, times 1e-4."""
        with torch.no_grad():
            weight, _ = self.stu_feature_adap[0].parameters()
            weight.normal_().fmod_(2).mul_(1e-4)

    def forward(self, student: Tensor, teacher: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map, ``N x student_channels x H x W``.
            teacher: the teacher's feature map, ``N x teacher_channels x H x W``; detached.
            boxes: for each image the annotated boxes, ``n x 4`` as ``x0, y0, x1, y1`` in input pixels, on
                the device of the feature maps; ``n`` may be zero.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module or each other, or boxes are not one
                tensor per image.
        """
        require_feature_maps(student, teacher, self.student_channels, self.teacher_channels)
        require_boxes(boxes, len(teacher))
        difference = full_precision(self.stu_feature_adap(student)) - full_precision(teacher.detach())
        mask = self.mask(boxes, (teacher.shape[2], teacher.shape[3]))
        return self.weight * mean_error_within(difference.square().sum(dim=1), mask, channels=1)

    def mask(self, boxes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """The cells that are imitated, ``N x H x W`` booleans.

        Args:
            boxes: as for `forward`.
            size: height and width of the map.
        """
        corners, anchors = (_with_last_pixel(of) for of in (padded_boxes(boxes), self.base_anchors))
        return imitated_cells(corners, anchors, self.stride, size, self.threshold)


def imitated_cells(
    boxes: Tensor, base_anchors: Tensor, stride: float, size: tuple[int, int], threshold: float
) -> Tensor:
    """The cells of a map that have an anchor whose IoU with a box is close to the largest of that box.

    Args:
        boxes: ``N x B x 4`` as ``x0, y0, x1, y1``; one that is NaN has no anchors.
        base_anchors: anchors of the first cell, ``A x 4``.
        stride: of the map.
        size: height ``H`` and width ``W`` of the map.
        threshold: an anchor counts where its IoU is larger than this times the largest.

    Returns:
        ``N x H x W`` booleans.
    """
    height, width = size
    rows, columns = (
        torch.arange(cells, dtype=boxes.dtype, device=boxes.device) * stride for cells in (height, width)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=2)
    anchors = (shifts.unsqueeze(2) + base_anchors.to(boxes)).flatten(0, 2)
    imitated = torch.zeros(len(boxes), len(anchors), dtype=torch.bool, device=boxes.device)
    for block in boxes.split(BOXES_AT_ONCE, dim=1):
        overlaps = box_iou(block.flatten(0, 1), anchors).unflatten(0, block.shape[:2])
        imitated |= (overlaps > threshold * overlaps.amax(dim=2, keepdim=True)).any(dim=1)
    return imitated.view(len(boxes), height, width, -1).any(dim=3)


def _centred_anchors(side: float, ratios: Sequence[float]) -> list[list[float]]:
    """Anchors of equal area around the origin, by their ratios of height to width."""
    sizes = [(side / ratio**0.5, side * ratio**0.5) for ratio in ratios]
    return [[-width / 2, -height / 2, width / 2, height / 2] for width, height in sizes]


def _with_last_pixel(corners: Tensor) -> Tensor:
    """Converts boxes ``... x 4`` that include their last pixels to boxes that end after these."""
    return torch.cat([corners[..., :2], corners[..., 2:] + 1], dim=-1)
