"""GID: general instance distillation of one-stage detectors (CVPR 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_iou, clip_boxes_to_image, nms, roi_align

from tasks.methods.common import full_precision, require_same_shape
from tasks.methods.registry import register_loss

_CANONICAL_SIDE = 224
_CANONICAL_LEVEL = 4
"""A square box of this side belongs to the level of stride 2^4, and one twice as large to the next."""

_SAMPLES = 2
"""Points that RoIAlign takes along a side of each of its bins."""

_SHORTEST_DISTANCE = 1e-6


class Instances(NamedTuple):
    """The general instances of one image, best first.

    Attributes:
        boxes: ``R x 4`` corners in pixels of the input.
        scores: ``R``, how far the two models disagree there.
    """

    boxes: Tensor
    scores: Tensor


@register_loss("GIDLoss", version=1)
class GIDLoss(nn.Module):
    """General Instance Distillation: features, relations and predictions where student and teacher disagree.

    For heads like RetinaNet's, which predict a box by its deltas from an anchor. With ``z`` and ``v`` the
    class logits of student and teacher, the disagreement on an anchor is
    ``d = sigmoid(max_k v) - sigmoid(max_k z)``. The box of an anchor is the one predicted by the more certain
    of the two. The general instances of an image are at most ``instances`` of these boxes: the
    ``candidates`` boxes with the largest ``|d|`` over all levels, clipped to the image, without those that
    have a side of ``smallest_side`` pixels or less, after non-maximum suppression. No gradient flows through
    the selection, and no ground truth takes part in it.

    ``F`` and ``T`` are the two pyramids pooled (RoIAlign) to ``resolution x resolution`` at the ``R``
    instances of the whole batch, each on the level that fits its size, ``D`` the Euclidean distances among
    them, divided by their mean, and ``A`` the anchors to which the instances would be assigned as objects:
    those with an IoU of at least ``matched_overlap`` with one, and the best anchor of each instance. ``x``
    and ``y`` are the box deltas of student and teacher::

        feature  = sum (F - T)^2 / (R * resolution^2)
        relation = sum_{i != j} smooth_l1( D^T_ij - D^S_ij; relation_beta ) / (R^2 - R)
        class    = sum_A sum_k BCE( z, sigmoid(v) ) / max(1, |A|)
        box      = sum_A sum smooth_l1( x - y; box_beta ) / max(1, |A|)

        loss = feature_weight * feature + relation_weight * relation + class_weight * class + box_weight * box

    The relation is zero with fewer than three instances, and everything is zero without any. Two instances
    with equal features have a distance of ``1e-6`` without a gradient. An instance that overlaps no anchor is
    assigned to none.

    As in the code that the first author published (the original is not public), the features are compared as
    they are, so both pyramids need the same channels, and ``d`` is the difference of the largest scores. The
    paper describes a convolution for the student's feature and, it seems, the largest difference of the
    scores. That code fails on an image without ground truth, which is like any other here.

    Source: arXiv:2103.02340; the defaults are those of the published configs for RetinaNet, of which some
    have a ``box_beta`` of 0.1 and some of 0.

    Args:
        feature_weight: weight of the feature part.
        relation_weight: weight of the relation part.
        class_weight: weight of the class part.
        box_weight: weight of the box part.
        relation_beta: where the smooth L1 of the relations becomes linear.
        box_beta: where that of the box deltas does; 0 is plain L1.
        candidates: boxes of an image that enter non-maximum suppression.
        instances: most boxes of an image that remain.
        overlap: IoU above which a box is suppressed by a better one.
        smallest_side: in pixels of the input; a box needs larger sides.
        resolution: bins along a side of a pooled feature.
        matched_overlap: IoU from which an anchor is assigned to an instance.
    """

    def __init__(
        self,
        feature_weight: float = 5e-4,
        relation_weight: float = 40.0,
        class_weight: float = 0.1,
        box_weight: float = 1.0,
        relation_beta: float = 1.0,
        box_beta: float = 0.1,
        candidates: int = 3000,
        instances: int = 10,
        overlap: float = 0.3,
        smallest_side: float = 10.0,
        resolution: int = 10,
        matched_overlap: float = 0.5,
    ) -> None:
        super().__init__()
        self.feature_weight = feature_weight
        self.relation_weight = relation_weight
        self.class_weight = class_weight
        self.box_weight = box_weight
        self.relation_beta = relation_beta
        self.box_beta = box_beta
        self.candidates = candidates
        self.instances = instances
        self.overlap = overlap
        self.smallest_side = smallest_side
        self.resolution = resolution
        self.matched_overlap = matched_overlap

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        student_outputs: Sequence[Sequence[Tensor]],
        teacher_outputs: Sequence[Sequence[Tensor]],
        student_head: Any,
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's pyramid, finest level first, each ``N x C x H x W``.
            teacher: the teacher's pyramid, of the same shapes; detached.
            student_outputs: class logits and box deltas of the student's head, each a list of levels,
                ``N x (A * K) x H x W`` and ``N x (A * 4) x H x W``.
            teacher_outputs: the same of the teacher's; detached.
            student_head: the student's head (mmdet's ``RetinaHead``), for its anchors and its box coder.
            image_shapes: (height, width) of each image before padding, in pixels.

        Returns:
            A scalar.

        Raises:
            ValueError: student and teacher differ in shape, or the head does not predict deltas of anchors.
        """
        own_maps, other_maps = (*student, *_levels(student_outputs)), (*teacher, *_levels(teacher_outputs))
        for own, other in zip(own_maps, other_maps, strict=True):
            require_same_shape(own, other, "N x C x H x W")
        anchors = _anchors(student_head, student_outputs[0])
        classes = student_head.num_classes
        (logits, deltas), (taught_logits, taught_deltas) = (
            (_by_anchor(outputs[0], classes), _by_anchor(outputs[1], 4))
            for outputs in (student_outputs, teacher_outputs)
        )
        if deltas.shape[1] != len(anchors):
            raise ValueError(
                f"box outputs {tuple(deltas.shape)} and anchors {tuple(anchors.shape)} do not fit: GIDLoss "
                "takes a head that predicts four deltas per anchor, as RetinaNet's does"
            )
        with torch.no_grad():
            boxes, taught_boxes = (
                student_head.bbox_coder.decode(anchors.repeat(len(of), 1), of.flatten(0, 1)).view_as(of)
                for of in (deltas, taught_deltas)
            )
            found = self.select(logits, taught_logits, boxes, taught_boxes, image_shapes)
            assigned = torch.stack([self.assigned(image.boxes, anchors) for image in found])
        strides = [width for width, _ in student_head.prior_generator.strides]
        rois = [image.boxes for image in found]
        terms = self.terms(
            self.pooled(student, rois, strides),
            self.pooled([level.detach() for level in teacher], rois, strides),
            (logits, deltas),
            (taught_logits, taught_deltas),
            assigned,
        )
        return self.combine(terms)

    def combine(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of `terms`."""
        return torch.stack([getattr(self, f"{name}_weight") * term for name, term in terms.items()]).sum()

    def terms(
        self,
        student_rois: Tensor,
        teacher_rois: Tensor,
        student: tuple[Tensor, Tensor],
        teacher: tuple[Tensor, Tensor],
        assigned: Tensor,
    ) -> dict[str, Tensor]:
        """The four parts, unweighted.

        Args:
            student_rois: the student's features at the instances, ``R x C x h x w``.
            teacher_rois: the teacher's; detached.
            student: the student's logits ``... x K`` and deltas ``... x 4`` of all anchors.
            teacher: the teacher's; detached.
            assigned: ``...`` booleans, the anchors that are assigned to an instance.

        Returns:
            Scalars by name: `feature`, `relation`, `class` and `box`.
        """
        (logits, deltas), (taught_logits, taught_deltas) = student, (of.detach() for of in teacher)
        teacher_rois = teacher_rois.detach()
        bins = len(student_rois) * student_rois.shape[2] * student_rois.shape[3]
        entropy = functional.binary_cross_entropy_with_logits(
            logits, taught_logits.sigmoid(), reduction="none"
        )
        difference = functional.smooth_l1_loss(deltas, taught_deltas, reduction="none", beta=self.box_beta)
        # A mask instead of a selection: the host would have to wait for the number of anchors.
        count = assigned.sum().clamp(min=1)
        return {
            "feature": (student_rois - teacher_rois).square().sum() / max(bins, 1),
            "relation": self.relation(student_rois, teacher_rois),
            "class": (entropy.sum(dim=-1) * assigned).sum() / count,
            "box": (difference.sum(dim=-1) * assigned).sum() / count,
        }

    @torch.no_grad()
    def select(
        self,
        logits: Tensor,
        taught_logits: Tensor,
        boxes: Tensor,
        taught_boxes: Tensor,
        image_shapes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """The general instances of each image.

        Args:
            logits: the student's, ``N x A x K``.
            taught_logits: the teacher's.
            boxes: the student's decoded boxes, ``N x A x 4``.
            taught_boxes: the teacher's.
            image_shapes: (height, width) of each image.
        """
        difference = taught_logits.amax(dim=2).sigmoid() - logits.amax(dim=2).sigmoid()
        boxes = torch.where((difference > 0).unsqueeze(2), taught_boxes, boxes)
        scores, best = difference.abs().topk(min(self.candidates, difference.shape[1]), dim=1)
        boxes = boxes.gather(1, best.unsqueeze(2).expand(-1, -1, 4))
        return [self._suppressed(*image) for image in zip(boxes, scores, image_shapes, strict=True)]

    def _suppressed(self, boxes: Tensor, scores: Tensor, shape: tuple[int, int]) -> Instances:
        boxes = clip_boxes_to_image(boxes, shape)
        large = (boxes[:, 2:] - boxes[:, :2] > self.smallest_side).all(dim=1)
        boxes, scores = boxes[large], scores[large]
        kept = nms(boxes, scores, self.overlap)[: self.instances]
        return Instances(boxes[kept], scores[kept])

    def assigned(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """The anchors ``A x 4`` that RetinaNet would assign to objects in ``R x 4`` boxes, as booleans."""
        overlap: Tensor = box_iou(boxes, anchors)
        best = (overlap == overlap.amax(dim=1, keepdim=True)) & (overlap > 0)
        return ((overlap >= self.matched_overlap) | best).any(dim=0)

    def pooled(self, levels: Sequence[Tensor], boxes: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
        """The features at the boxes of all images, each from the level that fits its size.

        Args:
            levels: a pyramid, finest first, each ``N x C x H x W``.
            boxes: of each image ``R_n x 4`` corners in pixels of the input.
            strides: pixels of the input per cell, of each level.

        Returns:
            ``R x C x resolution x resolution`` in at least float32, image by image.
        """
        image = torch.cat([torch.full_like(of[:, :1], number) for number, of in enumerate(boxes)])
        rois = torch.cat([image, torch.cat(list(boxes))], dim=1)
        level_of = _level_of(rois[:, 1:], strides)
        size = (self.resolution, self.resolution)
        parts, places = [], []
        for level, (of_level, stride) in enumerate(zip(levels, strides, strict=True)):
            places.append((level_of == level).nonzero().squeeze(1))
            features = full_precision(of_level)
            chosen = rois[places[-1]].to(features.dtype)
            parts.append(roi_align(features, chosen, size, 1 / stride, _SAMPLES, aligned=True))
        return torch.cat(parts)[torch.cat(places).argsort()]

    def relation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The relation part of features ``R x ...``, unweighted."""
        count = len(student)
        if count < 3:
            return student[:0].sum()
        own, other = (_distances(of.flatten(1)) for of in (student, teacher))
        difference = functional.smooth_l1_loss(own, other, reduction="sum", beta=self.relation_beta)
        return difference / (count * (count - 1))


def _levels(outputs: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    return (*outputs[0], *outputs[1])


def _anchors(head: Any, maps: Sequence[Tensor]) -> Tensor:
    """The anchors of all levels, ``A x 4`` corners in pixels of the input.

    Raises:
        ValueError: the head has points instead.
    """
    sizes = [level.shape[-2:] for level in maps]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device=maps[0].device))
    if anchors.shape[1] != 4:
        raise ValueError(
            f"{type(head).__name__} and GIDLoss do not fit: it takes a head with anchors, as RetinaNet's"
        )
    return anchors.to(torch.promote_types(maps[0].dtype, anchors.dtype))


def _by_anchor(levels: Sequence[Tensor], width: int) -> Tensor:
    """Predictions of all levels, each ``N x (A * width) x H x W``, as ``N x (H * W * A + ...) x width``."""
    return torch.cat(
        [full_precision(of).permute(0, 2, 3, 1).reshape(len(of), -1, width) for of in levels], dim=1
    )


def _level_of(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """The index of the pyramid level that fits each box, ``R``: the finest level is 0."""
    finest, coarsest = (round(math.log2(stride)) for stride in (strides[0], strides[-1]))
    side = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
    level = (_CANONICAL_LEVEL + (side / _CANONICAL_SIDE + 1e-8).log2()).floor()
    return level.clamp(finest, coarsest).long() - finest


def _distances(rows: Tensor) -> Tensor:
    """Distances among ``R x D`` rows, divided by their mean, ``R x R``; zero on the diagonal."""
    count = len(rows)
    # Squares and products instead of differences would cancel, where two rows are alike.
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    distances = distances.clamp(min=_SHORTEST_DISTANCE) * (1 - torch.eye(count).to(rows))
    return distances * (count * (count - 1)) / distances.sum()
