"""MGD: masked generative distillation (ECCV 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tasks.methods.common import (
    channel_alignment,
    generation_block,
    require_choice,
    require_feature_maps,
    squared_error,
)
from tasks.methods.registry import register_loss


@register_loss("MGDLoss", version=1)
class MGDLoss(nn.Module):
    """Masked Generative Distillation: the student rebuilds the teacher's feature map from a part of its own.

    With ``F`` the student's feature map (aligned where the channels differ), ``T`` the teacher's, ``keep`` a
    random mask of zeros and ones and ``G`` a trained 3x3 convolution, ReLU, 3x3 convolution::

        loss = alpha * sum (G(F * keep) - T)^2 / N

    ``"spatial"`` masking (dense tasks) drops positions, for all channels at once; ``"channel"`` masking
    (classification) drops channels, at all positions at once. ``mask_ratio`` is the expected share dropped.

    Source: arXiv:2205.01529, sections "Generation with Masked Feature" and "Overall Loss"; the defaults are
    the released values for one-stage detectors.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's feature map.
        alpha: weight of the loss.
        mask_ratio: probability of dropping a position or a channel (lambda in the paper), from 0 to 1.
        masking: what is dropped, ``"spatial"`` or ``"channel"``.

    Raises:
        ValueError: if ``masking`` is neither of the two or ``mask_ratio`` is not a probability.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        alpha: float = 2e-5,
        mask_ratio: float = 0.65,
        masking: Literal["spatial", "channel"] = "spatial",
    ) -> None:
        super().__init__()
        require_choice("masking", masking, ("spatial", "channel"))
        if not 0 <= mask_ratio <= 1:
            raise ValueError(f"mask_ratio {mask_ratio} is not a probability: use a number from 0 to 1")
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.alpha = alpha
        self.mask_ratio = mask_ratio
        self.masking = masking
        self.align = channel_alignment(student_channels, teacher_channels)
        self.generation = generation_block(teacher_channels)

    def forward(self, student: Tensor, teacher: Tensor, keep_mask: Tensor | None = None) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map, ``N x student_channels x H x W``.
            teacher: the teacher's feature map, ``N x teacher_channels x H x W``; detached.
            keep_mask: one where the student's feature is kept and zero where it is dropped, ``N x 1 x H x W``
                for spatial and ``N x teacher_channels x 1 x 1`` for channel masking; drawn when not given.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module or each other, or the mask does not fit
                the teacher's feature map.
        """
        require_feature_maps(student, teacher, self.student_channels, self.teacher_channels)
        if keep_mask is None:
            keep_mask = self.draw_keep_mask(teacher)
        elif keep_mask.shape != self._mask_shape(teacher):
            raise ValueError(
                f"keep_mask {tuple(keep_mask.shape)} and teacher {tuple(teacher.shape)} do not fit: "
                f"{self.masking} masking takes {tuple(self._mask_shape(teacher))}"
            )
        if self.align is not None:
            student = self.align(student)
        generated = self.generation(student * keep_mask.to(student.dtype))
        return self.alpha * squared_error(generated, teacher)

    def draw_keep_mask(self, teacher: Tensor) -> Tensor:
        """Draws a mask as the released code does: one uniform float32 number per position or channel.

        The numbers come from torch's CPU generator on every device, so a seed means the same mask
        everywhere. Spatial masking drops the large numbers, channel masking the small ones.

        Args:
            teacher: the teacher's feature map, for the shape and the device.

        Returns:
            Booleans, true where the feature is kept; the shape is that of ``keep_mask`` in `forward`.
        """
        uniform = torch.rand(self._mask_shape(teacher), dtype=torch.float32)
        keep = uniform <= 1 - self.mask_ratio if self.masking == "spatial" else uniform >= self.mask_ratio
        return keep.to(teacher.device, non_blocking=True)

    def _mask_shape(self, teacher: Tensor) -> torch.Size:
        images, channels, height, width = teacher.shape
        spatial = self.masking == "spatial"
        return torch.Size((images, 1, height, width) if spatial else (images, channels, 1, 1))
