"""RKD: relational knowledge distillation (CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, no_autocast, require_same_batch, unit_vectors
from tasks.methods.registry import register_loss

# Distance up to which two samples count as equal: the release's lower bound of a distance.
EQUAL = 1e-6


@register_loss("RKDLoss", version=1)
class RKDLoss(nn.Module):
    """Relational Knowledge Distillation: distances and angles between the samples of a batch.

    With ``x_i`` the feature of sample ``i``, ``unit`` a vector scaled to length one and ``h`` the smooth L1
    loss (``0.5 d^2`` below 1, ``|d| - 0.5`` above)::

        d_ij  = |x_i - x_j| / mean of |x_i - x_j| over i != j
        a_jik = < unit(x_i - x_j), unit(x_k - x_j) >

        distance = mean_ij h( d_ij(student) - d_ij(teacher) )
        angle    = mean_jik h( a_jik(student) - a_jik(teacher) )

        loss = weight_distance * distance + weight_angle * angle

    The means run over all ``N^2`` pairs and ``N^3`` triples, those of a sample with itself included. It is
    added to the task's own loss. Memory grows with ``N^3 + N^2 * C``.

    Samples closer than 1e-6 count as equal: they are 1e-6 apart, and angles at or towards them are zero, both
    without a gradient. The release divides by the length of their difference there, and a gradient of 1e12
    follows where the student has two equal samples and the teacher does not. A batch of one gives zero, where
    the release averages over nothing, and so does a batch of two.

    Source: arXiv:1904.05068 and the authors' code; the default weights are those with which RepDistiller and
    mdistiller compare it on pooled features. The authors' metric learning has 1 and 2.

    Args:
        weight_distance: weight of the distances.
        weight_angle: weight of the angles.
    """

    def __init__(self, weight_distance: float = 25.0, weight_angle: float = 50.0) -> None:
        super().__init__()
        self.weight_distance = weight_distance
        self.weight_angle = weight_angle

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
        terms = self.terms(student, teacher)
        return self.weight_distance * terms["distance"] + self.weight_angle * terms["angle"]

    def terms(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """The two terms before weighting, ``distance`` and ``angle``; arguments as for `forward`."""
        require_same_batch(student, teacher)
        own, other = (_differences(feature) for feature in (student, teacher.detach()))
        return {
            "distance": functional.smooth_l1_loss(_distances(own), _distances(other)),
            "angle": functional.smooth_l1_loss(_angles(own), _angles(other)),
        }


def _differences(feature: Tensor) -> Tensor:
    """``x_i - x_j`` of the flattened features, ``N x N x C``."""
    rows = full_precision(feature).flatten(1)
    return rows.unsqueeze(1) - rows


def _distances(differences: Tensor) -> Tensor:
    """Lengths of ``N x N x C`` differences divided by their mean, ``N x N``; zero on the diagonal."""
    samples = len(differences)
    itself = torch.eye(samples, dtype=torch.bool, device=differences.device)
    lengths = differences.square().sum(dim=2).clamp(min=EQUAL**2).sqrt().masked_fill(itself, 0.0)
    mean = lengths.sum() / max(samples * (samples - 1), 1)
    return lengths / mean.clamp(min=EQUAL)


def _angles(differences: Tensor) -> Tensor:
    """Cosines between the ``N x N x C`` differences from a sample to any two others, ``N x N x N``."""
    directions = unit_vectors(differences, EQUAL)
    with no_autocast(directions):
        return directions @ directions.transpose(1, 2)
