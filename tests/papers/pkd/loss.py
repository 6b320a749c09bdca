"""PKD: feature distillation by Pearson correlation (NeurIPS 2022)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision
from tasks.methods.registry import register_loss


@register_loss("PearsonLoss", version=1)
class PKDLoss(nn.Module):
    """Compares one level of two feature pyramids after taking magnitude and offset out of every channel.

    With ``n(X) = (X - m) / (s + epsilon)``, ``m`` and ``s`` the mean and the unbiased standard deviation of a
    channel over batch and positions::

        loss = weight / 2 * mean( (n(F) - n(T))^2 )

    Up to ``epsilon`` and a factor ``(n - 1) / n`` that is ``weight * (1 - r)``, with ``r`` the Pearson
    correlation of student and teacher, averaged over the channels. Maps of unequal size are made equal by
    bilinear interpolation. Statistics are those of one device.

    Source: arXiv:2207.02039, equations 2 to 4; the weight is that of the released config of Faster R-CNN.

    Args:
        weight: of the loss; 6 for two-stage and 10 for one-stage detectors in the released configs.
        resize: which of two maps of unequal height is resized to the other.
        epsilon: added to the standard deviation.
    """

    def __init__(
        self, weight: float = 6.0, resize: Literal["student", "teacher"] = "student", epsilon: float = 1e-6
    ) -> None:
        super().__init__()
        self.weight = weight
        self.resize = resize
        self.epsilon = epsilon

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss of one level.

        Args:
            student: ``N x C x H x W``.
            teacher: ``N x C x H' x W'``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if batch or channels differ.
        """
        if student.shape[:2] != teacher.shape[:2]:
            shapes = f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}"
            raise ValueError(f"{shapes} differ in batch or channels")
        student, teacher = full_precision(student), full_precision(teacher.detach())
        # The released code looks at the height alone.
        if student.shape[2] != teacher.shape[2]:
            if self.resize == "student":
                student = functional.interpolate(student, teacher.shape[2:], mode="bilinear")
            else:
                teacher = functional.interpolate(teacher, student.shape[2:], mode="bilinear")
        difference = self._normalized(student) - self._normalized(teacher)
        return self.weight / 2 * difference.square().mean()

    def _normalized(self, features: Tensor) -> Tensor:
        """Zero mean and unit standard deviation in every channel."""
        channels = features.transpose(0, 1).flatten(1)
        mean, deviation = channels.mean(dim=1, keepdim=True), channels.std(dim=1, keepdim=True)
        return (channels - mean) / (deviation + self.epsilon)
