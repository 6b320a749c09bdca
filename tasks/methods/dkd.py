"""DKD: decoupled knowledge distillation (CVPR 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tasks.methods.common import (
    class_mask,
    full_precision,
    kl_divergence,
    other_log_softmax,
    require_same_shape,
    require_target,
    target_class,
)
from tasks.methods.registry import register_loss


@register_loss("DKDLoss", version=1)
class DKDLoss(nn.Module):
    """Decoupled Knowledge Distillation: target against the rest, and within the rest, weighted separately.

    With ``p`` and ``q`` the softmax of student and teacher logits over the temperature, ``y`` the target
    class, and ``pn``, ``qn`` the same over the classes other than ``y``::

        target_part = KL( (q_y, 1 - q_y) || (p_y, 1 - p_y) )        other_part = KL( qn || pn )

        loss = temperature^2 * mean( alpha * target_part + beta * other_part )

    It is added to the ordinary cross-entropy. The target class of a soft label is its largest entry.

    Source: arXiv:2203.08679 (its TCKD and NCKD); the defaults are those of the release that made the rival
    rows of arXiv:2303.13005.

    Args:
        temperature: softens both distributions.
        alpha: weight of the target part.
        beta: weight of the non-target part.
    """

    def __init__(self, temperature: float = 4.0, alpha: float = 1.0, beta: float = 6.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta

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
        student = full_precision(student_logits) / self.temperature
        teacher = full_precision(teacher_logits.detach()) / self.temperature
        label = target_class(target)
        is_target = class_mask(label, student)

        target_part = kl_divergence(
            _target_or_not(teacher, label, is_target), _target_or_not(student, label, is_target)
        )
        other_part = kl_divergence(
            other_log_softmax(teacher, is_target), other_log_softmax(student, is_target)
        )
        return self.temperature**2 * (self.alpha * target_part + self.beta * other_part)


def _target_or_not(logits: Tensor, label: Tensor, is_target: Tensor) -> Tensor:
    """Log-probabilities of the target class and of all the others together.

    Args:
        logits: ``N x K``.
        label: target classes, ``N x 1``.
        is_target: the same as ``N x K`` booleans.

    Returns:
        ``N x 2``.
    """
    log_p = logits.log_softmax(dim=1)
    others = log_p.masked_fill(is_target, -math.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([log_p.gather(1, label), others], dim=1)
