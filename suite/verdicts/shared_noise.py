"""Judges gains together: rows of one task scatter alike, so each row borrows strength from all.

Three seeds leave a t interval two degrees of freedom. If many rows were measured in the same way, their
variances differ by little more than chance, and show how much a row of this kind scatters. For row ``i`` with
``n_i`` differences, ``d_i = n_i - 1`` and sample variance ``s_i^2``, the variances are modelled as draws
around a common ``s0^2`` that is known as well as if from ``d0`` further degrees of freedom::

    e_i   = log s_i^2 - digamma(d_i/2) + log(d_i/2)
    v     = var(e, ddof=1) - mean(trigamma(d_i/2))      spread of the variances beyond chance
    d0    = 2 * trigamma^-1(v)
    s0^2  = exp(mean(e) + digamma(d0/2) - log(d0/2))

Without such a spread (``v <= 0``), and for fewer than three rows, ``d0`` is infinite and ``s0^2`` the pooled
variance ``sum(d_i s_i^2) / sum(d_i)``. Each row is judged with its own variance shrunk towards the common
one::

    s~_i^2     = (d0 s0^2 + d_i s_i^2) / (d0 + d_i)
    df_i       = min(d0 + d_i, sum(d))                  no more than all rows together have
    half width = t((1 + level)/2, df_i) * s~_i / sqrt(n_i)

Variances below 1e-5 of their median are raised to that value, since zero has no logarithm.

Worked example, three rows in percent points, margin 1::

    rows         a: 1.0 2.0 3.0     b: -0.2 0.1 0.4     c: 2.0 4.0 9.0
    s_i^2        1.0                0.09                13.0
    v = 4.5395, d0 = 1.0504, s0 = 0.7518
    s~_i         0.9221             0.5036              2.9526
    df           3.0504             3.0504              3.0504
    gain         2.00               0.10                5.00
    half width   1.2445             0.6797              3.9849
    verdict      GAIN               NO_CHANGE           GAIN

In simulations with three differences per row, 90 of 100 intervals contain the true gain for thirty rows or
more, and for one or two. For three to twelve rows it is 86 to 89: so few rows say little about how much the
variances differ.

Source: Smyth 2004, Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from scipy.special import polygamma, psi

from suite.verdicts.arithmetic import check_finite, exceeds, mean_of, sum_of_squares, t_quantile
from suite.verdicts.gains import GAIN_UNCLEAR, NO_CHANGE, GainName, sign_verdict

LEVEL: Final = 0.90
"""Share of the intervals that contain the true gain."""
LEAST_ROWS: Final = 3
"""With fewer rows, it cannot be estimated how much their variances differ."""
LEAST_VARIANCE: Final = 1e-5
"""Variances below this fraction of the median are raised to it."""


@dataclass(frozen=True)
class SharedNoise:
    """The noise that the rows of one kind share.

    Attributes:
        prior_sd: ``s0``, sd of one difference, percent points.
        prior_df: ``d0``, its weight in degrees of freedom; infinite if the variances of the rows differ no
            more than by chance.
        total_df: ``sum(d_i)``; no interval has more degrees of freedom.
        least_variance: the value to which smaller variances are raised.
        rows: how many rows it was estimated from.
    """

    prior_sd: float
    prior_df: float
    total_df: int
    least_variance: float
    rows: int


@dataclass(frozen=True)
class PooledGain:
    """A gain, judged with the noise that rows of its kind share.

    Attributes:
        verdict: `NO_CHANGE` if the interval lies within the margin around zero; else `GAIN` if it lies above
            zero, `LOSS` if below, and `GAIN_UNCLEAR` if it contains zero.
        gain: mean of the differences, percent points; None without any.
        lower: lower end of its interval; None with fewer than two differences.
        upper: upper end of its interval; None with fewer than two differences.
        sd: ``s~_i``, sd of one difference, the row's own shrunk towards the common one; None with fewer than
            two differences.
        prior_sd: ``s0`` of `SharedNoise`; None if no row has two differences.
        prior_df: ``d0`` of `SharedNoise`; None if no row has two differences.
        df: degrees of freedom of the interval; None with fewer than two differences.
        n: how many differences there are.
    """

    verdict: GainName
    gain: float | None
    lower: float | None
    upper: float | None
    sd: float | None
    prior_sd: float | None
    prior_df: float | None
    df: float | None
    n: int


def judge_gains_together(
    rows: Mapping[str, Sequence[float]], margin: float, level: float = LEVEL
) -> dict[str, PooledGain]:
    """Judges the gains of rows that share their noise, such as those of one task and metric.

    Args:
        rows: name -> differences, distilled minus student alone, one per seed, percent points.
        margin: a gain that is certainly smaller than this in either direction is no change, percent points.
        level: share of the intervals that contain the true gain, in (0, 1).

    Returns:
        Name -> verdict with the numbers behind it, in the order given. A row with fewer than two differences
        has no interval and is `GAIN_UNCLEAR`.

    Raises:
        ValueError: a difference or the margin is not finite, the margin is negative, or the level lies
            outside (0, 1).
    """
    noise = shared_noise(rows)
    return {name: judge_with(noise, differences, margin, level) for name, differences in rows.items()}


def shared_noise(rows: Mapping[str, Sequence[float]]) -> SharedNoise | None:
    """Estimates the noise that rows share; None if no row has two differences.

    Args:
        rows: name -> differences, percent points.

    Raises:
        ValueError: a difference is not finite; the message names the row.
    """
    for name, differences in rows.items():
        check_finite(name, differences)
    measured = [differences for differences in rows.values() if len(differences) > 1]
    if not measured:
        return None
    degrees = [len(differences) - 1 for differences in measured]
    variances = [sum_of_squares(row) / d for row, d in zip(measured, degrees, strict=True)]
    least = LEAST_VARIANCE * median(variances)
    variances = [max(variance, least) for variance in variances]
    prior_df, prior_variance = _prior(variances, degrees)
    return SharedNoise(math.sqrt(prior_variance), prior_df, sum(degrees), least, len(measured))


def judge_with(
    noise: SharedNoise | None, differences: Sequence[float], margin: float, level: float = LEVEL
) -> PooledGain:
    """Judges one row with noise estimated from several, with or without it; see `judge_gains_together`."""
    check_finite("differences", differences)
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin: must be a finite number of 0 or more, got {margin!r}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    n = len(differences)
    gain = mean_of(differences) if differences else None
    prior_sd, prior_df = (noise.prior_sd, noise.prior_df) if noise else (None, None)
    if noise is None or gain is None or n < 2:
        return PooledGain(GAIN_UNCLEAR, gain, None, None, None, prior_sd, prior_df, None, n)
    variance = max(sum_of_squares(differences) / (n - 1), noise.least_variance)
    sd = math.sqrt(_shrunken(variance, n - 1, noise))
    df = min(noise.prior_df + n - 1, noise.total_df)
    reach = t_quantile((1 + level) / 2, df) * sd / math.sqrt(n)
    lower, upper = gain - reach, gain + reach
    verdict = _verdict(lower, upper, margin)
    return PooledGain(verdict, gain, lower, upper, sd, prior_sd, prior_df, df, n)


def pairing_correlation(rows: Mapping[str, Collection[tuple[float, float]]]) -> float | None:
    """The correlation between two arms at the same seed, within rows and pooled over them.

    ``sum (x - x_row)(y - y_row) / sqrt(sum (x - x_row)^2 * sum (y - y_row)^2)`` over all pairs of all rows.
    With a correlation of ``r`` and equal spread of both arms, the variance of a difference is ``1 - r`` times
    that of independent arms.

    Args:
        rows: name -> (one arm, the other arm) of each seed, on any scale.

    Returns:
        -1 to 1; None if an arm does not scatter at all, or if no row has two seeds.
    """
    products, first, second = [], [], []
    for pairs in rows.values():
        if len(pairs) < 2:
            continue
        means = [mean_of([pair[arm] for pair in pairs]) for arm in (0, 1)]
        for x, y in pairs:
            products.append((x - means[0]) * (y - means[1]))
            first.append((x - means[0]) ** 2)
            second.append((y - means[1]) ** 2)
    scale = math.sqrt(math.fsum(first) * math.fsum(second))
    return math.fsum(products) / scale if scale else None


def _prior(variances: Sequence[float], degrees: Sequence[int]) -> tuple[float, float]:
    """``d0`` and ``s0^2``."""
    if len(variances) >= LEAST_ROWS and min(variances) > 0:
        logs = [
            math.log(variance) - psi(d / 2) + math.log(d / 2)
            for variance, d in zip(variances, degrees, strict=True)
        ]
        beyond = sum_of_squares(logs) / (len(logs) - 1) - mean_of([polygamma(1, d / 2) for d in degrees])
        if beyond > 0:
            d0 = 2 * _inverse_trigamma(beyond)
            return d0, math.exp(mean_of(logs) + psi(d0 / 2) - math.log(d0 / 2))
    pooled = math.fsum(d * variance for d, variance in zip(degrees, variances, strict=True)) / sum(degrees)
    return math.inf, pooled


def _inverse_trigamma(value: float) -> float:
    """The y > 0 with trigamma(y) = value, for a value > 0; bracketed by 1/y < trigamma(y) < 1/y + 1/y^2."""
    # Imported here because it is slow to import.
    from scipy.optimize import brentq

    upper = (1 + math.sqrt(1 + 4 * value)) / (2 * value)
    return float(brentq(lambda y: polygamma(1, y) - value, 1 / value, upper, xtol=1e-300, rtol=1e-15))


def _shrunken(variance: float, d: int, noise: SharedNoise) -> float:
    if math.isinf(noise.prior_df):
        return noise.prior_sd**2
    return (noise.prior_df * noise.prior_sd**2 + d * variance) / (noise.prior_df + d)


def _verdict(lower: float, upper: float, margin: float) -> GainName:
    if not exceeds(-lower, margin) and not exceeds(upper, margin):
        return NO_CHANGE
    return sign_verdict(lower, upper)
