"""AT: attention transfer (ICLR 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, require_choice
from tasks.methods.registry import register_loss
from tasks.methods.stages import (
    pooled_to_smaller,
    require_maps_of_one_batch,
    require_stages,
    stages_of,
)


@register_loss("ATLoss", version=1)
class ATLoss(nn.Module):
    """Attention Transfer: the student learns where the teacher looks, stage by stage.

    With ``m(X)`` the mean over the channels of a map's squares, as one vector of unit length per image, and
    ``F_i``, ``T_i`` the student's and the teacher's map after stage ``i``::

        loss = weight * sum_i mean_{images, positions} ( m(F_i) - m(T_i) )^2       "mean_square"
        loss = weight * sum_i mean_{images} | m(F_i) - m(T_i) |_2                  "euclidean"

    The released code has the first. Equation 2 of the paper has the second; its weight of about 0.1 is
    already divided by the number of images and positions, as issue 32 of the repository explains.

    The ``m`` of a map of zeros is zero. Where the two agree exactly, the second distance has no gradient. If
    the sizes differ, the larger map is pooled to the size of the smaller one, as in RepDistiller.

    Source: arXiv:1612.03928; the defaults are those of the released ImageNet runs.

    Args:
        weight: weight of the loss; 1000 is for the mean square.
        distance: ``"mean_square"`` or ``"euclidean"``.

    Raises:
        ValueError: if ``distance`` is neither of the two.
    """

    def __init__(
        self, weight: float = 1000.0, distance: Literal["mean_square", "euclidean"] = "mean_square"
    ) -> None:
        super().__init__()
        require_choice("distance", distance, ("mean_square", "euclidean"))
        self.weight = weight
        self.distance = distance

    def forward(self, student: Tensor | Sequence[Tensor], teacher: Tensor | Sequence[Tensor]) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map after each stage, ``N x C x H x W``.
            teacher: the teacher's likewise, in the same order; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if their numbers differ, or two of them are not maps of the same images.
        """
        pairs = stages_of(student), stages_of(teacher)
        require_stages(*pairs)
        return self.weight * torch.stack([self._stage(*pair) for pair in zip(*pairs, strict=True)]).sum()

    def _stage(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The distance of one stage, mean over the images."""
        require_maps_of_one_batch(student, teacher)
        student, teacher = pooled_to_smaller(full_precision(student), full_precision(teacher.detach()))
        difference = _attention(student) - _attention(teacher)
        if self.distance == "mean_square":
            return difference.square().mean()
        lengths: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return lengths.mean()


def _attention(feature_map: Tensor) -> Tensor:
    """The attention of a map: ``N x H*W``, each row of length one, or of zeros."""
    return functional.normalize(feature_map.square().mean(dim=1).flatten(1), dim=1)
