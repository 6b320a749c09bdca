"""What losses on the outputs of one-stage heads share: rows of maps, and the head's own targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tasks.methods.processes import mean_over_processes

EPSILON = torch.finfo(torch.float32).eps
"""mmdet adds it to every number that a loss is divided by, in double precision too."""


@dataclass(frozen=True)
class Targets:
    """What a head assigned to its anchors, level by level, finest first.

    Attributes:
        anchors: for each level ``N x A x 4`` corners in pixels of the input.
        positive: for each level ``N x A`` booleans, true where an object is assigned.
        weights: for each level ``N x A``, the weight of an anchor in the head's class loss; zero where it is
            ignored.
        count: what the head divides its class loss by: the number of positive anchors, where an image
            without any counts as one.
    """

    anchors: list[Tensor]
    positive: list[Tensor]
    weights: list[Tensor]
    count: float


def assign_targets(head: Any, maps: Sequence[Tensor], data_samples: Sequence[Any]) -> Targets:
    """The targets that a head would assign to its own predictions for a batch.

    Args:
        head: an anchor head of mmdet: RetinaNet's, or that of GFL and its descendants, whose targets begin
            with the anchors.
        maps: a prediction for each level, ``N x ... x H x W``; only the sizes are read.
        data_samples: annotations of the batch, mmdet's ``DetDataSample``.

    Returns:
        The targets. In a distributed training the count is the head's own too: GFL averages it over the
        processes.
    """
    metas = [sample.metainfo for sample in data_samples]
    objects = [sample.gt_instances for sample in data_samples]
    ignored = [sample.get("ignored_instances") for sample in data_samples]
    sizes = [level.shape[-2:] for level in maps]
    anchors, valid = head.get_anchors(sizes, metas, device=maps[0].device)
    # Copied: GFL's head concatenates the levels in place.
    found = head.get_targets([list(of_image) for of_image in anchors], valid, objects, metas, ignored)
    begins_with_anchors = len(found) == 6
    labels, weights = found[1:3] if begins_with_anchors else found[:2]
    if begins_with_anchors:
        of_levels = found[0]
    else:
        of_levels = [level.unsqueeze(0).expand(len(metas), -1, -1) for level in anchors[0]]
    positive = [(level >= 0) & (level < head.num_classes) for level in labels]
    count = float(found[-1])
    if begins_with_anchors:
        count = mean_over_processes(torch.tensor(count, device=maps[0].device)).item()
    return Targets(list(of_levels), positive, list(weights), count)


def rows(maps: Tensor, width: int) -> Tensor:
    """Reshapes a prediction to one row per anchor, or one per anchor and side.

    Args:
        maps: ``N x (A * width) x H x W``.
        width: entries of a row.

    Returns:
        ``(N * H * W * A) x width``, in the order of the anchors of mmdet.
    """
    return maps.permute(0, 2, 3, 1).reshape(-1, width)


def weighted_mean(values: Tensor, weights: Tensor, divisor: float | Tensor) -> Tensor:
    """Weighted sum divided by a number as mmdet does it: `EPSILON` is added to the divisor."""
    return (values * weights).sum() / (divisor + EPSILON)
