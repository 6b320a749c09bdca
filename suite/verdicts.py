"""When a published number counts as reproduced: pure functions from numbers to verdicts.

A published number is one draw of a random process, and so is each of our runs. Two or three runs say
little about their own spread, so the sample variance is shrunk towards a published prior
(`suite.published.priors`) that weighs as much as `NU0` degrees of freedom, and the published number is held
against a prediction interval for one more run of ours, not against a confidence interval of our mean.

Notation, for ``n`` runs with mean ``m`` and sample sd ``s``::

    r   = 0.5 * 10^-decimals                            half of the last printed digit
    e   = max(0, |m - c| - r)                           difference that rounding cannot explain
    nu  = nu0 + n - 1
    s_p = sqrt((nu0*sigma0^2 + (n-1)*s^2) / nu)
    H   = t(0.975, nu) * s_p * sqrt(1 + 1/n)            half width of the 95 % prediction interval

All metrics are in percent points, as the papers print them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtr, stdtrit

AbsoluteName = Literal[
    "REPRODUCED", "DEVIATES_LOW", "DEVIATES_HIGH", "INCONCLUSIVE", "BLOCKED", "NOT_COMPARABLE"
]
GainName = Literal["LOSS", "GAIN_UNCLEAR", "GAIN_REPRODUCED", "GAIN_SMALLER", "GAIN_LARGER", "GAIN"]
Strength = Literal["screen", "standard"]

REPRODUCED: Final = "REPRODUCED"
DEVIATES_LOW: Final = "DEVIATES_LOW"
DEVIATES_HIGH: Final = "DEVIATES_HIGH"
INCONCLUSIVE: Final = "INCONCLUSIVE"
BLOCKED: Final = "BLOCKED"
NOT_COMPARABLE: Final = "NOT_COMPARABLE"

LOSS: Final = "LOSS"
GAIN_UNCLEAR: Final = "GAIN_UNCLEAR"
GAIN_REPRODUCED: Final = "GAIN_REPRODUCED"
GAIN_SMALLER: Final = "GAIN_SMALLER"
GAIN_LARGER: Final = "GAIN_LARGER"
GAIN: Final = "GAIN"

DEVIATIONS: Final = frozenset({DEVIATES_LOW, DEVIATES_HIGH})
"""The verdicts that ``--strict`` turns into exit status 3."""

NU0: Final = 8
"""Weight of the prior sd, in degrees of freedom."""
WIDER_PRIOR: Final = 1.5
"""Factor on sigma0 for the question whether a flag survives a prior that was too narrow."""
STANDARD_RUNS: Final = 3
"""Fewer runs only screen; a paired gain on the embedded data needs as many seeds."""
MOST_RUNS: Final = 100
"""`AbsoluteVerdict.runs_needed` looks no further."""
TEACHER_TOLERANCE: Final = 0.1
"""A teacher measured further than this from its published accuracy, percent points, is another teacher."""
LARGEST_K: Final = 100
"""`AbsoluteVerdict.best_of_k` looks no further."""
MOST_PERMUTED: Final = 8
"""Up to so many names the p value of a tau with equal values is counted over all orders (8! = 40,320)."""

# Metrics are printed decimals of two digits at most; anything this small is binary rounding, and a
# difference that is exactly the margin on paper must not fall on the wrong side of it because of that.
_ROUNDING_NOISE: Final = 1e-9
_DIGITS: Final = 9
"""Values that agree in so many decimals are equal: the same noise, where values are put in order."""


@dataclass(frozen=True)
class AbsoluteVerdict:
    """A claimed number against our own runs.

    Attributes:
        verdict: `REPRODUCED`, `DEVIATES_LOW`, `DEVIATES_HIGH` or `INCONCLUSIVE`.
        mean: mean ``m`` of the runs.
        excess: ``e``, the distance to the claim beyond rounding.
        pooled_sd: ``s_p``, the sample sd shrunk to the prior.
        half_width: ``H`` of the prediction interval for one more run.
        strength: `screen` for one or two runs, `standard` from three on.
        equivalent: the 90 % interval of the mean lies inside ``claim +- delta`` (two one-sided tests).
        p_value: two-sided p value of ``e / (s_p * sqrt(1 + 1/n))`` under t with ``nu`` degrees of freedom.
        survives_wider_prior: whether a deviation stays one with 1.5 sigma0; None for other verdicts.
        best_of_k: for `DEVIATES_LOW` the smallest k up to `LARGEST_K` such that the expected best of k
            runs reaches the claim; None when there is none, and for other verdicts.
        runs_needed: for `INCONCLUSIVE` the smallest number of runs in total that would decide; see
            `judge_absolute`. None when no number up to `MOST_RUNS` would, and for other verdicts.
    """

    verdict: AbsoluteName
    mean: float
    excess: float
    pooled_sd: float
    half_width: float
    strength: Strength
    equivalent: bool
    p_value: float
    survives_wider_prior: bool | None = None
    best_of_k: int | None = None
    runs_needed: int | None = None

    @property
    def lower(self) -> float:
        """Lower end of the 95 % prediction interval for one more run."""
        return self.mean - self.half_width

    @property
    def upper(self) -> float:
        """Upper end of the 95 % prediction interval for one more run."""
        return self.mean + self.half_width


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
        n: how many seeds both arms have.
        reason: why there is no interval, else None.
    """

    verdict: GainName
    gain: float | None
    lower: float | None
    upper: float | None
    n: int
    reason: str | None = None


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


@dataclass(frozen=True)
class RankAgreement:
    """How far two orders of the same names agree.

    Attributes:
        n: how many names have a value on both sides; no other counts.
        tau: Kendall's tau-b: 1 for the same order, -1 for the reverse. Without equal values it is the plain
            tau. None where there is no order to compare: fewer than two names, or one side all equal.
        p_value: two-sided, for a tau of zero: how often a random order agrees, or disagrees, as well. None
            without a tau.
        ties: whether a side has equal values.
        exact: whether the p value is counted over all orders, and not the normal approximation.
    """

    n: int
    tau: float | None = None
    p_value: float | None = None
    ties: bool = False
    exact: bool = True


@dataclass(frozen=True)
class Judgement:
    """What the report prints for a claimed number: the gates first, the numbers behind them.

    Attributes:
        verdict: any `AbsoluteName`.
        reason: why there is no number verdict, else None.
        marked: the runs had listed departures; the printed verdict carries an asterisk.
        numbers: the number verdict; None behind a closed gate.
    """

    verdict: AbsoluteName
    reason: str | None = None
    marked: bool = False
    numbers: AbsoluteVerdict | None = None

    @property
    def label(self) -> str:
        """The verdict as printed, with its asterisk."""
        return f"{self.verdict}*" if self.marked else self.verdict


def judge_absolute(
    claim: float, decimals: int, runs: Sequence[float], sigma0: float, delta: float, nu0: float = NU0
) -> AbsoluteVerdict:
    """Judges a claimed number against our runs.

    `REPRODUCED` when ``e <= delta``; a deviation when ``e > delta`` and ``e > H``; else `INCONCLUSIVE`:
    more than the margin, yet within the noise.

    `runs_needed` answers for `INCONCLUSIVE`: were there ``n' > n`` runs in all, with the same mean and the
    same sample sd (one run has none: sigma0 stands in for it), which is the smallest ``n' <= MOST_RUNS``
    with ``e > H(n')``? The margin does not depend on n, so a deviation is what would be decided.

    `best_of_k` asks of `DEVIATES_LOW` whether selection explains it: ``claim <= m + E[max of k] * s_p``
    with the mean of the largest of k standard normal draws. ``e > H`` puts the claim more than 1.96 s_p
    above the mean, so no k below 25 ever does.

    Args:
        claim: the published number, percent.
        decimals: how many decimals it was printed with.
        runs: our numbers, percent, one a seed; at least one (two when `nu0` is 0).
        sigma0: prior sd of one run, percent points.
        delta: practical margin, percent points.
        nu0: degrees of freedom that the prior weighs; 0 ignores it.

    Returns:
        The verdict with the numbers behind it.

    Raises:
        ValueError: an input is missing, not finite or out of range; the message names it.
    """
    _check_finite("claim", [claim])
    _check_noise(decimals, sigma0, delta, nu0)
    _check_runs("runs", runs)
    judged = _decide(claim, decimals, runs, sigma0, delta, nu0)
    if judged.verdict in DEVIATIONS:
        wider = _decide(claim, decimals, runs, WIDER_PRIOR * sigma0, delta, nu0)
        judged = replace(judged, survives_wider_prior=wider.verdict == judged.verdict)
    if judged.verdict == DEVIATES_LOW:
        return replace(judged, best_of_k=_best_of_k(claim - judged.mean, judged.pooled_sd))
    if judged.verdict == INCONCLUSIVE:
        return replace(judged, runs_needed=_runs_needed(judged.excess, runs, sigma0, nu0))
    return judged


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

    `LOSS` when U < 0, `GAIN_UNCLEAR` when the interval holds 0; above it `GAIN_REPRODUCED` when
    ``e_g <= delta``, `GAIN_SMALLER` or `GAIN_LARGER` when ``e_g > delta`` and ``e_g > H_g``, else `GAIN`:
    real, its size undecided.

    Args:
        claimed_gain: the published gain, percent points; None when none was published, which leaves
            `LOSS`, `GAIN_UNCLEAR` and `GAIN`.
        decimals: how many decimals the published numbers have.
        distilled: our distilled runs, percent.
        student: our runs of the student trained alone, percent.
        sigma0: prior sd of one run, percent points.
        delta: practical margin, percent points.
        nu0: degrees of freedom that the prior weighs; 0 ignores it.

    Raises:
        ValueError: an input is missing, not finite or out of range; the message names it.
    """
    _check_noise(decimals, sigma0, delta, nu0)
    _check_runs("distilled", distilled)
    _check_runs("student", student)
    if claimed_gain is not None:
        _check_finite("claimed_gain", [claimed_gain])
    nu, pooled = _pool(sigma0, nu0, distilled, student)
    gain = _mean(distilled) - _mean(student)
    variance = 1 / len(distilled) + 1 / len(student)
    reach = _t(0.95, nu) * pooled * math.sqrt(variance)
    half_width = _t(0.975, nu) * pooled * math.sqrt(variance + 2)
    judged = GainVerdict(
        _sign_verdict(gain - reach, gain + reach), gain, gain - reach, gain + reach, None, half_width
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

    Runs of one seed are a pair. Without any prior, the 90 % t interval of the mean difference decides:
    `GAIN` when it lies above 0, `LOSS` when below, else `GAIN_UNCLEAR`.

    Args:
        distilled_by_seed: seed -> metric of the distilled run, percent.
        student_by_seed: seed -> metric of the student trained alone, percent.

    Raises:
        ValueError: a metric is not finite.
    """
    _check_finite("distilled_by_seed", distilled_by_seed.values())
    _check_finite("student_by_seed", student_by_seed.values())
    seeds = sorted(distilled_by_seed.keys() & student_by_seed.keys())
    differences = [distilled_by_seed[seed] - student_by_seed[seed] for seed in seeds]
    n = len(differences)
    gain = _mean(differences) if differences else None
    if gain is None or n < STANDARD_RUNS:
        return PairedGain(GAIN_UNCLEAR, gain, None, None, n, "fewer than three seeds")
    reach = _t(0.95, n - 1) * math.sqrt(_sum_of_squares(differences) / (n - 1) / n)
    lower, upper = gain - reach, gain + reach
    return PairedGain(_sign_verdict(lower, upper), gain, lower, upper, n)


def gate(reasons: Sequence[str] = (), comparable: bool = True) -> Judgement | None:
    """The gates before any number.

    Args:
        reasons: what stands against judging (unlisted difference from the protocol, wrong teacher,
            checkpoint keys, data fingerprint, failed run), one sentence each.
        comparable: the runs used the published data.

    Returns:
        `BLOCKED` with the reasons, `NOT_COMPARABLE` for embedded data, or None when the gate is open.
        `BLOCKED` comes first: a run that is not what it claims to be says nothing on any data.
    """
    if reasons:
        return Judgement(BLOCKED, "; ".join(reasons))
    if not comparable:
        return Judgement(NOT_COMPARABLE, "the data are embedded, not the published ones")
    return None


def prediction_half_width(
    runs: Sequence[float], sigma0: float = 0.0, nu0: float = NU0, level: float = 0.95
) -> float:
    """Half width of the prediction interval for one more run: ``H`` of the formulas above, at any level.

    Args:
        runs: our numbers, percent; at least one (two when `nu0` is 0).
        sigma0: prior sd of one run, percent points; not looked at when `nu0` is 0.
        nu0: degrees of freedom that the prior weighs; 0 ignores it.
        level: in how many of all cases one more run falls inside, in (0, 1).

    Raises:
        ValueError: an input is missing, not finite or out of range; the message names it.
    """
    _check_noise(0, sigma0 if nu0 else 1.0, 0.0, nu0)
    _check_runs("runs", runs)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    nu, pooled = _pool(sigma0 if nu0 else 0.0, nu0, runs)
    return _half_width(len(runs), nu, pooled, level)


def mean_interval(runs: Sequence[float], sigma0: float | None = None) -> tuple[float, float] | None:
    """The 90 % interval of the mean of our runs: ``m -+ t(0.95, nu) * s_p / sqrt(n)``.

    Args:
        runs: our numbers, percent.
        sigma0: prior sd of one run, percent points; None where there is none, as on embedded data, and only
            the runs count.

    Returns:
        Both ends; None without a run, and without a prior below three runs.

    Raises:
        ValueError: a run or sigma0 is not finite or out of range.
    """
    if len(runs) < (STANDARD_RUNS if sigma0 is None else 1):
        return None
    _check_runs("runs", runs)
    if sigma0 is not None:
        _check_noise(0, sigma0, 0.0, NU0)
    nu, pooled = _pool(0.0, 0, runs) if sigma0 is None else _pool(sigma0, NU0, runs)
    mean, reach = _mean(runs), _mean_reach(len(runs), nu, pooled)
    return mean - reach, mean + reach


def teacher_reason(metric: str, claimed: float, measured: float) -> str | None:
    """What stands against judging a student of this teacher; None when nothing does.

    Args:
        metric: name of the metric, for the sentence.
        claimed: accuracy of the teacher as published, percent.
        measured: the same as measured by us, percent.
    """
    if not _exceeds(abs(measured - claimed), TEACHER_TOLERANCE):
        return None
    return f"the teacher's {metric} is {measured:.2f}, not {claimed:g} (more than {TEACHER_TOLERANCE} off)"


def judge_claim(
    claim: float,
    decimals: int,
    runs: Sequence[float],
    sigma0: float,
    delta: float,
    *,
    reasons: Sequence[str] = (),
    comparable: bool = True,
    departures: Sequence[str] = (),
    nu0: float = NU0,
) -> Judgement:
    """Judges a claimed number behind its gates; see `gate` and `judge_absolute` for the arguments.

    Args:
        claim: the published number, percent.
        decimals: how many decimals it was printed with.
        runs: our numbers, percent; not looked at when a gate is closed.
        sigma0: prior sd of one run, percent points.
        delta: practical margin, percent points.
        reasons: what stands against judging.
        comparable: the runs used the published data.
        departures: listed differences from the published protocol: judged, and marked.
        nu0: degrees of freedom that the prior weighs.

    Raises:
        ValueError: as `judge_absolute`, when the gates are open.
    """
    closed = gate(reasons, comparable)
    if closed is not None:
        return closed
    numbers = judge_absolute(claim, decimals, runs, sigma0, delta, nu0)
    return Judgement(numbers.verdict, marked=bool(departures), numbers=numbers)


def benjamini_hochberg(p_values: Sequence[float], q: float = 0.10) -> list[bool]:
    """Which hypotheses are rejected when the false discovery rate is held at q.

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
    passing = [p for i, p in enumerate(ordered, start=1) if not _exceeds(p, i / len(ordered) * q)]
    # In ascending order the last one that passes is the largest: it is the cut.
    return [bool(passing) and value <= passing[-1] for value in p_values]


def sign_test(differences: Iterable[float]) -> SignTest:
    """Exact two-sided sign test over pairs (differences of zero are left out).

    Args:
        differences: one number a pair, for example the mean gain of each teacher-student pair.

    Returns:
        The counts and ``min(1, 2 * P(X >= max(positive, negative)))`` for X binomial with p = 1/2.

    Raises:
        ValueError: a difference is not finite.
    """
    values = list(differences)
    _check_finite("differences", values)
    positive = sum(value > _ROUNDING_NOISE for value in values)
    negative = sum(value < -_ROUNDING_NOISE for value in values)
    pairs = positive + negative
    tail = sum(math.comb(pairs, count) for count in range(max(positive, negative), pairs + 1))
    return SignTest(positive, negative, len(values) - pairs, min(1.0, 2 * tail / 2**pairs))


def ranks(values: Mapping[str, float], higher_is_better: bool = True) -> dict[str, int]:
    """The rank of each name, from 1 for the best; equal values share the better one: 1, 2, 2, 4.

    Args:
        values: name -> value.
        higher_is_better: which end is the best.

    Raises:
        ValueError: a value is not finite.
    """
    _check_finite("values", values.values())
    sign = 1 if higher_is_better else -1
    settled = {name: sign * round(value, _DIGITS) for name, value in values.items()}
    return {name: 1 + sum(other > value for other in settled.values()) for name, value in settled.items()}


def rank_agreement(claimed: Mapping[str, float], measured: Mapping[str, float]) -> RankAgreement:
    """Kendall's tau between a claimed and a measured order, over the names that have both values.

    With ``C`` pairs of names that both sides put in the same order, ``D`` in opposite orders, and ``T_c``,
    ``T_m`` pairs that are equal on the one or the other side, of ``P = n (n - 1) / 2`` pairs in all::

        tau = (C - D) / sqrt((P - T_c) * (P - T_m))        tau-b; (C - D) / P without equal values

    The p value is twice the smaller of the two chances that a random order of the measured values has a tau
    at least as high, or at least as low. It is exact without equal values, and with them up to
    `MOST_PERMUTED` names; beyond, it is the normal approximation with the variance that equal values leave.
    The smallest that n names can have is ``2 / n!``: 0.083 for four, 0.017 for five.

    Source: Kendall, Rank Correlation Methods; `scipy.stats.kendalltau`.

    Args:
        claimed: name -> claimed value; names are methods on one pair, or the settings of a sweep.
        measured: name -> measured value, on any scale that improves the same way.

    Raises:
        ValueError: a value is not finite.
    """
    _check_finite("claimed", claimed.values())
    _check_finite("measured", measured.values())
    names = [name for name in claimed if name in measured]
    sides = [np.round([side[name] for name in names], _DIGITS) for side in (claimed, measured)]
    distinct = [len(np.unique(side)) for side in sides]
    n, ties = len(names), min(distinct) < len(names)
    if min(distinct) < 2:
        return RankAgreement(n, ties=ties)
    # Late, for what it takes to import: see `_t`.
    from scipy.stats import kendalltau

    found = kendalltau(*sides, method="asymptotic" if ties else "exact")
    exact = not ties or n <= MOST_PERMUTED
    p_value = _p_over_all_orders(*sides) if ties and exact else found.pvalue
    return RankAgreement(n, float(found.statistic), float(p_value), ties, exact)


def expected_best(largest: int) -> npt.NDArray[np.float64]:
    """Mean of the largest of k independent standard normal draws, for k = 1 to `largest`.

    ``E = int_0^inf (1 - Phi(x)^k) dx - int_-inf^0 Phi(x)^k dx``, by the midpoint rule, accurate to 1e-6.

    Returns:
        Array of shape ``(largest,)``; entry ``k - 1`` belongs to k.
    """
    step = 0.005
    positive = np.arange(step / 2, 10, step)
    power = np.arange(1, largest + 1)[:, None]
    integrand: npt.NDArray[np.float64] = (1 - ndtr(positive) ** power) - ndtr(-positive) ** power
    best: npt.NDArray[np.float64] = integrand.sum(axis=1) * step
    return best


def _decide(
    claim: float, decimals: int, runs: Sequence[float], sigma0: float, delta: float, nu0: float
) -> AbsoluteVerdict:
    """The verdict alone, without the questions that are asked of one verdict only."""
    n = len(runs)
    nu, pooled = _pool(sigma0, nu0, runs)
    mean = _mean(runs)
    excess = max(0.0, abs(mean - claim) - _rounding(decimals))
    half_width = _half_width(n, nu, pooled)
    verdict: AbsoluteName = INCONCLUSIVE
    if not _exceeds(excess, delta):
        verdict = REPRODUCED
    elif _exceeds(excess, half_width):
        verdict = DEVIATES_LOW if mean < claim else DEVIATES_HIGH
    reach = _mean_reach(n, nu, pooled)
    return AbsoluteVerdict(
        verdict=verdict,
        mean=mean,
        excess=excess,
        pooled_sd=pooled,
        half_width=half_width,
        strength="standard" if n >= STANDARD_RUNS else "screen",
        equivalent=not _exceeds(abs(mean - claim) + reach, delta),
        p_value=_two_sided_p(excess, nu, pooled * math.sqrt(1 + 1 / n)),
    )


def _size_verdict(
    gain: float, claimed_gain: float, decimals: int, delta: float, half_width: float
) -> GainName:
    """What a gain that is certainly there says about the size that was claimed."""
    excess = max(0.0, abs(claimed_gain - gain) - 2 * _rounding(decimals))
    if not _exceeds(excess, delta):
        return GAIN_REPRODUCED
    if not _exceeds(excess, half_width):
        return GAIN
    return GAIN_SMALLER if gain < claimed_gain else GAIN_LARGER


def _sign_verdict(lower: float, upper: float) -> GainName:
    """`LOSS`, `GAIN` or `GAIN_UNCLEAR` from an interval of the gain."""
    if _exceeds(0, upper):
        return LOSS
    return GAIN if _exceeds(lower, 0) else GAIN_UNCLEAR


def _runs_needed(excess: float, runs: Sequence[float], sigma0: float, nu0: float) -> int | None:
    """Smallest number of runs whose prediction interval would leave the excess outside."""
    n = len(runs)
    variance = _sum_of_squares(runs) / (n - 1) if n > 1 else sigma0**2
    for more in range(n + 1, MOST_RUNS + 1):
        nu = nu0 + more - 1
        pooled = math.sqrt((nu0 * sigma0**2 + (more - 1) * variance) / nu)
        if _exceeds(excess, _half_width(more, nu, pooled)):
            return more
    return None


def _best_of_k(shortfall: float, pooled: float) -> int | None:
    """Smallest k whose expected best run makes up for the shortfall."""
    reached = np.flatnonzero(_expected_best_table() * pooled >= shortfall)
    return int(reached[0]) + 1 if reached.size else None


@functools.lru_cache(maxsize=1)
def _expected_best_table() -> npt.NDArray[np.float64]:
    return expected_best(LARGEST_K)


def _pool(sigma0: float, nu0: float, *arms: Sequence[float]) -> tuple[float, float]:
    """Degrees of freedom and sd of the arms pooled with the prior."""
    nu = nu0 + sum(len(arm) - 1 for arm in arms)
    if nu <= 0:
        raise ValueError("without a prior (nu0 = 0) one run has no sd: give at least two runs of an arm")
    return nu, math.sqrt((nu0 * sigma0**2 + sum(_sum_of_squares(arm) for arm in arms)) / nu)


def _half_width(n: int, nu: float, pooled: float, level: float = 0.95) -> float:
    return _t((1 + level) / 2, nu) * pooled * math.sqrt(1 + 1 / n)


def _mean_reach(n: int, nu: float, pooled: float) -> float:
    """Half width of the 90 % interval of the mean of n runs."""
    return _t(0.95, nu) * pooled / math.sqrt(n)


def _p_over_all_orders(claimed: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]) -> float:
    """Two-sided p value of tau, counted over all orders of the measured values."""
    from scipy.stats import permutation_test

    one, other = np.triu_indices(len(claimed), 1)
    signs = np.sign(claimed[one] - claimed[other])

    # C - D: what tau is divided by is the same in every order.
    def concordance(order: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
        agreeing: npt.NDArray[np.float64] = (signs * np.sign(order[..., one] - order[..., other])).sum(axis)
        return agreeing

    test = permutation_test(
        (measured,), concordance, permutation_type="pairings", vectorized=True, n_resamples=np.inf
    )
    return float(test.pvalue)


def _two_sided_p(excess: float, nu: float, scale: float) -> float:
    if scale == 0:
        return 0.0 if excess > 0 else 1.0
    return float(2 * stdtr(nu, -excess / scale))


def _mean(values: Sequence[float]) -> float:
    # fsum rounds once, so that the order in which records were read cannot change a digit.
    return math.fsum(values) / len(values)


def _sum_of_squares(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _t(probability: float, nu: float) -> float:
    """Quantile of Student's t; `scipy.special` imports several times faster than `scipy.stats`."""
    return float(stdtrit(nu, probability))


def _rounding(decimals: int) -> float:
    return 0.5 * 10.0**-decimals


def _exceeds(value: float, bound: float) -> bool:
    return value > bound + _ROUNDING_NOISE


def _check_finite(name: str, values: Iterable[float]) -> None:
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"{name}: {value!r} is not a finite number")


def _check_runs(name: str, runs: Sequence[float]) -> None:
    if not len(runs):
        raise ValueError(f"{name}: no runs given, at least one is needed")
    _check_finite(name, runs)


def _check_noise(decimals: int, sigma0: float, delta: float, nu0: float) -> None:
    if decimals < 0:
        raise ValueError(f"decimals: must be 0 or more, got {decimals!r}")
    if not (math.isfinite(sigma0) and sigma0 > 0):
        raise ValueError(f"sigma0: must be a finite number above 0, got {sigma0!r}")
    if not (math.isfinite(delta) and delta >= 0):
        raise ValueError(f"delta: must be a finite number of 0 or more, got {delta!r}")
    if not (math.isfinite(nu0) and nu0 >= 0):
        raise ValueError(f"nu0: must be a finite number of 0 or more, got {nu0!r}")
