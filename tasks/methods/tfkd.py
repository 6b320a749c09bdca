"""Tf-KD: teacher-free knowledge distillation (CVPR 2020), by self-training and by regularization."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import (
    full_precision,
    kl_divergence,
    require_same_shape,
    require_target,
    softened_divergence,
    target_distribution,
)
from tasks.methods.registry import register_loss


class _TeacherFree(nn.Module):
    """Base of both losses: their weights, as in the authors' code.

    The divergence there is a mean over all ``N * K`` elements and not over the batch: ``K`` times smaller
    than that of ordinary distillation. The multiplier compensates for a part of that.
    """

    def __init__(self, alpha: float, temperature: float, multiplier: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.temperature = temperature
        self.multiplier = multiplier

    @property
    def ce_weight(self) -> float:
        """The weight of the ordinary cross-entropy in the total loss."""
        return 1 - self.alpha

    def _weighted(self, divergence: Tensor, classes: int) -> Tensor:
        """The loss from a divergence that is a mean over the batch."""
        return self.alpha * self.multiplier * divergence / classes


@register_loss("TFKDSelfTrainingLoss", version=1)
class TFKDSelfTrainingLoss(_TeacherFree):
    """Tf-KD by self-training: the teacher is the student's own network, trained alone beforehand.

    With ``p`` and ``q`` the softmax of student and teacher logits over the temperature::

        loss = alpha * multiplier * temperature^2 * mean_nk( q_nk * (log q_nk - log p_nk) )

    The mean runs over the ``N * K`` elements. The ordinary cross-entropy beside it has the weight
    ``1 - alpha``, see `ce_weight`.

    Source: arXiv:1909.11723 and the authors' code; the defaults are those of its ResNet-18 on CIFAR-100.
    MobileNetV2 and ShuffleNetV2 have temperature 20 and multiplier 1.

    Args:
        alpha: weight of the distillation part, from 0 to 1.
        temperature: softens both distributions.
        multiplier: a further weight of the distillation part.
    """

    def __init__(self, alpha: float = 0.95, temperature: float = 6.0, multiplier: float = 50.0) -> None:
        super().__init__(alpha, temperature, multiplier)

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
        divergence = softened_divergence(student_logits, teacher_logits, self.temperature)
        return self._weighted(divergence, student_logits.shape[1])


@register_loss("TFKDRegularizationLoss", version=1)
class TFKDRegularizationLoss(_TeacherFree):
    """Tf-KD by regularization: a made-up teacher, right with a fixed probability and otherwise undecided.

    With ``p`` the student's softmax (at temperature 1) and ``y`` the label as a distribution::

        u_k = correct_probability * y_k + (1 - correct_probability) * (1 - y_k) / (K - 1)
        r   = softmax(u / temperature)

        loss = alpha * multiplier * mean_nk( r_nk * (log r_nk - log p_nk) )

    As in the authors' code the softmax is taken of probabilities, so that ``r`` is nearly uniform: at
    temperature 20 the label has 1.05 times the share of another class. The mean runs over the ``N * K``
    elements. The ordinary cross-entropy beside it has the weight ``1 - alpha``, see `ce_weight`. The original
    has no soft labels; here the teacher is right about each class of one in proportion to its share.

    Source: arXiv:1909.11723 and the authors' code; the defaults are those of its ResNet-18 on CIFAR-100.
    MobileNetV2 has alpha 0.95, temperature 40 and multiplier 1.

    Args:
        alpha: weight of the distillation part, from 0 to 1.
        temperature: divides the made-up teacher's probabilities.
        multiplier: a further weight of the distillation part.
        correct_probability: the probability that the made-up teacher gives the label.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        temperature: float = 20.0,
        multiplier: float = 100.0,
        correct_probability: float = 0.99,
    ) -> None:
        super().__init__(alpha, temperature, multiplier)
        self.correct_probability = correct_probability

    def forward(self, student_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the weighted distillation part.

        Args:
            student_logits: ``N x K``.
            target: ``N`` class indices or ``N x K`` soft labels.

        Returns:
            A scalar.

        Raises:
            ValueError: if the target does not fit the logits.
        """
        require_target(student_logits, target)
        log_p = full_precision(student_logits).log_softmax(dim=1)
        label, classes = target_distribution(target, log_p), log_p.shape[1]
        wrong = (1 - self.correct_probability) / (classes - 1)
        opinion = self.correct_probability * label + wrong * (1 - label)
        log_r = (opinion / self.temperature).log_softmax(dim=1)
        return self._weighted(kl_divergence(log_r, log_p), classes)
