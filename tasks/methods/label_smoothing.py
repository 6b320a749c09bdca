"""Label smoothing (CVPR 2016)."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from tasks.methods.common import full_precision, require_target, target_distribution
from tasks.methods.registry import register_loss

Spread = Literal["all classes", "other classes"]
"""Which classes get the share that the label gives up."""


@register_loss("LabelSmoothingLoss", version=1)
class LabelSmoothingLoss(nn.Module):
    """Label smoothing: a share of every label is spread evenly over the classes.

    With ``p`` the student's softmax, ``y`` the label as a distribution and ``e`` the smoothing::

        all classes    u_k = 1 / K                     other classes  u_k = (1 - y_k) / (K - 1)

        loss = - e * mean( sum_k u_k * log p_k )

    The ordinary cross-entropy beside it has the weight ``1 - e``, see `ce_weight`; together they are the
    cross-entropy of the smoothed label. The two kinds differ only by a factor ``K / (K - 1)`` in ``e``. A
    soft label is smoothed as the mixture that it is; the releases with ``other classes`` leave it open.

    Source: arXiv:1512.00567, section 7 (all classes); the releases of Tf-KD (arXiv:1909.11723) and Zipf's
    label smoothing (arXiv:2207.08980) spread over the other classes. ``e`` is 0.1 in each.

    Args:
        smoothing: the share ``e``, from 0 to 1.
        spread: ``all classes`` or ``other classes``.

    Raises:
        ValueError: if ``spread`` is unknown.
    """

    def __init__(self, smoothing: float = 0.1, spread: Spread = "all classes") -> None:
        super().__init__()
        if spread not in get_args(Spread):
            raise ValueError(f"no spread {spread!r}: choose one of {', '.join(get_args(Spread))}")
        self.smoothing = smoothing
        self.spread = spread

    @property
    def ce_weight(self) -> float:
        """The weight of the ordinary cross-entropy in the total loss."""
        return 1 - self.smoothing

    def forward(self, student_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the weighted smoothing part.

        Args:
            student_logits: ``N x K``.
            target: ``N`` class indices or ``N x K`` soft labels.

        Returns:
            A scalar.

        Raises:
            ValueError: if the target does not fit the logits.
        """
        require_target(student_logits, target)
        log_p = full_precision(student_logits).log_softmax(dim=1)
        if self.spread == "all classes":
            return -self.smoothing * log_p.mean(dim=1).mean()
        others = (1 - target_distribution(target, log_p)) / (log_p.shape[1] - 1)
        return -self.smoothing * (others * log_p).sum(dim=1).mean()
