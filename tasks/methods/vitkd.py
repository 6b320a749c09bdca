"""ViTKD: feature distillation of vision transformers (2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.methods.common import generation_block, squared_error
from tasks.methods.registry import register_loss


@register_loss("ViTKDLoss", version=1)
class ViTKDLoss(nn.Module):
    """ViTKD: shallow layers are mimicked, the last one is generated from a part of its tokens.

    With ``F_i`` and ``T_i`` the student's and the teacher's patch tokens after layer ``i``, ``A_i`` a linear
    projection to the teacher's width (one per layer, absent if the widths agree), ``keep`` a random choice of
    tokens in each image, ``token`` a trained vector and ``G`` a trained 3x3 convolution, ReLU, 3x3
    convolution over the grid of tokens::

        mimic    = sum_{shallow i} sum (A_i F_i - T_i)^2 / N
        X        = keep ? A_last F_last : token
        generate = sum_{tokens not kept} (G(X) - T_last)^2 / N

        loss = alpha * mimic + beta / mask_ratio * generate

    Source: arXiv:2209.02432 and the released code, whose defaults these are. Class and distillation tokens
    must be removed first: the grid holds patches only.

    Args:
        student_channels: width of the student's tokens.
        teacher_channels: width of the teacher's tokens.
        alpha: weight of the mimicked layers.
        beta: weight of the generated layer, before it is divided by ``mask_ratio``.
        mask_ratio: share of the tokens replaced (lambda in the paper), above 0 and at most 1.
        shallow_layers: number of mimicked layers.

    Raises:
        ValueError: if ``mask_ratio`` is out of range.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        alpha: float = 3e-5,
        beta: float = 3e-6,
        mask_ratio: float = 0.5,
        shallow_layers: int = 2,
    ) -> None:
        super().__init__()
        if not 0 < mask_ratio <= 1:
            raise ValueError(f"mask_ratio {mask_ratio} is out of range: use a number above 0 and at most 1")
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.alpha = alpha
        self.beta = beta
        self.mask_ratio = mask_ratio
        self.shallow_layers = shallow_layers
        # `align2` is the released name for the projections of the shallow layers.
        self.align2: nn.ModuleList | None = None
        self.align: nn.Linear | None = None
        if student_channels != teacher_channels:
            self.align2 = nn.ModuleList(
                nn.Linear(student_channels, teacher_channels) for _ in range(shallow_layers)
            )
            self.align = nn.Linear(student_channels, teacher_channels)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, teacher_channels))
        self.generation = generation_block(teacher_channels)

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], keep_mask: Tensor | None = None
    ) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's patch tokens after each shallow layer in order, then after the last layer,
                each ``N x L x student_channels`` with ``L`` a square number.
            teacher: the teacher's likewise, ``N x L x teacher_channels``; detached.
            keep_mask: ``N x L`` booleans, true where a token of the last layer is kept; drawn when not given.

        Returns:
            A scalar.

        Raises:
            ValueError: if a layer is missing, tokens do not fit this module or each other, do not form a
                square grid, or the mask does not fit them.
        """
        self._require_fit(student, teacher)
        if keep_mask is None:
            keep_mask = self.draw_keep_mask(teacher[-1])
        elif keep_mask.shape != teacher[-1].shape[:2]:
            raise ValueError(
                f"keep_mask {tuple(keep_mask.shape)} and teacher {tuple(teacher[-1].shape)} do not fit: "
                f"this loss takes {tuple(teacher[-1].shape[:2])}"
            )
        mimicked = self._mimicking(student[:-1], teacher[:-1])
        generated = self._generation(student[-1], teacher[-1], keep_mask.bool())
        return self.alpha * mimicked + self.beta / self.mask_ratio * generated

    def draw_keep_mask(self, tokens: Tensor) -> Tensor:
        """Draws for every image the same number of tokens to keep, ``int(L * (1 - mask_ratio))``.

        Args:
            tokens: ``N x L x C``, for the shape and the device.

        Returns:
            ``N x L`` booleans, true where a token is kept.
        """
        images, length, _ = tokens.shape
        order = torch.rand(images, length, device=tokens.device).argsort(dim=1)
        kept = order[:, : int(length * (1 - self.mask_ratio))]
        return torch.zeros_like(order, dtype=torch.bool).scatter(1, kept, True)

    def _mimicking(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Squared error of the shallow layers over ``N``."""
        if self.align2 is not None:
            student = [align(tokens) for align, tokens in zip(self.align2, student, strict=True)]
        errors = [squared_error(own, other) for own, other in zip(student, teacher, strict=True)]
        return torch.stack(errors).sum()

    def _generation(self, student: Tensor, teacher: Tensor, keep: Tensor) -> Tensor:
        """Squared error of the generated last layer over ``N``, on the tokens not kept."""
        if self.align is not None:
            student = self.align(student)
        kept = keep.unsqueeze(2)
        tokens = torch.where(kept, student, self.mask_token.to(student.dtype))
        side = math.isqrt(tokens.shape[1])
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        generated = self.generation(grid).flatten(2).transpose(1, 2)
        return squared_error(generated.masked_fill(kept, 0.0), teacher.masked_fill(kept, 0.0))

    def _require_fit(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        """Refuses tokens that do not fit this module or each other."""
        layers = self.shallow_layers + 1
        if not len(student) == len(teacher) == layers:
            raise ValueError(
                f"{len(student)} student and {len(teacher)} teacher layers do not fit: this loss takes "
                f"{self.shallow_layers} shallow layers and the last one, {layers} in all"
            )
        for own, other in zip(student, teacher, strict=True):
            square = own.dim() == 3 and math.isqrt(own.shape[1]) ** 2 == own.shape[1]
            expected = (*own.shape[:2], self.teacher_channels)
            if not square or own.shape[2] != self.student_channels or other.shape != expected:
                raise ValueError(
                    f"student {tuple(own.shape)} and teacher {tuple(other.shape)} do not fit: this loss "
                    f"takes N x L x {self.student_channels} and N x L x {self.teacher_channels} patch tokens "
                    "with the same N and a square number L; leave class tokens out"
                )
