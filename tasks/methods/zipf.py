"""Zipf's label smoothing (ECCV 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import (
    class_mask,
    full_precision,
    no_autocast,
    other_log_softmax,
    require_target,
    target_class,
)
from tasks.methods.registry import register_loss


@register_loss("ZipfLoss", version=1)
class ZipfLoss(nn.Module):
    """Zipf's label smoothing: the classes beside the label follow Zipf's law, in the student's own order.

    The student's classifier, applied at each position of the last feature map, names one class there. With
    ``votes_k`` how often it names class ``k``, ``y`` the label and ``pn`` the student's softmax over the
    other classes::

        rank_k = 1 + number of classes with more votes than k
        w_k    = 1 / rank_k for k != y, scaled to the sum 1 and held constant

        loss = weight * mean( KL(w || pn) )

    Classes with equal votes share the best rank, and the label takes a rank among the others. Without a
    feature map, as for a transformer, classes are ranked by the logits. It is added to the ordinary
    cross-entropy. The label of a soft label is its largest entry, which the original leaves open. With
    ``only_correct`` the mean runs over the samples whose largest logit is the label's, and is zero if there
    are none.

    Source: arXiv:2207.08980 and the authors' PyTorch code; the default weight is that of its ImageNet runs,
    which neither enlarge the map nor leave samples out.

    Args:
        weight: weight of the loss.
        upsampling: factor by which the map is enlarged before the vote (bilinear): 2 in the authors' runs on
            CIFAR-100.
        only_correct: whether samples that the student gets wrong are left out.
    """

    def __init__(self, weight: float = 0.1, upsampling: int = 1, only_correct: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.upsampling = upsampling
        self.only_correct = only_correct

    def forward(
        self,
        student_logits: Tensor,
        target: Tensor,
        feature: Tensor | None = None,
        classifier_weight: Tensor | None = None,
        classifier_bias: Tensor | None = None,
    ) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_logits: ``N x K``.
            target: ``N`` class indices or ``N x K`` soft labels.
            feature: the student's last feature map, ``N x C x H x W``; detached.
            classifier_weight: weight of the student's linear classifier, ``K x C``; detached.
            classifier_bias: its bias, ``K``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the target, the feature map or the classifier does not fit the logits, or the
                classifier of a feature map is missing.
        """
        require_target(student_logits, target)
        if feature is None:
            return self.from_scores(student_logits, target, student_logits)
        if classifier_weight is None or classifier_bias is None:
            raise ValueError(
                f"feature {tuple(feature.shape)} and no classifier do not fit: name its weight and bias"
            )
        _require_classifier(student_logits, feature, classifier_weight, classifier_bias)
        votes = self.votes(feature, classifier_weight, classifier_bias)
        return self.from_scores(student_logits, target, count_votes(votes, student_logits.shape[1]))

    @torch.no_grad()
    def votes(self, feature: Tensor, classifier_weight: Tensor, classifier_bias: Tensor) -> Tensor:
        """The class that the classifier names at each position of the map, ``N x (H * W)`` once upsampled.

        Arguments are as for `forward`.
        """
        feature = full_precision(feature)
        if self.upsampling != 1:
            feature = functional.interpolate(feature, scale_factor=self.upsampling, mode="bilinear")
        with no_autocast(feature):
            scores = full_precision(classifier_weight) @ feature.flatten(2)
        return (scores + full_precision(classifier_bias).unsqueeze(1)).argmax(dim=1)

    def from_scores(self, student_logits: Tensor, target: Tensor, scores: Tensor) -> Tensor:
        """The weighted loss with the classes ranked by the given scores.

        Args:
            student_logits: ``N x K``.
            target: ``N`` class indices or ``N x K`` soft labels.
            scores: ``N x K``; the highest has rank 1.

        Returns:
            A scalar.
        """
        logits = full_precision(student_logits)
        label = target_class(target)
        smooth = zipf_distribution(scores.detach(), label).to(logits.dtype)
        log_p = other_log_softmax(logits, class_mask(label, logits))
        divergence = functional.kl_div(log_p, smooth, reduction="none").sum(dim=1)
        if not self.only_correct:
            return self.weight * divergence.mean()
        correct = (logits.argmax(dim=1) == label.squeeze(1)).to(logits.dtype)
        return self.weight * (divergence * correct).sum() / correct.sum().clamp(min=1)


def count_votes(votes: Tensor, classes: int) -> Tensor:
    """How often each class is named, ``N x classes``, from ``N x P`` class indices."""
    return votes.new_zeros(len(votes), classes).scatter_add(1, votes, torch.ones_like(votes))


def zipf_distribution(scores: Tensor, label: Tensor) -> Tensor:
    """Zipf's law over the classes other than the label.

    Args:
        scores: by which the classes are ranked, ``N x K``.
        label: the class that is left out, ``N x 1``.

    Returns:
        ``N x K`` in float64: one over the rank, zero at the label, each row with the sum 1.
    """
    ascending = scores.sort(dim=1).values
    not_above = torch.searchsorted(ascending, scores.contiguous(), right=True)
    rank = 1 + scores.shape[1] - not_above
    law = rank.double().reciprocal().masked_fill(class_mask(label, scores), 0.0)
    return law / law.sum(dim=1, keepdim=True)


def _require_classifier(logits: Tensor, feature: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Refuses a feature map and a linear classifier that do not give the logits."""
    samples, classes = logits.shape
    fits = feature.dim() == 4 and len(feature) == samples
    if not fits or weight.shape != (classes, feature.shape[1]) or bias.shape != (classes,):
        raise ValueError(
            f"logits {tuple(logits.shape)}, feature {tuple(feature.shape)} and classifier "
            f"{tuple(weight.shape)}, {tuple(bias.shape)} do not fit: this loss takes N x K, N x C x H x W, "
            "K x C and K"
        )
