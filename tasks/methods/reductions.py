"""The sums over whole feature maps that FGD consists of, with hand-written backward passes.

A feature map of a detector's largest level has millions of values, and FGD is nothing but elementwise
arithmetic and sums on it: its time depends on how often a map is read and written. Autograd writes a map for
each gradient that flows into the student's features and reads it again to add it to the others. Here the
gradients are outer products of short vectors, computed and added in place.

All inputs are ``N x C x P``: images, channels and cells. Gradients flow into the student's features and into
the layers trained, never into the teacher's features, and cannot be differentiated again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tasks.methods.common import no_autocast


class PairSums(NamedTuple):
    """Sums over a student's and a teacher's feature maps; see `pair_sums`."""

    cell_magnitude: Tensor
    channel_magnitude: Tensor
    errors: Tensor
    channel_difference: Tensor


def mean_magnitudes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means of ``|features|`` over the channels, ``N x P``, and over the cells, ``N x C``.

    Args:
        features: ``N x C x P``.
    """
    magnitude = features.abs()
    return magnitude.mean(dim=1), magnitude.mean(dim=2)


def pair_sums(student: Tensor, teacher: Tensor, channel_weights: Tensor) -> PairSums:
    """Reduces a student's feature map and its difference from the teacher's.

    Args:
        student: ``N x C x P``.
        teacher: ``N x C x P``, a constant.
        channel_weights: ``R`` sets of weights of the channels, ``N x R x C``, constants.

    Returns:
        ``cell_magnitude`` ``N x P`` and ``channel_magnitude`` ``N x C``, the mean of ``|student|`` over the
        channels and over the cells; ``errors`` ``N x R x P``, the weighted sum of ``(student - teacher)^2``
        over the channels; ``channel_difference`` ``N x C``, the sum of ``student - teacher`` over the cells.
    """
    return PairSums(*_PairSums.apply(student, teacher, channel_weights))


def attention_pool(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Pools a feature map by a softmax over its cells: ``sum_p softmax_p(weight . x_p + bias) x_p``.

    Args:
        features: ``N x C x P``.
        weight: scores a cell from its channels, ``C``.
        bias: a single value. It cancels in the softmax, so its gradient is zero except for rounding.

    Returns:
        ``N x C``.
    """
    pooled: Tensor = _AttentionPool.apply(features, weight, bias)
    return pooled


class _PairSums(torch.autograd.Function):
    """Autograd function behind `pair_sums`."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, channel_weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(student, teacher, channel_weights)
        scratch = student.abs()
        cell_magnitude, channel_magnitude = scratch.mean(dim=1), scratch.mean(dim=2)
        torch.sub(student, teacher, out=scratch)
        channel_difference = scratch.sum(dim=2)
        errors = channel_weights @ scratch.square_()
        return cell_magnitude, channel_magnitude, errors, channel_difference

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        student, teacher, channel_weights = ctx.saved_tensors
        of_cells, of_channels, of_errors, of_differences = gradients
        _, channels, cells = student.shape
        with no_autocast(student):
            gradient = (2 * channel_weights).transpose(1, 2) @ of_errors
        scratch = student - teacher
        gradient.mul_(scratch)
        torch.sign(student, out=scratch)
        gradient.addcmul_(scratch, of_cells.unsqueeze(1), value=1 / channels)
        gradient.addcmul_(scratch, of_channels.unsqueeze(2), value=1 / cells)
        gradient.add_(of_differences.unsqueeze(2))
        return gradient, None, None


class _AttentionPool(torch.autograd.Function):
    """Autograd function behind `attention_pool`."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # Expanded explicitly: with broadcasting, the product would copy the features.
        scores = weight.expand(len(features), 1, -1) @ features
        attention = scores.add_(bias).softmax(dim=2)
        pooled = (features @ attention.transpose(1, 2)).squeeze(2)
        ctx.save_for_backward(features, weight, attention, pooled)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_pooled: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        features, weight, attention, pooled = ctx.saved_tensors
        with no_autocast(features):
            of_attention = of_pooled.unsqueeze(1) @ features
            mean = (of_pooled * pooled).sum(dim=1)[:, None, None]
            of_scores = attention * (of_attention - mean)
            of_weight = (features @ of_scores.transpose(1, 2)).sum(dim=(0, 2))
            of_features = None
            if ctx.needs_input_grad[0]:
                by_channel = torch.stack([weight.expand_as(of_pooled), of_pooled], dim=2)
                of_features = by_channel @ torch.cat([of_scores, attention], dim=1)
        return of_features, of_weight, of_scores.sum().reshape(1)
