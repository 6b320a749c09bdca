"""PKT: probabilistic knowledge transfer (ECCV 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.methods.common import full_precision, no_autocast, require_same_batch
from tasks.methods.registry import register_loss

# Keeps lengths and probabilities from zero, as in the authors' code.
EPSILON = 1e-7


@register_loss("PKTLoss", version=1)
class PKTLoss(nn.Module):
    """Probabilistic Knowledge Transfer: how likely each sample of a batch is the neighbour of another.

    With ``x_i`` the feature of sample ``i`` over ``|x_i| + 1e-7``::

        c_ij = (<x_i, x_j> + 1) / 2, each row divided by its sum

        loss = weight * mean_ij( c_ij(teacher) * log( (c_ij(teacher) + 1e-7) / (c_ij(student) + 1e-7) ) )

    It is added to the task's own loss. The two features may differ in channels. A batch of one gives zero; a
    feature that is zero throughout is equally near to all others, and has no gradient.

    Source: arXiv:1803.10837 and the authors' code; the default weight is that of RepDistiller and mdistiller.

    Args:
        weight: weight of the loss.
    """

    def __init__(self, weight: float = 30000.0) -> None:
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
        p, q = (_neighbours(feature) for feature in (student, teacher.detach()))
        divergence = q * ((q + EPSILON) / (p + EPSILON)).log()
        return self.weight * divergence.mean()


def _neighbours(feature: Tensor) -> Tensor:
    """``N x N`` probabilities, each row with the sum 1, from the cosines of the images' features."""
    rows = full_precision(feature).flatten(1)
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    directions = (rows / (lengths + EPSILON)).masked_fill(lengths == 0, 0.0)
    with no_autocast(rows):
        similarity = (directions @ directions.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)
