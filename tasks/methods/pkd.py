"""PKD: feature distillation by Pearson correlation (NeurIPS 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, require_choice
from tasks.methods.registry import register_loss


@register_loss("PKDLoss", version=1)
class PKDLoss(nn.Module):
    """PKD: one level of a pyramid, compared without the magnitude and the offset of its channels.

    With ``m`` and ``s`` the mean and the unbiased standard deviation of a channel over batch and positions::

        n(X) = (X - m) / (s + epsilon)
        loss = weight / 2 * mean( (n(F) - n(T))^2 )

    That is ``weight * (1 - r)``, averaged over the channels, with ``r`` the Pearson correlation of student
    and teacher, up to ``epsilon`` and a factor ``(n - 1) / n`` for ``n`` values per channel. Maps of unequal
    height are resized by bilinear interpolation. Statistics are those of one device.

    A flat channel, all of whose values are equal, is zero after ``n``, whatever its offset. Where it is the
    student's, its gradient is ``1 / epsilon`` times an ordinary one, as in the release: large, but finite. A
    single position in a batch of one has no deviation (the release computes NaN): its channels count as flat
    on both sides, and loss and gradient are zero.

    Source: arXiv:2207.02039, equations 2 to 4; the default is the released weight for Faster R-CNN with
    ResNet-101.

    Args:
        weight: weight of the loss.
        resize: whose map is resized to the other's, ``"student"`` or ``"teacher"``.
        epsilon: added to the standard deviation.

    Raises:
        ValueError: if ``resize`` is neither of the two.
    """

    def __init__(
        self, weight: float = 6.0, resize: Literal["student", "teacher"] = "student", epsilon: float = 1e-6
    ) -> None:
        super().__init__()
        require_choice("resize", resize, ("student", "teacher"))
        self.weight = weight
        self.resize = resize
        self.epsilon = epsilon

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss of one level.

        Args:
            student: the student's feature map, ``N x C x H x W``.
            teacher: the teacher's feature map, ``N x C x H' x W'``; detached. Where ``H'`` is ``H``, ``W'``
                has to be ``W``.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit each other.
        """
        maps = student.dim() == teacher.dim() == 4 and student.shape[:2] == teacher.shape[:2]
        # The release looks at the height alone.
        resized = maps and student.shape[2] != teacher.shape[2]
        if not maps or not (resized or student.shape == teacher.shape):
            raise ValueError(
                f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: both must be "
                "N x C x H x W with the same N and C, and of one width where they are of one height"
            )
        student, teacher = full_precision(student), full_precision(teacher.detach())
        if resized and self.resize == "student":
            student = functional.interpolate(student, teacher.shape[2:], mode="bilinear")
        elif resized:
            teacher = functional.interpolate(teacher, student.shape[2:], mode="bilinear")
        difference = self._normalised(student) - self._normalised(teacher)
        return self.weight / 2 * difference.square().mean()

    def _normalised(self, features: Tensor) -> Tensor:
        """Every channel with mean zero and standard deviation one."""
        axes = (0, 2, 3)
        if features[:, 0].numel() == 1:
            return features - features
        # Both from one pass: the mean of equal values is that value then, and not off by rounding.
        deviation, mean = torch.std_mean(features, dim=axes, keepdim=True)
        return (features - mean) / (deviation + self.epsilon)
