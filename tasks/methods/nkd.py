"""NKD: normalized knowledge distillation (ICCV 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import (
    class_mask,
    full_precision,
    other_log_softmax,
    require_same_shape,
    require_target,
    target_class,
)
from tasks.methods.registry import register_loss


@register_loss("NKDLoss", version=1)
class NKDLoss(nn.Module):
    """Normalized Knowledge Distillation: the teacher's target probability, and its view of the other classes.

    Plain distillation compares the probabilities of the non-target classes although those of student and
    teacher have different sums; NKD normalizes both to one first. With ``z`` and ``v`` the student's and the
    teacher's logits, ``y`` the target class, ``p = softmax(z)``, ``q = softmax(v)``, and ``pn``, ``qn`` the
    softmax of ``z / temperature`` and ``v / temperature`` over the classes other than ``y``::

        loss = - mean( q_y * log p_y ) - gamma * temperature^2 * mean( sum_{k != y} qn_k * log pn_k )

    It is added to the ordinary cross-entropy. The target class of a soft label is its largest entry.

    Source: arXiv:2303.13005 (first published with the same value in arXiv:2208.10139); the defaults are the
    paper's for ImageNet, with temperature 3 and gamma 3.5 typical of CIFAR-100.

    Args:
        temperature: softens the non-target distributions.
        gamma: weight of the non-target part.
    """

    def __init__(self, temperature: float = 1.0, gamma: float = 1.5) -> None:
        super().__init__()
        self.temperature = temperature
        self.gamma = gamma

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
        label = target_class(target)
        is_target = class_mask(label, student)

        log_p_target = student.log_softmax(dim=1).gather(1, label)
        q_target = teacher.softmax(dim=1).gather(1, label)
        target_part = -(q_target * log_p_target).mean()

        log_p_others = other_log_softmax(student / self.temperature, is_target)
        q_others = other_log_softmax(teacher / self.temperature, is_target).exp()
        other_part = -(q_others * log_p_others).sum(dim=1).mean()
        return target_part + self.gamma * self.temperature**2 * other_part
