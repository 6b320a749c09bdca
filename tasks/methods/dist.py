"""DIST: knowledge distillation from a stronger teacher (NeurIPS 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.methods.common import full_precision, require_same_shape
from tasks.methods.registry import register_loss

# Added to the product of the two norms. Classes that hardly occur in a batch have products of this size, so
# that bounding the product from below instead would be another loss.
EPSILON = 1e-8


@register_loss("DISTLoss", version=1)
class DISTLoss(nn.Module):
    """DIST: correlation with the teacher, over the classes of a sample and over the samples of a class.

    With ``p`` and ``q`` the softmax of student and teacher logits over the temperature, and ``rho`` the
    correlation ``<u', w'> / (|u'| |w'| + 1e-8)`` of two vectors after subtracting their means::

        inter = temperature^2 * (1 - mean_n rho(p_n., q_n.))
        intra = temperature^2 * (1 - mean_k rho(p_.k, q_.k))

        loss = weight * (beta * inter + gamma * intra)

    It is added to the task's own loss. ``intra`` is computed over the batch of one device. A constant vector
    has no correlation, ``rho = 0``: in a batch of one ``intra`` is ``temperature^2``, without a gradient.
    Where the teacher varies and the student does not, only the 1e-8 bounds the gradient, as in the release.

    Source: arXiv:2205.10536 and the authors' code; the defaults are those of its ImageNet configuration.

    Args:
        temperature: softens both distributions.
        beta: weight of the relation between classes.
        gamma: weight of the relation within a class.
        weight: weight of both.
    """

    def __init__(
        self, temperature: float = 1.0, beta: float = 1.0, gamma: float = 1.0, weight: float = 2.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.beta = beta
        self.gamma = gamma
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
        terms = self.terms(student_logits, teacher_logits)
        return self.weight * (self.beta * terms["inter"] + self.gamma * terms["intra"])

    def terms(self, student_logits: Tensor, teacher_logits: Tensor) -> dict[str, Tensor]:
        """The two terms before weighting, ``inter`` and ``intra``; arguments as for `forward`."""
        require_same_shape(student_logits, teacher_logits, "N x K")
        p, q = (
            (full_precision(logits) / self.temperature).softmax(dim=1)
            for logits in (student_logits, teacher_logits.detach())
        )
        scale = self.temperature**2
        return {
            name: scale * (1 - _correlation(p, q, dim).mean()) for name, dim in (("inter", 1), ("intra", 0))
        }


def _correlation(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """Correlation of two matrices along a dimension: one value per row (``dim=1``) or column (``dim=0``)."""
    one, other = (matrix - matrix.mean(dim=dim, keepdim=True) for matrix in (one, other))
    lengths: Tensor = torch.linalg.vector_norm(one, dim=dim) * torch.linalg.vector_norm(other, dim=dim)
    return (one * other).sum(dim=dim) / (lengths + EPSILON)
