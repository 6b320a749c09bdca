"""LD: localisation distillation of box distributions (CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, require_same_shape
from tasks.methods.dense_heads import assign_targets, rows, weighted_mean
from tasks.methods.registry import register_loss


@register_loss("LDLoss", version=1)
class LDLoss(nn.Module):
    """Localisation Distillation: the teacher's distribution of each box side, for heads of the GFL family.

    A head of this family predicts each side of a box as a distribution over ``n + 1`` distances. On the
    anchors that the student's head assigns to objects, with ``z`` and ``v`` the student's and the teacher's
    logits of a side and ``s`` the student's largest class probability there, held constant::

        KL(z, v; t) = t^2 * mean_bins KL( softmax(v / t) || softmax(z / t) )

        localisation = sum_sides s * KL(z, v; temperature) / 4
        class        = mean_positives KL(class z, class v; class_temperature)

        loss = weight * localisation + class_weight * class

    The mean over the bins, the weight ``s`` and the divisor, which is not the sum of the weights, are those
    of the release; so is the ``1.2e-7`` that is added to every divisor. A batch without objects gives zero.

    Left out are the paper's valuable region around the objects, and the feature term that some released
    configs add. The class part is off unless it is given a weight.

    Source: arXiv:2102.12252; the defaults are the released ones.

    Args:
        weight: weight of the localisation part.
        temperature: softens the distributions of the sides.
        class_weight: weight of the class part; the release has 10 where it uses it.
        class_temperature: softens the class scores.
    """

    def __init__(
        self,
        weight: float = 0.25,
        temperature: float = 10.0,
        class_weight: float = 0.0,
        class_temperature: float = 2.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.temperature = temperature
        self.class_weight = class_weight
        self.class_temperature = class_temperature

    def forward(
        self,
        student: Sequence[Sequence[Tensor]],
        teacher: Sequence[Sequence[Tensor]],
        student_head: Any,
        data_samples: Sequence[Any],
    ) -> Tensor:
        """Computes the weighted loss of all levels.

        Args:
            student: outputs of the student's head: class scores and box distributions, each a list of levels,
                ``N x K x H x W`` and ``N x 4(n + 1) x H x W``.
            teacher: the same of the teacher; detached.
            student_head: the student's head (mmdet's ``GFLHead``), which assigns the positive anchors.
            data_samples: annotations of the batch.

        Returns:
            A scalar.

        Raises:
            ValueError: if the outputs of student and teacher differ in shape.
        """
        for own, other in zip((*student[0], *student[1]), (*teacher[0], *teacher[1]), strict=True):
            require_same_shape(own, other, "N x C x H x W")
        targets = assign_targets(student_head, student[0], data_samples)
        # One mask instead of a selection: the number of positives would make the host wait for the device.
        positive = torch.cat([level.reshape(-1) for level in targets.positive])
        classes, bins = student[0][0].shape[1], student[1][0].shape[1] // 4
        scores, taught_scores = _levels(student[0], classes), _levels(teacher[0], classes)
        weight = scores.detach().sigmoid().amax(dim=1) * positive
        loss = self.weight * self.divergence(
            _levels(student[1], bins),
            _levels(teacher[1], bins),
            weight.repeat_interleave(4),
            4.0,
            self.temperature,
        )
        if self.class_weight:
            count = positive.sum().clamp(min=1)
            divergence = self.divergence(
                scores, taught_scores, positive.to(scores.dtype), count, self.class_temperature
            )
            loss = loss + self.class_weight * divergence
        return loss

    @staticmethod
    def divergence(
        student_logits: Tensor,
        teacher_logits: Tensor,
        row_weight: Tensor,
        divisor: float | Tensor,
        temperature: float,
    ) -> Tensor:
        """The divergence of rows, with a weight for each row but none overall.

        Args:
            student_logits: ``R x B``.
            teacher_logits: ``R x B``; detached.
            row_weight: ``R``.
            divisor: what the weighted sum over the rows is divided by.
            temperature: softens both distributions.

        Returns:
            ``sum_r row_weight_r * KL(z_r, v_r; temperature) / divisor``, a scalar.
        """
        require_same_shape(student_logits, teacher_logits, "R x B")
        log_p = (full_precision(student_logits) / temperature).log_softmax(dim=1)
        log_q = (full_precision(teacher_logits.detach()) / temperature).log_softmax(dim=1)
        divergence = functional.kl_div(log_p, log_q, reduction="none", log_target=True).mean(dim=1)
        return temperature**2 * weighted_mean(divergence, row_weight, divisor)


def _levels(maps: Sequence[Tensor], width: int) -> Tensor:
    """The rows of all levels, concatenated."""
    return torch.cat([rows(level, width) for level in maps])
