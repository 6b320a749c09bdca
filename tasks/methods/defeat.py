"""DeFeat: objects and background distilled separately, in the features and in the proposals (CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.methods.common import full_precision, require_same_shape
from tasks.methods.pyramids import BoxPyramidLoss, mean_over_levels
from tasks.methods.registry import register_loss


@register_loss("DeFeatLoss", version=1)
class DeFeatLoss(BoxPyramidLoss):
    """Decoupled Features: cells of the objects and cells of the background, weighted separately.

    A box belongs to one level by its size (`boxes_of_levels`) and covers cells of that level
    (`covered_cells`). With ``A`` the 3x3 convolution of a level, ``m`` its covered cells over the whole
    batch, ``C`` the teacher's channels and ``e = (A(F) - T)^2``::

        foreground = mean_levels( sum m * e       / max(1, 2 * C * sum m) )
        background = mean_levels( sum (1 - m) * e / max(1, 2 * C * sum (1 - m)) )

        loss = foreground_weight * foreground + background_weight * background

    A level without a covered cell has no foreground term, a fully covered one no background term.

    Source: arXiv:2103.14475, the part for the neck; the defaults are those of the release for Faster R-CNN on
    VOC. The part for the head is `DeFeatHeadLoss`.

    Args:
        student_channels: channels of the student's maps.
        teacher_channels: channels of the teacher's maps.
        foreground_weight: weight of the foreground term.
        background_weight: weight of the background term.
        strides: pixels from one cell to the next, of each level, finest first; one per level.
        finest_scale: see `boxes_of_levels`, in pixels.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        foreground_weight: float = 3.0,
        background_weight: float = 12.0,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        finest_scale: float = 56.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, strides, finest_scale)
        self.foreground_weight = foreground_weight
        self.background_weight = background_weight

    def selected(self, boxes: Tensor, level: int, size: tuple[int, int]) -> Tensor:
        """The cells that a box covers (see `BoxPyramidLoss.selected`)."""
        return covered_cells(boxes, self.strides[level], size)

    def combined(self, errors: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """Weighted means over the cells of the objects and of the background."""
        foreground = mean_over_levels(errors, masks, self.teacher_channels)
        background = mean_over_levels(errors, [~mask for mask in masks], self.teacher_channels)
        return self.foreground_weight * foreground + self.background_weight * background


@register_loss("DeFeatHeadLoss", version=1)
class DeFeatHeadLoss(nn.Module):
    """DeFeat on the class logits of a two-stage detector's head, objects and background weighted separately.

    Student and teacher classify the same proposals: those that were sampled for the teacher. With ``z`` and
    ``v`` their logits, ``p`` and ``q`` the softmax of ``z / temperature`` and ``v / temperature``::

        loss = temperature^2 * (  foreground_weight * mean_foreground KL(q || p)
                                + background_weight * mean_background KL(q || p) )

    The term of a group without a proposal is zero. Background is the last class. (The release takes the
    largest label that occurs, which is another one in a batch without a background proposal.)

    Source: arXiv:2103.14475; the weights and the temperature are in the configs of the release, whose type
    string leaves this part out.

    Args:
        foreground_weight: weight of the proposals that are objects.
        background_weight: weight of the others.
        temperature: softens both distributions.
    """

    def __init__(
        self, foreground_weight: float = 2.0, background_weight: float = 2.0, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.foreground_weight = foreground_weight
        self.background_weight = background_weight
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, label: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_logits: ``R x (K + 1)`` class scores of the proposals, those of the background last.
            teacher_logits: of the same shape; detached.
            label: ``R`` class indices, ``K`` for background.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits differ in shape or are not matrices, or there is not one label per
                proposal.
        """
        require_same_shape(student_logits, teacher_logits, "R x K")
        if label.shape != student_logits.shape[:1]:
            raise ValueError(
                f"logits {tuple(student_logits.shape)} and label {tuple(label.shape)} do not fit: give one "
                "class index per proposal"
            )
        log_p = (full_precision(student_logits) / self.temperature).log_softmax(dim=1)
        log_q = (full_precision(teacher_logits.detach()) / self.temperature).log_softmax(dim=1)
        divergence = (log_q.exp() * (log_q - log_p)).sum(dim=1)
        background = label == student_logits.shape[1] - 1
        foreground_term, background_term = (
            (divergence * group).sum() / group.sum().clamp(min=1) for group in (~background, background)
        )
        weighted = self.foreground_weight * foreground_term + self.background_weight * background_term
        return self.temperature**2 * weighted


def covered_cells(boxes: Tensor, stride: float, size: tuple[int, int]) -> Tensor:
    """The cells of a map that boxes cover: from the one where a box begins, without the one where it ends.

    A box that covers no cell by this rule takes the one where it begins, or the last one if it begins beyond
    the map.

    Source: the release of arXiv:2103.14475, which fails if a box begins beyond the map.

    Args:
        boxes: ``N x B x 4`` as ``x0, y0, x1, y1`` in pixels; one that is NaN covers nothing.
        stride: pixels from one cell to the next.
        size: height ``H`` and width ``W`` of the map.

    Returns:
        ``N x H x W`` booleans.
    """
    height, width = size
    left, top, right, bottom = (boxes / stride).trunc().unbind(dim=-1)
    left, top = left.clamp(min=0), top.clamp(min=0)
    right, bottom = right.clamp(max=width), bottom.clamp(max=height)
    without = (right <= left) | (bottom <= top)
    in_columns = _between(left, right, without, width)
    in_rows = _between(top, bottom, without, height)
    return (in_rows.unsqueeze(3) & in_columns.unsqueeze(2)).any(dim=1)


def _between(first: Tensor, behind: Tensor, without: Tensor, cells: int) -> Tensor:
    """Whether a box covers a cell of one axis, ``N x B x cells``; a box ``without`` cells takes its first."""
    first = first.where(~without, first.clamp(max=cells - 1))
    behind = behind.where(~without, first + 1)
    cell = torch.arange(cells, dtype=first.dtype, device=first.device)
    return (first.unsqueeze(2) <= cell) & (cell < behind.unsqueeze(2))
