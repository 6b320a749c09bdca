"""CrossKD: the student's head features through the teacher's head (CVPR 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, require_same_shape
from tasks.methods.dense_heads import EPSILON, assign_targets, rows
from tasks.methods.processes import mean_over_processes
from tasks.methods.registry import register_loss

LAYERS = {"deltas": ("retina_cls", "retina_reg"), "distribution": ("gfl_cls", "gfl_reg")}
"""How a head predicts its boxes -> its last layers, for classes and for boxes."""

_SMALLEST = 1e-6
_LARGEST_RATIO = abs(math.log(16 / 1000))
"""Largest ratio of a decoded box's side to its anchor's, as a logarithm: mmdet's own limit."""


@register_loss("CrossKDLoss", version=1)
class CrossKDLoss(nn.Module):
    """Cross-head knowledge distillation of a one-stage detector, over all levels of its pyramid.

    The student's feature inside the head, after a convolution (and its norm) and before the ReLU, is rescaled
    to the mean and deviation of the teacher's feature there, and passes through that ReLU and the rest of the
    *teacher's* head, which is frozen. The resulting predictions imitate the teacher's own at every position.
    With ``z`` and ``v`` the class logits of the two, ``q = sigmoid(v)``, ``l`` the weight of an anchor in the
    student's own class loss (0 where it is ignored), ``r = max_k q`` where ``l`` is not 0, else 0, and ``M``
    what the student's head divides its own class loss by: the number of its anchors that have an object,
    where an image without any counts as one::

        class = sum_anchors l * sum_k BCE(z, q) * |sigmoid(z) - q|^beta / M

        boxes, deltas       = sum_anchors r * (1 - GIoU(student's box, teacher's box)) / M
        boxes, distribution = sum_anchors r * sum_sides KL( softmax(v) || softmax(z) ) / (4 * R)

        loss = class_weight * class + box_weight * boxes

    ``R`` is the sum of ``r`` over all levels, at least one, averaged over the processes that train together.
    Divisors have mmdet's ``1.2e-7`` added. The gradient passes through ``|sigmoid(z) - q|^beta``, as in the
    release. Mean and unbiased deviation run over batch and positions of a channel. Where a level has a single
    position in a batch of one, which leaves no deviation (the release computes NaN), both deviations are
    taken as zero: the feature becomes the teacher's mean there, without a gradient.

    Source: arXiv:2306.11369; the defaults are the released ones for RetinaNet. GFL has ``boxes``
    ``"distribution"`` and ``box_weight`` 4.

    Args:
        boxes: what the head predicts of a box: ``"deltas"`` (RetinaNet) or ``"distribution"`` (GFL).
        class_weight: weight of the class part.
        box_weight: weight of the box part.
        beta: exponent of the focal factor.
        remaining: how many of the teacher's stacked convolutions the student's feature passes through.

    Raises:
        ValueError: if ``boxes`` is neither of the two.
    """

    def __init__(
        self,
        boxes: Literal["deltas", "distribution"] = "deltas",
        class_weight: float = 1.0,
        box_weight: float = 1.0,
        beta: float = 1.0,
        remaining: int = 1,
    ) -> None:
        super().__init__()
        if boxes not in LAYERS:
            raise ValueError(f"boxes {boxes!r} are unknown: use 'deltas' or 'distribution'")
        self.boxes = boxes
        self.class_weight = class_weight
        self.box_weight = box_weight
        self.beta = beta
        self.remaining = remaining

    def forward(
        self,
        student_class: Sequence[Tensor],
        student_box: Sequence[Tensor],
        teacher_class: Sequence[Tensor],
        teacher_box: Sequence[Tensor],
        predictions: Sequence[Sequence[Tensor]],
        teacher_head: Any,
        student_head: Any,
        data_samples: Sequence[Any],
    ) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_class: the student's feature in the class branch, before the ReLU, of each level
                ``N x C x H x W``.
            student_box: the same in the box branch.
            teacher_class: the teacher's feature at the same place; detached.
            teacher_box: the same in the box branch.
            predictions: the teacher's class logits and boxes, each a list of levels.
            teacher_head: the teacher's head; gradients pass through it to the student's feature.
            student_head: the student's head, which assigns the targets.
            data_samples: annotations of the batch.

        Returns:
            A scalar.

        Raises:
            ValueError: if features of student and teacher differ in shape.
        """
        targets = assign_targets(student_head, student_class, data_samples)
        classes, boxes = [], []
        total: Tensor | float = 0.0
        for level, (taught_scores, taught_boxes) in enumerate(zip(*predictions, strict=True)):
            scores, found = self.reused(
                level,
                (student_class[level], student_box[level]),
                (teacher_class[level], teacher_box[level]),
                teacher_head,
            )
            weights = targets.weights[level].reshape(-1)
            certainty = self.certainty(taught_scores, weights, student_head.num_classes)
            classes.append(self.class_part(scores, taught_scores, weights, student_head.num_classes))
            if self.boxes == "deltas":
                coder = student_head.bbox_coder
                anchors = targets.anchors[level].reshape(-1, 4)
                stated = (coder.means, coder.stds)
                boxes.append(self.delta_part(found, taught_boxes, anchors, certainty, *stated))
            else:
                boxes.append(self.distribution_part(found, taught_boxes, certainty))
            total = total + certainty.sum()
        class_part = torch.stack(classes).sum()
        return self.combine(class_part, torch.stack(boxes).sum(), targets.count, total)[0]

    def combine(
        self, class_sum: Tensor, box_sum: Tensor, positives: float, certainty: Tensor | float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Divides and weights the sums over all levels.

        Args:
            class_sum: sum of the class part.
            box_sum: sum of the box part.
            positives: number of anchors with an object.
            certainty: sum of ``r``; only a distribution is divided by it.

        Returns:
            The loss, its class term and its box term, weighted.
        """
        class_term = self.class_weight * class_sum / (positives + EPSILON)
        if self.boxes == "deltas":
            box_term = self.box_weight * box_sum / (positives + EPSILON)
        else:
            divisor = mean_over_processes(torch.as_tensor(certainty)).clamp(min=1)
            box_term = self.box_weight * box_sum / (4 + EPSILON) / divisor
        return class_term + box_term, class_term, box_term

    def reused(
        self, level: int, student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], teacher_head: Any
    ) -> tuple[Tensor, Tensor]:
        """Runs the student's features through the rest of the teacher's head.

        Args:
            level: of the pyramid, for the scale that GFL learns for each one.
            student: features of the class branch and of the box branch, ``N x C x H x W``.
            teacher: the teacher's; detached.
            teacher_head: has ``cls_convs``, ``reg_convs`` and the last layers of `LAYERS`.

        Returns:
            Class logits and boxes.
        """
        class_layer, box_layer = (getattr(teacher_head, name) for name in LAYERS[self.boxes])
        branches = zip(
            student,
            teacher,
            (teacher_head.cls_convs, teacher_head.reg_convs),
            (class_layer, box_layer),
            strict=True,
        )
        found = []
        for own, other, convolutions, last in branches:
            feature = functional.relu(restandardised(own, other))
            for convolution in convolutions[len(convolutions) - self.remaining :]:
                feature = convolution(feature)
            found.append(last(feature))
        if self.boxes == "distribution":
            found[1] = teacher_head.scales[level](found[1])
        return found[0], found[1]

    def certainty(self, teacher_scores: Tensor, weights: Tensor, classes: int) -> Tensor:
        """``r`` of each anchor, from the teacher's class logits ``N x (A * K) x H x W``."""
        largest = rows(full_precision(teacher_scores.detach()), classes).sigmoid().amax(dim=1)
        return largest * (weights > 0)

    def class_part(self, scores: Tensor, teacher_scores: Tensor, weights: Tensor, classes: int) -> Tensor:
        """The class part of one level, summed over its anchors.

        Args:
            scores: logits of the student through the teacher's head, ``N x (A * K) x H x W``, or rows.
            teacher_scores: the teacher's, of the same shape; detached.
            weights: of each anchor.
            classes: ``K``.
        """
        require_same_shape(scores, teacher_scores, "N x C x H x W")
        return self.quality_focal(rows(scores, classes), rows(teacher_scores, classes), weights)

    def quality_focal(self, scores: Tensor, teacher_scores: Tensor, weights: Tensor) -> Tensor:
        """``sum_rows w * sum_k BCE(z, q) * |sigmoid(z) - q|^beta`` of logits ``R x K``."""
        scores, target = full_precision(scores), full_precision(teacher_scores.detach()).sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
        factor = (scores.sigmoid() - target).abs() ** self.beta
        return ((entropy * factor).sum(dim=1) * weights).sum()

    def delta_part(
        self,
        deltas: Tensor,
        teacher_deltas: Tensor,
        anchors: Tensor,
        certainty: Tensor,
        means: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    ) -> Tensor:
        """The box part of one level of RetinaNet, summed over its anchors.

        Args:
            deltas: of the student through the teacher's head, ``N x (A * 4) x H x W``.
            teacher_deltas: the teacher's; detached.
            anchors: ``(N * H * W * A) x 4`` corners.
            certainty: ``r`` of each anchor.
            means: what the head's coder adds to a delta.
            stds: what it multiplies a delta by.
        """
        own, other = (
            decoded(anchors, rows(full_precision(of), 4), means, stds)
            for of in (deltas, teacher_deltas.detach())
        )
        return ((1 - generalised_iou(own, other)) * certainty).sum()

    def distribution_part(self, boxes: Tensor, teacher_boxes: Tensor, certainty: Tensor) -> Tensor:
        """The box part of one level of GFL, summed over anchors and sides; arguments as `delta_part`."""
        bins = boxes.shape[1] // 4
        log_p = rows(full_precision(boxes), bins).log_softmax(dim=1)
        log_q = rows(full_precision(teacher_boxes.detach()), bins).log_softmax(dim=1)
        divergence = functional.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)
        return (divergence * certainty.repeat_interleave(4)).sum()


def restandardised(student: Tensor, teacher: Tensor) -> Tensor:
    """The student's feature with the teacher's mean and deviation of each channel.

    Args:
        student: ``N x C x H x W``.
        teacher: of the same shape; detached.

    Returns:
        ``N x C x H x W``, in at least float32.

    Raises:
        ValueError: if the shapes differ.
    """
    require_same_shape(student, teacher, "N x C x H x W")
    (own, mean, deviation), (_, other_mean, other_deviation) = (
        _moments(full_precision(of)) for of in (student, teacher.detach())
    )
    return (own - mean) / (deviation + _SMALLEST) * other_deviation + other_mean


def _moments(feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The feature, with mean and unbiased deviation of each channel, ``1 x C x 1 x 1``."""
    axes = (0, 2, 3)
    mean = feature.mean(dim=axes, keepdim=True)
    if feature[:, 0].numel() == 1:
        return feature, mean, torch.zeros_like(mean)
    return feature, mean, feature.std(dim=axes, keepdim=True)


def decoded(anchors: Tensor, deltas: Tensor, means: Sequence[float], stds: Sequence[float]) -> Tensor:
    """Decodes boxes from anchors and predicted deltas.

    Args:
        anchors: ``R x 4`` corners.
        deltas: ``R x 4``: shift of the centre in widths and heights, logarithms of the ratios of both.
        means: added to the deltas.
        stds: what the deltas are multiplied by first.

    Returns:
        ``R x 4`` corners.
    """
    deltas = deltas * deltas.new_tensor(stds) + deltas.new_tensor(means)
    anchors = anchors.to(deltas.dtype)
    centre, size = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    centre = centre + deltas[:, :2] * size
    half = size * deltas[:, 2:].clamp(-_LARGEST_RATIO, _LARGEST_RATIO).exp() / 2
    return torch.cat([centre - half, centre + half], dim=1)


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU (arXiv:1902.09630) of boxes, row by row; areas are at least 1e-6.

    Args:
        boxes: ``R x 4`` corners.
        others: ``R x 4`` corners.

    Returns:
        ``R`` values from -1 to 1.
    """

    def area(low: Tensor, high: Tensor) -> Tensor:
        width, height = (high - low).clamp(min=0).unbind(dim=1)
        return width * height

    shared = area(torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:]))
    both = area(boxes[:, :2], boxes[:, 2:]) + area(others[:, :2], others[:, 2:])
    union = (both - shared).clamp(min=_SMALLEST)
    hull = area(torch.minimum(boxes[:, :2], others[:, :2]), torch.maximum(boxes[:, 2:], others[:, 2:]))
    hull = hull.clamp(min=_SMALLEST)
    return shared / union - (hull - union) / hull
