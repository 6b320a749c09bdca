"""WSLD: weighted soft label distillation (ICLR 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import (
    full_precision,
    require_same_shape,
    require_target,
    target_distribution,
)
from tasks.methods.registry import register_loss

# Keeps the ratio of the two cross-entropies finite for a teacher that is certain and right.
EPSILON = 1e-7


@register_loss("WSLDLoss", version=1)
class WSLDLoss(nn.Module):
    """Weighted Soft Label Distillation: each sample is weighted by how much better the teacher is on it.

    With ``p`` and ``q`` the softmax of the student's and the teacher's logits over the temperature, and
    ``ce_s``, ``ce_t`` their cross-entropies with the target at temperature 1, held constant::

        w = 1 - exp( - ce_s / (ce_t + 1e-7) )
        loss = - alpha * temperature^2 * mean( w * sum_k q_k * log p_k )

    It is added to the ordinary cross-entropy.

    Source: arXiv:2102.00650; the defaults are those of the release that made the rival rows of
    arXiv:2303.13005.

    Args:
        temperature: softens both distributions.
        alpha: weight of the loss.
    """

    def __init__(self, temperature: float = 4.0, alpha: float = 2.25) -> None:
        super().__init__()
        self.temperature = temperature
        self.alpha = alpha

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_logits: ``N x K``.
            teacher_logits: ``N x K``; detached.
            target: ``N`` class indices or ``N x K`` soft labels.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits differ in shape or the target does not fit them.
        """
        require_same_shape(student_logits, teacher_logits, "N x K")
        require_target(student_logits, target)
        student, teacher = full_precision(student_logits), full_precision(teacher_logits.detach())
        label = target_distribution(target, student)
        student_error = -(label * student.detach().log_softmax(dim=1)).sum(dim=1)
        teacher_error = -(label * teacher.log_softmax(dim=1)).sum(dim=1)
        weight = 1 - (-student_error / (teacher_error + EPSILON)).exp()

        log_p = (student / self.temperature).log_softmax(dim=1)
        q = (teacher / self.temperature).softmax(dim=1)
        soft_error = -(q * log_p).sum(dim=1)
        return self.alpha * self.temperature**2 * (weight * soft_error).mean()
