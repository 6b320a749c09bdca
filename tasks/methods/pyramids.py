"""What losses over a whole feature pyramid share: its levels, and the boxes and cells that belong to each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tasks.methods.common import full_precision, require_feature_maps


def require_levels(
    student: Sequence[Tensor], teacher: Sequence[Tensor], levels: int, channels: tuple[int, int]
) -> None:
    """Refuses pyramids other than the ones a loss was built for.

    Args:
        student: the student's feature maps, finest first.
        teacher: the teacher's.
        levels: how many levels the loss was built for.
        channels: channels that it was built for, of the student's maps and of the teacher's.

    Raises:
        ValueError: if either has another number of levels, or two maps do not fit the loss or each other.
    """
    if not len(student) == len(teacher) == levels:
        found = [[tuple(level.shape) for level in pyramid] for pyramid in (student, teacher)]
        raise ValueError(
            f"student {found[0]} and teacher {found[1]} do not fit: this loss takes {levels} levels of each"
        )
    for own, other in zip(student, teacher, strict=True):
        require_feature_maps(own, other, *channels)


def require_boxes(
    boxes: Sequence[Tensor], images: int, image_shapes: Sequence[tuple[int, int]] | None = None
) -> None:
    """Refuses boxes, and image shapes if given, that are not one per image.

    Args:
        boxes: for each image ``n x 4``.
        images: how many there are.
        image_shapes: for each image its height and width.

    Raises:
        ValueError: if there are more or fewer of either, or boxes have another shape.
    """
    if len(boxes) != images or (image_shapes is not None and len(image_shapes) != images):
        shapes = "" if image_shapes is None else f" and {len(image_shapes)} image shapes"
        raise ValueError(
            f"{images} images, {len(boxes)} box tensors{shapes} do not fit: give one n x 4 box tensor"
            f"{' and one (height, width)' if shapes else ''} per image"
        )
    for index, box in enumerate(boxes):
        if box.dim() != 2 or box.shape[1] != 4:
            raise ValueError(
                f"boxes of image {index} have shape {tuple(box.shape)}: give n x 4, and 0 x 4 for no boxes"
            )


def require_strides(
    levels: Sequence[Tensor], strides: Sequence[float], image_shapes: Sequence[tuple[int, int]]
) -> None:
    """Refuses strides with which the maps would not cover the images.

    That happens if the strides of another network are given. Strides that are too large are not detected: how
    far the images were padded is not known here.

    Args:
        levels: feature maps, ``N x C x H x W`` each.
        strides: pixels from one cell to the next, of each level.
        image_shapes: for each image its height and width in input pixels, before padding.

    Raises:
        ValueError: if a map with its stride is smaller than an image.
    """
    extent = tuple(map(max, zip(*image_shapes, strict=True)))
    for level, stride in zip(levels, strides, strict=True):
        size = tuple(level.shape[2:])
        if any(cells * stride < pixels for cells, pixels in zip(size, extent, strict=True)):
            raise ValueError(
                f"a map of {size[0]} x {size[1]} cells and stride {stride:g} do not fit images of up to "
                f"{extent[0]} x {extent[1]} pixels: give the strides of this network's levels, finest first"
            )


def padded_boxes(boxes: Sequence[Tensor]) -> Tensor:
    """The boxes of a batch in one tensor, in at least float32.

    Args:
        boxes: for each image ``n x 4``.

    Returns:
        ``N x B x 4`` with ``B`` the largest number of boxes of an image; the others are padded with NaN. No
        comparison with NaN is true, so that the padding covers no cell and overlaps no anchor.
    """
    return pad_sequence([full_precision(box) for box in boxes], batch_first=True, padding_value=math.nan)


def boxes_of_levels(boxes: Tensor, levels: int, finest_scale: float) -> list[Tensor]:
    """Distributes boxes over the levels of a pyramid by their size.

    A box of ``w x h`` pixels belongs to one level, counted from the finest::

        clip( floor( log2( sqrt((w + 1) (h + 1)) / finest_scale + 1e-6 ) ), 0, levels - 1 )

    Source: the release of arXiv:2103.14475, whose rule is that of mmdet's RoI extractor; before it
    arXiv:1612.03144, equation 1.

    Args:
        boxes: ``N x B x 4`` as ``x0, y0, x1, y1`` in pixels, or NaN.
        levels: number of levels.
        finest_scale: boxes with sides below twice this belong to the finest level; the limit of every further
            level is twice as large.

    Returns:
        For each level ``N x B x 4``, with NaN in place of the boxes of other levels.
    """
    width, height = (boxes[..., 2:] - boxes[..., :2] + 1).unbind(dim=-1)
    side = (width * height).sqrt()
    level = (side / finest_scale + 1e-6).log2().floor().clamp(0, levels - 1)
    return [boxes.where((level == index).unsqueeze(-1), math.nan) for index in range(levels)]


def mean_error_within(cells: Tensor, mask: Tensor, channels: int) -> Tensor:
    """``sum_cells mask * error / max(1, 2 * C * number of cells in the mask)``; zero for an empty mask.

    Args:
        cells: squared error of each cell, summed over the channels, ``N x H x W``.
        mask: ``N x H x W`` booleans.
        channels: ``C``.
    """
    return (cells * mask).sum() / (2 * channels * mask.sum()).clamp(min=1)


class BoxPyramidLoss(nn.Module):
    """Base of losses on the cells of a pyramid that annotated boxes select.

    Each level of the student passes through its own 3x3 convolution. A subclass defines which cells the boxes
    of a level select (`selected`), and how the squared errors of the cells are combined (`combined`).

    Args:
        student_channels: channels of the student's maps.
        teacher_channels: channels of the teacher's maps.
        strides: pixels from one cell to the next, of each level, finest first; one per level.
        finest_scale: see `boxes_of_levels`, in pixels.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, strides: Sequence[int], finest_scale: float
    ) -> None:
        super().__init__()
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.strides = tuple(strides)
        self.finest_scale = finest_scale
        # In a sequence of one, as the released checkpoints name them.
        self.neck_adapt = nn.ModuleList(
            nn.Sequential(nn.Conv2d(student_channels, teacher_channels, kernel_size=3, padding=1))
            for _ in strides
        )

    def selected(self, boxes: Tensor, level: int, size: tuple[int, int]) -> Tensor:
        """The cells that the boxes of a level select.

        Args:
            boxes: ``N x B x 4`` in input pixels, or NaN.
            level: index of the level.
            size: its height and width.

        Returns:
            ``N x H x W`` booleans.
        """
        raise NotImplementedError

    def combined(self, errors: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """The weighted loss, a scalar.

        Args:
            errors: squared error of each cell, summed over the channels, ``N x H x W`` of each level.
            masks: the selected cells, of the same shapes.
        """
        raise NotImplementedError

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Computes the weighted loss of all levels.

        Args:
            student: the student's feature maps, ``N x student_channels x H x W``, finest first.
            teacher: the teacher's, ``N x teacher_channels x H x W``; detached.
            boxes: for each image the annotated boxes, ``n x 4`` as ``x0, y0, x1, y1`` in input pixels, on
                the device of the feature maps; ``n`` may be zero.
            image_shapes: for each image its height and width in input pixels, before padding.

        Returns:
            A scalar.

        Raises:
            ValueError: if the pyramids do not fit this module or each other, boxes or image shapes are not
                one per image, or the maps with these strides are smaller than the images.
        """
        channels = self.student_channels, self.teacher_channels
        require_levels(student, teacher, len(self.neck_adapt), channels)
        require_boxes(boxes, len(student[0]), image_shapes)
        require_strides(teacher, self.strides, image_shapes)
        errors = [
            (full_precision(adapt(own)) - full_precision(other.detach())).square().sum(dim=1)
            for adapt, own, other in zip(self.neck_adapt, student, teacher, strict=True)
        ]
        return self.combined(errors, self.masks(boxes, [(e.shape[1], e.shape[2]) for e in errors]))

    def masks(self, boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The selected cells of all levels.

        Args:
            boxes: as for `forward`.
            sizes: height and width of each level.

        Returns:
            ``N x H x W`` booleans of each level.
        """
        dealt = boxes_of_levels(padded_boxes(boxes), len(sizes), self.finest_scale)
        return [
            self.selected(of_level, level, size)
            for level, (of_level, size) in enumerate(zip(dealt, sizes, strict=True))
        ]


def mean_over_levels(errors: Sequence[Tensor], masks: Sequence[Tensor], channels: int) -> Tensor:
    """Mean over the levels of `mean_error_within`.

    Args:
        errors: squared error of each cell, summed over the channels, ``N x H x W`` of each level.
        masks: booleans of the same shapes.
        channels: how many channels the errors were summed over.
    """
    pairs = zip(errors, masks, strict=True)
    return torch.stack([mean_error_within(error, mask, channels) for error, mask in pairs]).mean()
