"""Ranks of methods or settings, and how far a claimed and a measured order agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from suite.verdicts.arithmetic import check_finite

MOST_PERMUTED: Final = 8
"""For up to this many names, the p value of a tau with ties is computed over all orders (8! = 40,320)."""
_DIGITS: Final = 9
"""Values that agree to this many decimals are tied: the rest is rounding noise."""


@dataclass(frozen=True)
class RankAgreement:
    """How far two orders of the same names agree.

    Attributes:
        n: how many names have a value on both sides; others are ignored.
        tau: Kendall's tau-b: 1 for the same order, -1 for the reverse. Without ties it is the plain tau. None
            if there is no order to compare: fewer than two names, or all tied on one side.
        p_value: two-sided, for a tau of zero: the probability that a random order agrees, or disagrees, at
            least as much. None without a tau.
        ties: whether a side has ties.
        exact: whether the p value is computed over all orders, not by the normal approximation.
    """

    n: int
    tau: float | None = None
    p_value: float | None = None
    ties: bool = False
    exact: bool = True


def ranks(values: Mapping[str, float], higher_is_better: bool = True) -> dict[str, int]:
    """The rank of each name, from 1 for the best; ties share the better rank: 1, 2, 2, 4.

    Args:
        values: name -> value.
        higher_is_better: which end is the best.

    Raises:
        ValueError: a value is not finite.
    """
    check_finite("values", values.values())
    sign = 1 if higher_is_better else -1
    settled = {name: sign * round(value, _DIGITS) for name, value in values.items()}
    return {name: 1 + sum(other > value for other in settled.values()) for name, value in settled.items()}


def rank_agreement(claimed: Mapping[str, float], measured: Mapping[str, float]) -> RankAgreement:
    """Kendall's tau between a claimed and a measured order, over the names that have both values.

    With ``C`` pairs of names that both sides put in the same order, ``D`` in opposite orders, and ``T_c``,
    ``T_m`` pairs that are tied on the one or the other side, of ``P = n (n - 1) / 2`` pairs in total::

        tau = (C - D) / sqrt((P - T_c) * (P - T_m))        tau-b; (C - D) / P without ties

    The p value is twice the smaller of two probabilities: that a random order of the measured values has a
    tau at least as high, or at least as low. It is exact without ties, and with ties for up to
    `MOST_PERMUTED` names; beyond that, it is the normal approximation with the variance corrected for ties.
    The smallest possible value for n names is ``2 / n!``: 0.083 for four, 0.017 for five.

    Source: Kendall, Rank Correlation Methods; `scipy.stats.kendalltau`.

    Args:
        claimed: name -> claimed value; names are methods on one pair, or the settings of a sweep.
        measured: name -> measured value, on any scale that improves the same way.

    Raises:
        ValueError: a value is not finite.
    """
    check_finite("claimed", claimed.values())
    check_finite("measured", measured.values())
    names = [name for name in claimed if name in measured]
    sides = [np.round([side[name] for name in names], _DIGITS) for side in (claimed, measured)]
    distinct = [len(np.unique(side)) for side in sides]
    n, ties = len(names), min(distinct) < len(names)
    if min(distinct) < 2:
        return RankAgreement(n, ties=ties)
    # Imported here because it is slow to import: see `t_quantile`.
    from scipy.stats import kendalltau

    found = kendalltau(*sides, method="asymptotic" if ties else "exact")
    exact = not ties or n <= MOST_PERMUTED
    p_value = _p_over_all_orders(*sides) if ties and exact else found.pvalue
    return RankAgreement(n, float(found.statistic), float(p_value), ties, exact)


def _p_over_all_orders(claimed: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]) -> float:
    """Two-sided p value of tau over all orders of the measured values."""
    from scipy.stats import permutation_test

    one, other = np.triu_indices(len(claimed), 1)
    signs = np.sign(claimed[one] - claimed[other])

    # C - D alone: the denominator of tau is the same for every order.
    def concordance(order: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
        agreeing: npt.NDArray[np.float64] = (signs * np.sign(order[..., one] - order[..., other])).sum(axis)
        return agreeing

    test = permutation_test(
        (measured,), concordance, permutation_type="pairings", vectorized=True, n_resamples=np.inf
    )
    return float(test.pvalue)
