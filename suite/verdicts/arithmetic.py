"""The arithmetic that all verdicts share: pooled variances, intervals, and rounding."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from scipy.special import stdtr, stdtrit

ROUNDING_NOISE: Final = 1e-9
"""Anything this small is binary rounding, since metrics are printed with at most two decimals.

A difference that on paper equals the margin must not fall on the wrong side because of it.
"""
NU0: Final = 8
"""Weight of the prior sd, in degrees of freedom."""


def pool(sigma0: float, nu0: float, *arms: Sequence[float]) -> tuple[float, float]:
    """Degrees of freedom and sd of the arms pooled with the prior."""
    nu = nu0 + sum(len(arm) - 1 for arm in arms)
    if nu <= 0:
        raise ValueError("without a prior (nu0 = 0) one run has no sd: give at least two runs of an arm")
    return nu, math.sqrt((nu0 * sigma0**2 + sum(sum_of_squares(arm) for arm in arms)) / nu)


def prediction_reach(n: int, nu: float, pooled: float, level: float = 0.95) -> float:
    """Half width of the prediction interval for one more run, given n runs."""
    return t_quantile((1 + level) / 2, nu) * pooled * math.sqrt(1 + 1 / n)


def mean_reach(n: int, nu: float, pooled: float) -> float:
    """Half width of the 90 % interval of the mean of n runs."""
    return t_quantile(0.95, nu) * pooled / math.sqrt(n)


def two_sided_p(excess: float, nu: float, scale: float) -> float:
    """Two-sided p value of a distance, under t with `nu` degrees of freedom."""
    if scale == 0:
        return 0.0 if excess > 0 else 1.0
    return float(2 * stdtr(nu, -excess / scale))


def mean_of(values: Collection[float]) -> float:
    """The mean, rounded only once, so that the order in which records were read cannot change a digit."""
    return math.fsum(values) / len(values)


def sum_of_squares(values: Collection[float]) -> float:
    """Sum of the squared distances from the mean."""
    mean = mean_of(values)
    return math.fsum((value - mean) ** 2 for value in values)


def t_quantile(probability: float, nu: float) -> float:
    """Quantile of Student's t, rounded to ten digits, since releases of SciPy differ in the twelfth.

    `scipy.special` imports several times faster than `scipy.stats`.
    """
    return float(f"{stdtrit(nu, probability):.10g}")


def half_digit(decimals: int) -> float:
    """Half of the last printed digit."""
    return 0.5 * 10.0**-decimals


def exceeds(value: float, bound: float) -> bool:
    """Whether a value is above a bound by more than binary rounding."""
    return value > bound + ROUNDING_NOISE


def check_finite(name: str, values: Iterable[float]) -> None:
    """Raises ValueError, which names the argument, for the first value that is not finite."""
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"{name}: {value!r} is not a finite number")


def check_runs(name: str, runs: Sequence[float]) -> None:
    """Raises ValueError, which names the argument, unless there are runs and all are finite."""
    if not len(runs):
        raise ValueError(f"{name}: no runs given, at least one is needed")
    check_finite(name, runs)


def check_noise(decimals: int, sigma0: float, delta: float, nu0: float) -> None:
    """Raises ValueError, which names the argument, for impossible decimals, sd, margin or weight."""
    if decimals < 0:
        raise ValueError(f"decimals: must be 0 or more, got {decimals!r}")
    if not (math.isfinite(sigma0) and sigma0 > 0):
        raise ValueError(f"sigma0: must be a finite number above 0, got {sigma0!r}")
    if not (math.isfinite(delta) and delta >= 0):
        raise ValueError(f"delta: must be a finite number of 0 or more, got {delta!r}")
    if not (math.isfinite(nu0) and nu0 >= 0):
        raise ValueError(f"nu0: must be a finite number of 0 or more, got {nu0!r}")
