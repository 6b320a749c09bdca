"""LSKD: logit standardization in knowledge distillation (CVPR 2024), with KD and with DKD."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import full_precision, require_same_shape, softened_divergence
from tasks.methods.dkd import DKDLoss
from tasks.methods.registry import register_loss

# Added to the deviation of the logits, as in the authors' code.
EPSILON = 1e-7


@register_loss("LSKDLoss", version=1)
class LSKDLoss(nn.Module):
    """KD on standardized logits: the student need not match the range of the teacher's.

    With ``s(x) = (x - mean(x)) / (std(x) + 1e-7)`` over the classes of a sample, the deviation with ``K - 1``
    degrees of freedom, and ``p``, ``q`` the softmax of ``s(student)`` and ``s(teacher)`` over the
    temperature::

        loss = weight * temperature^2 * mean KL(q || p)

    It is added to the task's own loss, whose weight the releases choose freely: 1 on ImageNet, 0.1 on
    CIFAR-100. Logits that are all equal are standardized to zero, and their gradient is 1e7 times that of the
    distribution: finite, but too large to start from.

    Source: arXiv:2403.01427 and the authors' code and commands, which the defaults are taken from.

    Args:
        temperature: softens both distributions.
        weight: weight of the loss.
    """

    def __init__(self, temperature: float = 2.0, weight: float = 9.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = weight

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_logits: ``N x K``.
            teacher_logits: ``N x K``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits differ in shape.
        """
        require_same_shape(student_logits, teacher_logits, "N x K")
        student, teacher = standardized(student_logits), standardized(teacher_logits)
        return self.weight * softened_divergence(student, teacher, self.temperature)


@register_loss("LSKDDKDLoss", version=1)
class LSKDDKDLoss(DKDLoss):
    """DKD on standardized logits: `tasks.methods.dkd.DKDLoss` on logits standardized as in `LSKDLoss`.

    Source: as `LSKDLoss`; the authors multiply both weights of DKD's own configuration by 9. The defaults are
    for ResNet-32x4 and ResNet-8x4 on CIFAR-100.

    Args:
        temperature: softens both distributions.
        alpha: weight of the target part.
        beta: weight of the non-target part.
    """

    def __init__(self, temperature: float = 2.0, alpha: float = 9.0, beta: float = 72.0) -> None:
        super().__init__(temperature, alpha, beta)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the weighted loss; arguments, result and errors are those of DKD."""
        require_same_shape(student_logits, teacher_logits, "N x K")
        return super().forward(standardized(student_logits), standardized(teacher_logits), target)


def standardized(logits: Tensor) -> Tensor:
    """``N x K`` logits with mean 0 and deviation 1 over the classes of a sample, in at least float32."""
    logits = full_precision(logits)
    deviation = logits.std(dim=1, keepdim=True)
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + EPSILON)
