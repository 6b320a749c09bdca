"""MLLD: multi-level logit distillation (CVPR 2023)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tasks.methods.common import full_precision, no_autocast, require_same_shape, softened_divergence
from tasks.methods.registry import register_loss

# Temperatures besides the one that is chosen. With the latter two, the release also takes the unweighted
# divergence on the weakly augmented images.
OF_STRONG_IMAGES = (3.0, 5.0)
OF_WEAK_IMAGES = (2.0, 6.0)


@register_loss("MLLDLoss", version=1)
class MLLDLoss(nn.Module):
    """Multi-Level Logit Distillation: predictions aligned by sample, by batch and by class.

    Every image comes twice, weakly and strongly augmented. With ``P`` and ``Q`` the softmax of student and
    teacher logits over a temperature ``t`` and the sums over ``t`` of {temperature, 3, 5, 2, 6}::

        KD_t = t^2 * mean KL(Q || P)
        B_t  = sum (Q Q^T - P P^T)^2 / N              C_t = sum (Q^T Q - P^T P)^2 / K

        kd    = f * sum_t KD_t(weak) + sum_{temperature, 3, 5} KD_t(strong) + sum_{2, 6} KD_t(weak)
        batch = f * sum_t B_t(weak)                   class = g * sum_t C_t(weak)

        loss = weight * (kd + batch + class)

    ``f`` is the share of weak images whose highest teacher probability is at most the batch's median, ``g``
    that of classes whose summed teacher probability is at most the median of the classes. They are the effect
    of the paper's selection of samples and classes, which the release applies to sums already taken. A batch
    of one is no exception: ``f = 1``.

    It is added to the cross-entropy of the weak images and that of the strong ones, each weighted by 0.1 on
    CIFAR-100 and 0.5 on ImageNet. **No method file uses it**: it needs two views of each image in a step,
    through student and teacher, and the training data of a task offer one.

    Source: "Multi-level Logit Distillation" (CVPR 2023) and the authors' code; the defaults are those of its
    CIFAR-100 configuration. On ImageNet both are 1 and 0.5.

    Args:
        temperature: the first of the temperatures.
        weight: weight of the loss.
    """

    def __init__(self, temperature: float = 4.0, weight: float = 0.9) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = weight

    def forward(
        self, student_weak: Tensor, student_strong: Tensor, teacher_weak: Tensor, teacher_strong: Tensor
    ) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_weak: the student's logits of the weakly augmented images, ``N x K``.
            student_strong: the student's logits of the strongly augmented images, ``N x K``.
            teacher_weak: the teacher's logits of the weakly augmented images, ``N x K``; detached.
            teacher_strong: the teacher's logits of the strongly augmented images, ``N x K``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if student and teacher differ in shape.
        """
        terms = self.terms(student_weak, student_strong, teacher_weak, teacher_strong)
        return terms["kd"] + terms["batch"] + terms["class"]

    def terms(
        self, student_weak: Tensor, student_strong: Tensor, teacher_weak: Tensor, teacher_strong: Tensor
    ) -> dict[str, Tensor]:
        """The weighted terms, ``kd``, ``batch`` and ``class``; arguments as for `forward`."""
        require_same_shape(student_weak, teacher_weak, "N x K")
        require_same_shape(student_strong, teacher_strong, "N x K")
        strong = (self.temperature, *OF_STRONG_IMAGES)
        every = (*strong, *OF_WEAK_IMAGES)
        own, other = full_precision(student_weak), full_precision(teacher_weak.detach())
        probability = other.softmax(dim=1)
        samples = _share_up_to_median(probability.amax(dim=1))
        classes = _share_up_to_median(probability.sum(dim=0))

        weak_kd = {t: softened_divergence(own, other, t) for t in every}
        kd = samples * _total(weak_kd[t] for t in every) + _total(weak_kd[t] for t in OF_WEAK_IMAGES)
        kd = kd + _total(softened_divergence(student_strong, teacher_strong, t) for t in strong)
        pairs = [((own / t).softmax(dim=1), (other / t).softmax(dim=1)) for t in every]
        batch = samples * _total(_product_error(p, q) for p, q in pairs)
        by_class = classes * _total(_product_error(p.T, q.T) for p, q in pairs)
        return {"kd": self.weight * kd, "batch": self.weight * batch, "class": self.weight * by_class}


def _share_up_to_median(values: Tensor) -> Tensor:
    """Share of ``M`` values that are at most their median: about a half, more where values are equal."""
    return (values <= values.median()).to(values.dtype).mean()


def _product_error(p: Tensor, q: Tensor) -> Tensor:
    """Squared error of ``P P^T`` against ``Q Q^T``, summed and divided by the rows."""
    with no_autocast(p):
        return (q @ q.T - p @ p.T).square().sum() / len(p)


def _total(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum()
