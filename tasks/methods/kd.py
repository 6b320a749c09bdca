"""KD: knowledge distillation as first proposed (2015)."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import full_precision, require_same_shape
from tasks.methods.registry import register_loss


@register_loss("KDLoss", version=1)
class KDLoss(nn.Module):
    """Knowledge distillation: cross-entropy between the softened outputs of teacher and student.

    With ``p`` and ``q`` the softmax of the student's and the teacher's logits over the temperature::

        loss = - alpha * temperature^2 * mean( sum_k q_k * log p_k )

    The ordinary cross-entropy beside it has the weight ``1 - alpha``, see `ce_weight`.

    Source: arXiv:1503.02531; the weights as in the comparisons of arXiv:2303.13005.

    Args:
        temperature: softens both distributions.
        alpha: weight of the distillation part, from 0 to 1.
    """

    def __init__(self, temperature: float = 4.0, alpha: float = 0.5) -> None:
        super().__init__()
        self.temperature = temperature
        self.alpha = alpha

    @property
    def ce_weight(self) -> float:
        """The weight of the ordinary cross-entropy in the total loss."""
        return 1 - self.alpha

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Computes the weighted distillation part.

        Args:
            student_logits: ``N x K``.
            teacher_logits: ``N x K``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits differ in shape.
        """
        require_same_shape(student_logits, teacher_logits, "N x K")
        log_p = (full_precision(student_logits) / self.temperature).log_softmax(dim=1)
        q = (full_precision(teacher_logits.detach()) / self.temperature).softmax(dim=1)
        return -self.alpha * self.temperature**2 * (q * log_p).sum(dim=1).mean()
