"""USKD: universal self-knowledge distillation (ICCV 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.common import (
    class_mask,
    full_precision,
    other_log_softmax,
    require_target,
    target_classes,
    target_distribution,
)
from tasks.methods.registry import register_loss

# Share of a target that the auxiliary classifier's label smoothing spreads over all classes.
SMOOTHING = 0.1
# Keeps a score finite when the targets take all of the probability.
EPSILON = 1e-6


@register_loss("USKDLoss", version=1)
class USKDLoss(nn.Module):
    """Universal Self-Knowledge Distillation: soft labels for every class, made without a teacher.

    A classifier ``fc`` on an intermediate feature gives a second, weaker opinion. With ``p`` the student's
    softmax, ``u`` that of ``fc``, ``y`` the target class, ``c`` the label smoothed by 0.1 and ``pn`` the
    student's softmax over the classes other than ``y``::

        target = - mean( w * log p_y ),                 w = p_y^2 + 1 - mean_batch(p_y^2), held constant
        others = - mean( sum_{k != y} zn_k * log pn_k ),  zn = 1 / rank, normalized over the classes k != y
        weak   = - mean( sum_k c_k * log u_k )

        loss = alpha * target + beta * others + mu * weak

    The rank of a class, 1 the highest, orders ``u / (1 - u_y + 1e-6) + log p / (1 - log p_y + 1e-6)``. The
    paper ranks by probabilities; the released code, whose numbers are the published ones, has the student's
    *log*-probability in the second quotient, and so has this loss.

    It is added to the ordinary cross-entropy. A soft label (mixup, cutmix) has two target classes, its two
    largest entries: each gives a ``w`` with its share in place of 1 (zero where the share is zero), the two
    target losses add up, and both classes are left out of ``others``. The denominators hold the sum of both.

    Source: arXiv:2303.13005, the part on self-knowledge distillation, and the released code; the defaults
    are the released values for ImageNet.

    Args:
        mid_channels: width of the pooled intermediate feature.
        num_classes: number of classes ``K``.
        alpha: weight of the target part.
        beta: weight of the non-target part.
        mu: weight of the auxiliary classifier's own loss.
    """

    def __init__(
        self, mid_channels: int, num_classes: int, alpha: float = 1.0, beta: float = 0.1, mu: float = 0.005
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.mu = mu
        self.fc = nn.Linear(mid_channels, num_classes)

    def forward(self, student_logits: Tensor, mid_feature: Tensor, target: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_logits: ``N x K``.
            mid_feature: an intermediate feature of the student, pooled: ``N x mid_channels``.
            target: ``N`` class indices or ``N x K`` soft labels.

        Returns:
            A scalar.

        Raises:
            ValueError: if the target, the feature or the number of classes does not fit the logits.
        """
        self._require_fit(student_logits, mid_feature, target)
        logits = full_precision(student_logits)
        log_p = logits.log_softmax(dim=1)
        log_weak = full_precision(self.fc(mid_feature)).log_softmax(dim=1)
        classes, shares = target_classes(target)

        log_p_target = log_p.gather(1, classes)
        confidence = log_p_target.detach().exp().square()
        weight = (confidence + shares - confidence.mean(dim=0)).masked_fill(shares == 0, 0.0)
        target_part = -(weight * log_p_target).sum(dim=1).mean()

        smoothed = (1 - SMOOTHING) * target_distribution(target, logits) + SMOOTHING / logits.shape[1]
        weak_part = -(smoothed * log_weak).sum(dim=1).mean()

        labels = _zipf_labels(log_p.detach(), log_weak.detach(), classes)
        other_part = -(labels * other_log_softmax(logits, class_mask(classes, logits))).sum(dim=1).mean()
        return self.alpha * target_part + self.beta * other_part + self.mu * weak_part

    def _require_fit(self, student_logits: Tensor, mid_feature: Tensor, target: Tensor) -> None:
        """Refuses inputs that do not fit the classifier or each other."""
        require_target(student_logits, target)
        feature_shape = (len(student_logits), self.fc.in_features)
        if mid_feature.shape != feature_shape or student_logits.shape[1] != self.fc.out_features:
            raise ValueError(
                f"logits {tuple(student_logits.shape)} and mid_feature {tuple(mid_feature.shape)} do not "
                f"fit: this loss takes N x {self.fc.out_features} and N x {self.fc.in_features}"
            )


def _zipf_labels(log_p: Tensor, log_weak: Tensor, classes: Tensor) -> Tensor:
    """Soft labels for the non-target classes from their rank, after Zipf's law.

    Args:
        log_p: the student's log-probabilities, ``N x K``.
        log_weak: the auxiliary classifier's log-probabilities, ``N x K``.
        classes: the target classes, ``N x m``.

    Returns:
        ``N x K``: one over the rank among all classes, zero at the targets, each row with the sum 1.
    """
    score = _over_the_rest(log_weak.exp(), classes) + _over_the_rest(log_p, classes)
    # The rank of each class is the inverse of the permutation that sorts the scores. One over it is rounded
    # to float32 for every type of input, as in the released code.
    rank = score.argsort(dim=1, descending=True).argsort(dim=1) + 1
    zipf = rank.float().reciprocal().to(log_p.dtype).masked_fill(class_mask(classes, log_p), 0.0)
    return zipf / zipf.sum(dim=1, keepdim=True)


def _over_the_rest(opinion: Tensor, classes: Tensor) -> Tensor:
    """Divides ``N x K`` opinions by what those of the target classes ``N x m`` leave of one."""
    return opinion / (1 - opinion.gather(1, classes).sum(dim=1, keepdim=True) + EPSILON)
