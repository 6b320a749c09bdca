"""Judges a gain over our own re-trained student: its size on published data, its sign on embedded data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from suite.verdicts.absolute import STANDARD_RUNS
from suite.verdicts.arithmetic import (
    NU0,
    check_finite,
    check_noise,
    check_runs,
    exceeds,
    half_digit,
    mean_of,
    pool,
    sum_of_squares,
    t_quantile,
)

GainName = Literal[
    "LOSS", "NO_CHANGE", "GAIN_UNCLEAR", "GAIN_REPRODUCED", "GAIN_SMALLER", "GAIN_LARGER", "GAIN"
]
LOSS: Final = "LOSS"
NO_CHANGE: Final = "NO_CHANGE"
GAIN_UNCLEAR: Final = "GAIN_UNCLEAR"
GAIN_REPRODUCED: Final = "GAIN_REPRODUCED"
GAIN_SMALLER: Final = "GAIN_SMALLER"
GAIN_LARGER: Final = "GAIN_LARGER"
GAIN: Final = "GAIN"


@dataclass(frozen=True)
class GainVerdict:
    """A claimed gain against the gain over our own re-trained student.

    Attributes:
        verdict: `LOSS`, `GAIN_UNCLEAR`, `GAIN_REPRODUCED`, `GAIN_SMALLER`, `GAIN_LARGER` or `GAIN`.
        gain: ``g``, mean of the distilled runs minus mean of the student runs.
        lower: lower end of its 90 % interval.
        upper: upper end of its 90 % interval.
        retained: ``g / claimed gain``; None without a claimed gain other than zero.
        half_width: ``H_g`` of the prediction interval for the gain of one more pair of runs.
        retained_lower: lower end of the interval of `retained`.
        retained_upper: upper end of the interval of `retained`.
    """

    verdict: GainName
    gain: float
    lower: float
    upper: float
    retained: float | None
    half_width: float
    retained_lower: float | None = None
    retained_upper: float | None = None


@dataclass(frozen=True)
class PairedGain:
    """The sign of a gain on the embedded data, paired by seed.

    Attributes:
        verdict: `GAIN`, `LOSS` or `GAIN_UNCLEAR`.
        gain: mean of the differences; None without a common seed.
        lower: lower end of its 90 % interval; None below three common seeds.
        upper: upper end of its 90 % interval; None below three common seeds.
        n: how many seeds both arms have in common.
        reason: why there is no interval, else None.
    """

    verdict: GainName
    gain: float | None
    lower: float | None
    upper: float | None
    n: int
    reason: str | None = None


def judge_gain(
    claimed_gain: float | None,
    decimals: int,
    distilled: Sequence[float],
    student: Sequence[float],
    sigma0: float,
    delta: float,
    nu0: float = NU0,
) -> GainVerdict:
    """Judges a claimed gain against the gain over our own re-trained student.

    With ``n_d`` distilled and ``n_b`` student runs::

        nu  = nu0 + (n_d - 1) + (n_b - 1), s_p pooled over both arms and the prior
        SE  = s_p * sqrt(1/n_d + 1/n_b);  L, U = g -+ t(0.95, nu) * SE
        H_g = t(0.975, nu) * s_p * sqrt(1/n_d + 1/n_b + 2)
        e_g = max(0, |g_c - g| - 2r)      the claimed gain is a difference of two rounded numbers

    `LOSS` if U < 0, `GAIN_UNCLEAR` if the interval contains 0; if it lies above 0: `GAIN_REPRODUCED` if
    ``e_g <= delta``, `GAIN_SMALLER` or `GAIN_LARGER` if ``e_g > delta`` and ``e_g > H_g``, else `GAIN`: the
    gain is real, but its size undecided.

    Args:
        claimed_gain: the published gain, percent points; None if none was published, which leaves `LOSS`,
            `GAIN_UNCLEAR` and `GAIN`.
        decimals: how many decimals the published numbers have.
        distilled: our distilled runs, percent.
        student: our runs of the student trained alone, percent.
        sigma0: prior sd of one run, percent points.
        delta: practical margin, percent points.
        nu0: weight of the prior in degrees of freedom; 0 ignores it.

    Raises:
        ValueError: an input is missing, not finite or out of range; the message names it.
    """
    check_noise(decimals, sigma0, delta, nu0)
    check_runs("distilled", distilled)
    check_runs("student", student)
    if claimed_gain is not None:
        check_finite("claimed_gain", [claimed_gain])
    nu, pooled = pool(sigma0, nu0, distilled, student)
    gain = mean_of(distilled) - mean_of(student)
    variance = 1 / len(distilled) + 1 / len(student)
    reach = t_quantile(0.95, nu) * pooled * math.sqrt(variance)
    half_width = t_quantile(0.975, nu) * pooled * math.sqrt(variance + 2)
    judged = GainVerdict(
        sign_verdict(gain - reach, gain + reach), gain, gain - reach, gain + reach, None, half_width
    )
    if claimed_gain is None:
        return judged
    if judged.verdict == GAIN:
        judged = replace(judged, verdict=_size_verdict(gain, claimed_gain, decimals, delta, half_width))
    if claimed_gain == 0:
        return judged
    ends = sorted((judged.lower / claimed_gain, judged.upper / claimed_gain))
    return replace(judged, retained=gain / claimed_gain, retained_lower=ends[0], retained_upper=ends[1])


def judge_gain_sign(
    distilled_by_seed: Mapping[int, float], student_by_seed: Mapping[int, float]
) -> PairedGain:
    """Judges the sign of a gain on the embedded data, where no published number applies.

    Runs with the same seed are a pair. Without any prior, the 90 % t interval of the mean difference
    decides: `GAIN` if it lies above 0, `LOSS` if below, else `GAIN_UNCLEAR`.

    Args:
        distilled_by_seed: seed -> metric of the distilled run, percent.
        student_by_seed: seed -> metric of the student trained alone, percent.

    Raises:
        ValueError: a metric is not finite.
    """
    check_finite("distilled_by_seed", distilled_by_seed.values())
    check_finite("student_by_seed", student_by_seed.values())
    seeds = sorted(distilled_by_seed.keys() & student_by_seed.keys())
    differences = [distilled_by_seed[seed] - student_by_seed[seed] for seed in seeds]
    n = len(differences)
    gain = mean_of(differences) if differences else None
    if gain is None or n < STANDARD_RUNS:
        return PairedGain(GAIN_UNCLEAR, gain, None, None, n, "fewer than three seeds")
    reach = t_quantile(0.95, n - 1) * math.sqrt(sum_of_squares(differences) / (n - 1) / n)
    lower, upper = gain - reach, gain + reach
    return PairedGain(sign_verdict(lower, upper), gain, lower, upper, n)


def _size_verdict(
    gain: float, claimed_gain: float, decimals: int, delta: float, half_width: float
) -> GainName:
    """The verdict on the claimed size of a gain whose interval lies above zero."""
    excess = max(0.0, abs(claimed_gain - gain) - 2 * half_digit(decimals))
    if not exceeds(excess, delta):
        return GAIN_REPRODUCED
    if not exceeds(excess, half_width):
        return GAIN
    return GAIN_SMALLER if gain < claimed_gain else GAIN_LARGER


def sign_verdict(lower: float, upper: float) -> GainName:
    """`LOSS`, `GAIN` or `GAIN_UNCLEAR` from an interval of the gain."""
    if exceeds(0, upper):
        return LOSS
    return GAIN if exceeds(lower, 0) else GAIN_UNCLEAR
