"""FGD: focal and global distillation of a detector's feature pyramid (CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.methods.common import channel_alignment, full_precision, no_autocast, require_feature_maps
from tasks.methods.pyramids import padded_boxes, require_boxes
from tasks.methods.reductions import attention_pool, mean_magnitudes, pair_sums
from tasks.methods.registry import register_loss

# Boxes whose weight maps are held at once: bounds the memory of a crowded image (N x 32 x H x W values,
# an eighth of a 256-channel feature map); an ordinary image takes a single step.
BOXES_AT_ONCE = 32


@register_loss("FGDLoss", version=1)
class FGDLoss(nn.Module):
    """Focal and Global Distillation for one level of a feature pyramid.

    The *focal* part weights the squared feature difference by the teacher's attention, separately for the
    cells inside and outside the annotated boxes, and makes the student copy the attention itself. The
    *global* part compares the outputs of global context blocks (GCNet, arXiv:1904.11492) on the two feature
    maps. With ``F`` the student's feature map (aligned where the channels differ), ``T`` the teacher's,
    ``P = H * W`` and sums over images, channels and cells::

        A_s(X) = P * softmax_cells(mean_c |X| / temperature)
        A_c(X) = C * softmax_c(mean_cells |X| / temperature)
        R(X)   = X + W2 relu(LN(W1 sum_cells softmax_cells(Wk X) X)),  separate Wk, W1, W2 for each side

        foreground = sum M_fg * A_s(T) * A_c(T) * (T - F)^2 / N,  M_fg and M_bg as in box_masks
        background = sum M_bg * A_s(T) * A_c(T) * (T - F)^2 / N
        attention  = (sum |A_c(F) - A_c(T)| + sum |A_s(F) - A_s(T)|) / N
        relation   = sum (R_s(F) - R_t(T))^2 / N

        loss = alpha * foreground + beta * background + gamma * attention + lambda_ * relation

    Source: arXiv:2111.11837, sections "Focal Distillation", "Global Distillation" and "Overall loss"; the
    defaults are the paper's values for one-stage detectors. Build one module for each pyramid level.

    Every sum is taken in at least float32, even under autocast. The forward pass never waits for the device:
    all sizes come from the shapes and from the lengths of the box lists.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's feature map.
        temperature: temperature of both attentions.
        alpha: weight of the foreground term.
        beta: weight of the background term.
        gamma: weight of the attention term.
        lambda_: weight of the relation term.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        temperature: float = 0.5,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 1e-3,
        lambda_: float = 5e-6,
    ) -> None:
        super().__init__()
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.lambda_ = lambda_
        self.align = channel_alignment(student_channels, teacher_channels)
        self._add_relation()

    def _add_relation(self) -> None:
        """Builds the global context blocks of student and teacher."""
        self.conv_mask_s = nn.Conv2d(self.teacher_channels, 1, kernel_size=1)
        self.conv_mask_t = nn.Conv2d(self.teacher_channels, 1, kernel_size=1)
        self.channel_add_conv_s = _context_transform(self.teacher_channels)
        self.channel_add_conv_t = _context_transform(self.teacher_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the context masks (Kaiming normal, fan-in) and starts both context transforms at zero."""
        for mask in (self.conv_mask_s, self.conv_mask_t):
            weight, bias = mask.parameters()
            nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(bias)
        for transform in (self.channel_add_conv_s, self.channel_add_conv_t):
            for parameter in transform[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Computes the weighted loss of one level.

        Args:
            student: the student's feature map, ``N x student_channels x H x W``.
            teacher: the teacher's feature map, ``N x teacher_channels x H x W``; detached.
            boxes: for each image the annotated boxes, ``n x 4`` as ``x0, y0, x1, y1`` in input pixels, on
                the device of the feature maps; ``n`` may be zero.
            image_shapes: for each image its height and width in input pixels after resizing, before padding.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module or each other, or if boxes and image
                shapes are not one per image.
        """
        terms = self.terms(student, teacher, boxes, image_shapes)
        return (
            self.alpha * terms["foreground"]
            + self.beta * terms["background"]
            + self.gamma * terms["attention"]
            + self.lambda_ * terms["relation"]
        )

    def terms(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> dict[str, Tensor]:
        """Computes the four terms of the loss, unweighted.

        Args:
            student: as for `forward`.
            teacher: as for `forward`.
            boxes: as for `forward`.
            image_shapes: as for `forward`.

        Returns:
            Scalars under ``foreground``, ``background``, ``attention`` and ``relation``.

        Raises:
            ValueError: as `forward`.
        """
        height, width = teacher.shape[2:]
        student, teacher = self._aligned(student, teacher, boxes, image_shapes)
        foreground, background = box_masks(boxes, image_shapes, (height, width), teacher.dtype)
        with no_autocast(student):
            spatial_t, channel_t = attentions(*mean_magnitudes(teacher), self.temperature)
            # Two sums of the squared difference over the channels: weighted for the focal terms, plain for
            # the relation term.
            sums = pair_sums(student, teacher, torch.stack([channel_t, torch.ones_like(channel_t)], dim=1))
            weighted_error, error = sums.errors.unbind(dim=1)
            focal_error = spatial_t * weighted_error
            spatial_s, channel_s = attentions(sums.cell_magnitude, sums.channel_magnitude, self.temperature)
            terms = {
                "foreground": (foreground.flatten(1) * focal_error).sum(),
                "background": (background.flatten(1) * focal_error).sum(),
                "attention": (channel_s - channel_t).abs().sum() + (spatial_s - spatial_t).abs().sum(),
                "relation": self._relation(student, teacher, error, sums.channel_difference),
            }
        return {name: term / len(teacher) for name, term in terms.items()}

    def _aligned(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Refuses what does not fit; returns both feature maps as ``N x C x P``, in at least float32."""
        require_feature_maps(student, teacher, self.student_channels, self.teacher_channels)
        require_boxes(boxes, len(teacher), image_shapes)
        if self.align is not None:
            student = self.align(student)
        student = full_precision(student).flatten(2)
        return student, full_precision(teacher.detach()).to(student.dtype).flatten(2)

    def _relation(self, student: Tensor, teacher: Tensor, error: Tensor, difference: Tensor) -> Tensor:
        """Sums ``(R_s(F) - R_t(T))^2`` without building either map.

        A context block adds one value to a whole channel. With ``D = F - T`` and ``b`` the difference of
        what the two blocks add, the sum is ``sum D^2 + 2 sum_c b_c sum_cells D + P sum_c b_c^2``.

        Args:
            student: ``N x C x P``.
            teacher: ``N x C x P``.
            error: ``D^2`` summed over the channels, ``N x P``.
            difference: ``D`` summed over the cells, ``N x C``.
        """
        added = _added_context(student, self.conv_mask_s, self.channel_add_conv_s) - _added_context(
            teacher, self.conv_mask_t, self.channel_add_conv_t
        )
        return error.sum() + 2 * (added * difference).sum() + error.shape[1] * added.square().sum()


def box_masks(
    boxes: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    size: tuple[int, int],
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Weights of the cells inside and outside the annotated boxes (arXiv:2111.11837, "Focal Distillation").

    A box covers the cells ``floor(x0) .. ceil(x1)`` by ``floor(y0) .. ceil(y1)`` of its scaled coordinates,
    both ends included, as far as they lie on the map; its area counts those off the map as well. A covered
    cell weighs one over the area of the smallest box that covers it, so that a small object counts as much
    as a large one. The other cells of an image share the weight 1 evenly.

    Args:
        boxes: for each image ``n x 4`` as ``x0, y0, x1, y1`` in input pixels.
        image_shapes: for each image its height and width in input pixels, before padding.
        size: height ``H`` and width ``W`` of the feature map.
        dtype: type of the weights returned.

    Returns:
        Foreground and background weights, both ``N x H x W``; the background is zero throughout in an image
        whose boxes cover every cell.
    """
    height, width = size
    padded = padded_boxes(boxes)
    # Not blocking: an ordinary copy to the device would make the host wait for it.
    shapes = torch.tensor(image_shapes, dtype=padded.dtype).to(padded.device, non_blocking=True)
    in_rows, rows = _covered_cells(padded[..., 1::2], shapes[:, 0], height)
    in_columns, columns = _covered_cells(padded[..., 0::2], shapes[:, 1], width)
    # Divided one after the other and in float32 for every type of feature: with that rounding the weights
    # are those of the released code to the last bit.
    box_weights = 1 / rows.float() / columns.float()
    row_weights = torch.where(in_rows, box_weights.unsqueeze(2), 0)

    foreground = row_weights.new_zeros(len(boxes), height, width)
    for start in range(0, padded.shape[1], BOXES_AT_ONCE):
        block = slice(start, start + BOXES_AT_ONCE)
        weights = torch.where(in_columns[:, block, None, :], row_weights[:, block, :, None], 0)
        foreground = torch.maximum(foreground, weights.amax(dim=1))
    uncovered = (foreground == 0).to(dtype)
    background = uncovered / uncovered.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    return foreground.to(dtype), background


def _covered_cells(ends: Tensor, image_extent: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The cells that each box covers along one axis.

    Args:
        ends: lower and upper end of each box in input pixels, ``N x B x 2``.
        image_extent: extent of each image along the axis in input pixels, ``N``.
        cells: extent of the feature map along the axis.

    Returns:
        Whether a box covers a cell, ``N x B x cells``, and the box's extent in cells, on the map or off it,
        ``N x B``.
    """
    low, high = (ends / image_extent[:, None, None] * cells).unbind(dim=2)
    first, last = low.floor(), high.ceil()
    cell = torch.arange(cells, dtype=ends.dtype, device=ends.device)
    inside = (first.unsqueeze(2) <= cell) & (cell <= last.unsqueeze(2))
    return inside, last - first + 1


def attentions(
    cell_magnitude: Tensor, channel_magnitude: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Spatial and channel attention from the mean magnitudes of a feature map.

    Args:
        cell_magnitude: mean magnitude of each cell, ``N x P``.
        channel_magnitude: mean magnitude of each channel, ``N x C``.
        temperature: of both softmax functions.

    Returns:
        Spatial attention ``N x P``, whose sum is ``P``, and channel attention ``N x C``, whose sum is ``C``.
    """
    spatial = cell_magnitude.shape[1] * (cell_magnitude / temperature).softmax(dim=1)
    channel = channel_magnitude.shape[1] * (channel_magnitude / temperature).softmax(dim=1)
    return spatial, channel


def _context_transform(channels: int) -> nn.Sequential:
    """The bottleneck of a global context block, which turns a context into what is added to each channel."""
    return nn.Sequential(
        nn.Conv2d(channels, channels // 2, kernel_size=1),
        nn.LayerNorm([channels // 2, 1, 1]),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels // 2, channels, kernel_size=1),
    )


def _added_context(features: Tensor, mask: nn.Conv2d, transform: nn.Sequential) -> Tensor:
    """What a global context block adds to each channel of a feature map.

    Args:
        features: ``N x C x P``.
        mask: scores the cells (``Wk``).
        transform: turns the context into what is added.

    Returns:
        ``N x C``.
    """
    weight, bias = mask.parameters()
    context = attention_pool(features, weight.flatten(), bias)
    added: Tensor = transform(context[:, :, None, None])
    return added.flatten(1)
