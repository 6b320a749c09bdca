"""Tests of many rows together: control of false discoveries, and a sign test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suite.verdicts.arithmetic import ROUNDING_NOISE, check_finite, exceeds


@dataclass(frozen=True)
class SignTest:
    """Exact two-sided sign test over pairs.

    Attributes:
        positive: differences above zero.
        negative: differences below zero.
        ties: differences of zero, which the test leaves out.
        p_value: probability of a split at least as uneven if both signs were equally likely.
    """

    positive: int
    negative: int
    ties: int
    p_value: float


def benjamini_hochberg(p_values: Sequence[float], q: float = 0.10) -> list[bool]:
    """Which hypotheses are rejected at false discovery rate q.

    The step-up rule of Benjamini and Hochberg (1995): with the p values in ascending order, everything
    up to the largest i with ``p_(i) <= i/m * q`` is rejected.

    Args:
        p_values: m values in [0, 1], in any order.
        q: false discovery rate, in (0, 1).

    Returns:
        For each p value, in the order given, whether it is rejected.

    Raises:
        ValueError: a p value is outside [0, 1], or q outside (0, 1).
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, got {q!r}")
    for value in p_values:
        if not 0 <= value <= 1:
            raise ValueError(f"a p value must lie in [0, 1], got {value!r}")
    ordered = sorted(p_values)
    passing = [p for i, p in enumerate(ordered, start=1) if not exceeds(p, i / len(ordered) * q)]
    # In ascending order, the last one that passes is the largest: the threshold.
    return [bool(passing) and value <= passing[-1] for value in p_values]


def sign_test(differences: Iterable[float]) -> SignTest:
    """Exact two-sided sign test over pairs (differences of zero are left out).

    Args:
        differences: one number per pair, for example the mean gain of each teacher-student pair.

    Returns:
        The counts and ``min(1, 2 * P(X >= max(positive, negative)))`` for X binomial with p = 1/2.

    Raises:
        ValueError: a difference is not finite.
    """
    values = list(differences)
    check_finite("differences", values)
    positive = sum(value > ROUNDING_NOISE for value in values)
    negative = sum(value < -ROUNDING_NOISE for value in values)
    pairs = positive + negative
    tail = sum(math.comb(pairs, count) for count in range(max(positive, negative), pairs + 1))
    return SignTest(positive, negative, len(values) - pairs, min(1.0, 2 * tail / 2**pairs))
