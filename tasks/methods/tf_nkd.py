"""tf-NKD: normalized knowledge distillation without a teacher."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import full_precision, require_target, target_classes
from tasks.methods.registry import register_loss


@register_loss("TFNKDLoss", version=1)
class TFNKDLoss(nn.Module):
    """Teacher-free NKD: the student's own target probability, smoothed over the batch, replaces a teacher's.

    With ``p = softmax(z)`` of the student's logits and ``y`` the target class::

        w = p_y + 1 - mean_batch(p_y), held constant        loss = - mean( w * log p_y )

    It is added to the ordinary cross-entropy. A soft label (mixup, cutmix) has two target classes: each of
    its two largest entries ``m`` gives ``w = p + m - mean_batch(p)``, or zero where ``m`` is zero, and the
    two losses add up.

    Source: arXiv:2208.10139 (teacher-free NKD) and the released code. The loss has no hyper-parameters.
    """

    def forward(self, student_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            student_logits: ``N x K``.
            target: ``N`` class indices or ``N x K`` soft labels.

        Returns:
            A scalar.

        Raises:
            ValueError: if the target does not fit the logits.
        """
        require_target(student_logits, target)
        classes, shares = target_classes(target)
        log_p = full_precision(student_logits).log_softmax(dim=1).gather(1, classes)
        p = log_p.detach().exp()
        weight = (p + shares - p.mean(dim=0)).masked_fill(shares == 0, 0.0)
        return -(weight * log_p).sum(dim=1).mean()
