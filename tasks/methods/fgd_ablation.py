"""FGD with parts left out or replaced: the ablations of the paper's tables 1, 4, 5 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tasks.methods.common import no_autocast
from tasks.methods.fgd import FGDLoss, attentions, box_masks
from tasks.methods.non_local import NonLocalBlock
from tasks.methods.reductions import mean_magnitudes, pair_sums
from tasks.methods.registry import register_loss

CHOICES = {
    "regions": ("split", "foreground", "background", "whole"),
    "attention": ("both", "spatial", "channel"),
    "relation": ("gc", "nonlocal"),
}


@register_loss("FGDAblationLoss", version=1)
class FGDAblationLoss(FGDLoss):
    """Focal and Global Distillation for one pyramid level, with parts left out or replaced.

    Terms and notation are those of `FGDLoss`, which the default choices give. The paper describes its
    ablations only briefly; where it leaves a choice open, this is how we read it:

    ``regions`` (table 1): the cells whose feature difference counts. ``"split"`` is FGD. ``"foreground"`` and
    ``"background"`` keep one of the two terms with its own weight. ``"whole"`` ignores the boxes: one term
    with the weight ``alpha``, in which every cell weighs ``1 / P``, just as the background's cells share the
    weight 1. All four rows of the table are taken to be of the focal loss alone (``lambda_`` 0): the whole of
    FGD has another AP for the same pair in table 2, and the split row's share of its gain is the focal loss's
    share in table 4. The attention term has no regions and stays.

    ``attention`` (table 5, focal loss alone): ``"spatial"`` weights the difference by ``A_s`` alone and
    compares ``A_s`` alone in the attention term, ``"channel"`` the same with ``A_c``. Both have mean 1, so
    that leaving one out keeps the size of the loss.

    ``relation`` (table 6, global loss alone): ``"nonlocal"`` puts a `NonLocalBlock` on each side in place of
    the global context block.

    For the focal or the global loss alone (tables 1, 4, 5 and 6), set the other weights to zero. A term with
    weight zero is not computed, and the layers of a relation term that is not computed do not exist:
    parameters without a gradient would make ``DistributedDataParallel`` fail.

    Source: arXiv:2111.11837, sections 1 and 4.

    Args:
        student_channels: as for `FGDLoss`, like the next six.
        teacher_channels: channels of the teacher's feature map.
        temperature: temperature of both attentions.
        alpha: weight of the foreground term, or of the whole map.
        beta: weight of the background term.
        gamma: weight of the attention term.
        lambda_: weight of the relation term.
        regions: the cells that count: ``"split"``, ``"foreground"``, ``"background"`` or ``"whole"``.
        attention: what weighs them: ``"both"``, ``"spatial"`` or ``"channel"``.
        relation: the block of the global loss: ``"gc"`` or ``"nonlocal"``.

    Raises:
        ValueError: if a choice is unknown, or every remaining term has weight zero.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        temperature: float = 0.5,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 1e-3,
        lambda_: float = 5e-6,
        *,
        regions: Literal["split", "foreground", "background", "whole"] = "split",
        attention: Literal["both", "spatial", "channel"] = "both",
        relation: Literal["gc", "nonlocal"] = "gc",
    ) -> None:
        super().__init__(student_channels, teacher_channels, temperature, alpha, beta, gamma, lambda_)
        for name, chosen in (("regions", regions), ("attention", attention), ("relation", relation)):
            if chosen not in CHOICES[name]:
                known = ", ".join(map(repr, CHOICES[name]))
                raise ValueError(f"{name} {chosen!r} is unknown: use one of {known}")
        self.regions = regions
        self.attention = attention
        self.relation = relation
        if not self.weights:
            raise ValueError(f"every term of regions {regions!r} has weight zero: give one of them a weight")
        if self.lambda_ and relation == "gc":
            super()._add_relation()
        elif self.lambda_:
            self.non_local_s = NonLocalBlock(teacher_channels)
            self.non_local_t = NonLocalBlock(teacher_channels)

    def _add_relation(self) -> None:
        """Adds nothing yet: the base class does not know which relation is chosen."""

    def reset_parameters(self) -> None:
        """Initialises the layers of the relation; both sides start by adding nothing to their features."""
        if self.lambda_ and self.relation == "nonlocal":
            self.non_local_s.reset_parameters()
            self.non_local_t.reset_parameters()
        elif self.lambda_:
            super().reset_parameters()

    @property
    def weights(self) -> dict[str, float]:
        """The terms that are computed, each with its non-zero weight."""
        of_regions = {
            "split": {"foreground": self.alpha, "background": self.beta},
            "foreground": {"foreground": self.alpha},
            "background": {"background": self.beta},
            "whole": {"whole": self.alpha},
        }
        weights = {**of_regions[self.regions], "attention": self.gamma, "relation": self.lambda_}
        return {name: weight for name, weight in weights.items() if weight}

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Computes the weighted loss of one level; arguments, result and errors as for `FGDLoss`."""
        terms = self.terms(student, teacher, boxes, image_shapes)
        return torch.stack([weight * terms[name] for name, weight in self.weights.items()]).sum()

    def terms(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> dict[str, Tensor]:
        """Computes the terms with a non-zero weight, unweighted.

        Returns:
            Scalars under the names in `weights`: those of `FGDLoss.terms`, or ``whole`` in place of
            ``foreground`` and ``background``.

        Raises:
            ValueError: as `forward`.
        """
        size = teacher.shape[2:]
        student, teacher = self._aligned(student, teacher, boxes, image_shapes)
        terms: dict[str, Tensor] = {}
        with no_autocast(student):
            if self.weights.keys() != {"relation"}:
                masks = self._masks(boxes, image_shapes, (size[0], size[1]), teacher)
                terms |= self._focal(student, teacher, masks)
            if "relation" in self.weights:
                terms["relation"] = self._global(student, teacher)
        return {name: term / len(teacher) for name, term in terms.items()}

    def _masks(
        self,
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
        size: tuple[int, int],
        teacher: Tensor,
    ) -> dict[str, Tensor]:
        """Weights of the cells, by term, each ``N x P`` or ``1 x P``."""
        if self.regions == "whole":
            cells = size[0] * size[1]
            return {"whole": teacher.new_full((1, cells), 1 / cells)}
        masks = zip(
            ("foreground", "background"), box_masks(boxes, image_shapes, size, teacher.dtype), strict=True
        )
        return {name: mask.flatten(1) for name, mask in masks if name in self.weights}

    def _focal(self, student: Tensor, teacher: Tensor, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of the focal loss with a non-zero weight, summed over the batch.

        Args:
            student: ``N x C x P``.
            teacher: ``N x C x P``.
            masks: weights of the cells by term.
        """
        spatial_t, channel_t = self._attentions(*mean_magnitudes(teacher))
        sums = pair_sums(student, teacher, channel_t.unsqueeze(1))
        error = spatial_t * sums.errors.squeeze(1)
        terms = {name: (mask * error).sum() for name, mask in masks.items()}
        if "attention" in self.weights:
            spatial_s, channel_s = self._attentions(sums.cell_magnitude, sums.channel_magnitude)
            terms["attention"] = (channel_s - channel_t).abs().sum() + (spatial_s - spatial_t).abs().sum()
        return terms

    def _attentions(self, cell_magnitude: Tensor, channel_magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """`attentions`, with ones in place of the one that is left out, which then has no effect."""
        spatial, channel = attentions(cell_magnitude, channel_magnitude, self.temperature)
        if self.attention == "spatial":
            channel = torch.ones_like(channel)
        elif self.attention == "channel":
            spatial = torch.ones_like(spatial)
        return spatial, channel

    def _global(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The relation term, summed over the batch; features are ``N x C x P``."""
        if self.relation == "nonlocal":
            difference: Tensor = self.non_local_s(student) - self.non_local_t(teacher)
            return difference.square().sum()
        sums = pair_sums(student, teacher, torch.ones_like(teacher[:, :, 0]).unsqueeze(1))
        return self._relation(student, teacher, sums.errors.squeeze(1), sums.channel_difference)
