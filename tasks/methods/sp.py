"""SP: similarity-preserving knowledge distillation (ICCV 2019)."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import full_precision, no_autocast, require_same_batch, unit_vectors
from tasks.methods.registry import register_loss


@register_loss("SPLoss", version=1)
class SPLoss(nn.Module):
    """Similarity-Preserving distillation: images that the teacher finds similar should be so for the student.

    With the features of a batch flattened to one row per image, ``X``, and ``G(X)`` the products ``X X^T``
    with every row scaled to length one (L2)::

        loss = weight * sum (G(student) - G(teacher))^2 / N^2

    It is added to the task's own loss. The two features may differ in channels and size. A batch of one gives
    zero. An image whose feature is zero throughout has a row of zeros, which has no gradient.

    Source: arXiv:1907.09682; arithmetic and weight are those of RepDistiller, which the author checked.

    Args:
        weight: weight of the loss.
    """

    def __init__(self, weight: float = 3000.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature, ``N x ...``.
            teacher: the teacher's feature, ``N x ...``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the two differ in ``N``.
        """
        require_same_batch(student, teacher)
        own, other = (_similarities(feature) for feature in (student, teacher.detach()))
        return self.weight * (own - other).square().mean()


def _similarities(feature: Tensor) -> Tensor:
    """``N x N`` products of the images' features, each row of length one."""
    rows = full_precision(feature).flatten(1)
    with no_autocast(rows):
        return unit_vectors(rows @ rows.T)
