"""Judges the published number itself against our runs, after the gates that come before any number."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from suite.verdicts.arithmetic import (
    NU0,
    check_finite,
    check_noise,
    check_runs,
    exceeds,
    half_digit,
    mean_of,
    mean_reach,
    pool,
    prediction_reach,
    sum_of_squares,
    two_sided_p,
)

AbsoluteName = Literal[
    "REPRODUCED", "DEVIATES_LOW", "DEVIATES_HIGH", "INCONCLUSIVE", "BLOCKED", "NOT_COMPARABLE"
]
Strength = Literal["screen", "standard"]
REPRODUCED: Final = "REPRODUCED"
DEVIATES_LOW: Final = "DEVIATES_LOW"
DEVIATES_HIGH: Final = "DEVIATES_HIGH"
INCONCLUSIVE: Final = "INCONCLUSIVE"
BLOCKED: Final = "BLOCKED"
NOT_COMPARABLE: Final = "NOT_COMPARABLE"
DEVIATIONS: Final = frozenset({DEVIATES_LOW, DEVIATES_HIGH})
"""The verdicts that ``--strict`` turns into exit status 3."""
WIDER_PRIOR: Final = 1.5
"""Factor on sigma0 for checking whether a deviation survives a wider prior."""
STANDARD_RUNS: Final = 3
"""Fewer runs are only a screen; a paired gain on the embedded data needs this many seeds."""
MOST_RUNS: Final = 100
"""Upper limit of the search for `AbsoluteVerdict.runs_needed`."""
TEACHER_TOLERANCE: Final = 0.1
"""A teacher further than this from its published accuracy, percent points, counts as a different teacher."""
LARGEST_K: Final = 100
"""Upper limit of the search for `AbsoluteVerdict.best_of_k`."""


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
        survives_wider_prior: whether a deviation remains one with 1.5 sigma0; None for other verdicts.
        best_of_k: for `DEVIATES_LOW` the smallest k up to `LARGEST_K` such that the expected best of k
            runs reaches the claim; None if there is none, and for other verdicts.
        runs_needed: for `INCONCLUSIVE` the smallest total number of runs that would decide; see
            `judge_absolute`. None if no number up to `MOST_RUNS` would, and for other verdicts.
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
class Judgement:
    """What the report prints for a claimed number: the gates first, the numbers behind them.

    Attributes:
        verdict: any `AbsoluteName`.
        reason: why the number was not judged, else None.
        marked: whether the runs had listed departures; the printed verdict then has an asterisk.
        numbers: the verdict on the number; None if a gate is closed.
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

    `REPRODUCED` if ``e <= delta``; a deviation if ``e > delta`` and ``e > H``; else `INCONCLUSIVE`: more
    than the margin, yet within the noise.

    `runs_needed`, for `INCONCLUSIVE`, is the smallest ``n' <= MOST_RUNS`` with ``e > H(n')``, if there were
    ``n' > n`` runs in total with the same mean and the same sample sd (one run has none: sigma0 is used
    instead). The margin does not depend on n, so the decision would be a deviation.

    `best_of_k`, for `DEVIATES_LOW`, tells whether selection explains it: ``claim <= m + E[max of k] * s_p``
    with the mean of the largest of k standard normal draws. ``e > H`` puts the claim more than 1.96 s_p
    above the mean, so no k below 25 ever suffices.

    Args:
        claim: the published number, percent.
        decimals: how many decimals it was printed with.
        runs: our numbers, percent, one per seed; at least one (two if `nu0` is 0).
        sigma0: prior sd of one run, percent points.
        delta: practical margin, percent points.
        nu0: weight of the prior in degrees of freedom; 0 ignores it.

    Returns:
        The verdict with the numbers behind it.

    Raises:
        ValueError: an input is missing, not finite or out of range; the message names it.
    """
    check_finite("claim", [claim])
    check_noise(decimals, sigma0, delta, nu0)
    check_runs("runs", runs)
    judged = _decide(claim, decimals, runs, sigma0, delta, nu0)
    if judged.verdict in DEVIATIONS:
        wider = _decide(claim, decimals, runs, WIDER_PRIOR * sigma0, delta, nu0)
        judged = replace(judged, survives_wider_prior=wider.verdict == judged.verdict)
    if judged.verdict == DEVIATES_LOW:
        return replace(judged, best_of_k=_best_of_k(claim - judged.mean, judged.pooled_sd))
    if judged.verdict == INCONCLUSIVE:
        return replace(judged, runs_needed=_runs_needed(judged.excess, runs, sigma0, nu0))
    return judged


def gate(reasons: Sequence[str] = (), comparable: bool = True) -> Judgement | None:
    """Checks the gates before any number.

    Args:
        reasons: reasons not to judge (unlisted difference from the protocol, wrong teacher, checkpoint
            keys, data fingerprint, failed run), one sentence each.
        comparable: whether the runs used the published data.

    Returns:
        `BLOCKED` with the reasons, `NOT_COMPARABLE` for embedded data, or None if the gates are open.
        `BLOCKED` comes first: a run that is not what it claims to be says nothing on any data.
    """
    if reasons:
        return Judgement(BLOCKED, "; ".join(reasons))
    if not comparable:
        return Judgement(NOT_COMPARABLE, "the data are embedded, not the published ones")
    return None


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
    """Judges a claimed number if its gates are open; see `gate` and `judge_absolute`.

    Args:
        claim: the published number, percent.
        decimals: how many decimals it was printed with.
        runs: our numbers, percent; ignored if a gate is closed.
        sigma0: prior sd of one run, percent points.
        delta: practical margin, percent points.
        reasons: reasons not to judge.
        comparable: whether the runs used the published data.
        departures: listed differences from the published protocol; such runs are judged, and marked.
        nu0: weight of the prior in degrees of freedom.

    Raises:
        ValueError: as `judge_absolute`, if the gates are open.
    """
    closed = gate(reasons, comparable)
    if closed is not None:
        return closed
    numbers = judge_absolute(claim, decimals, runs, sigma0, delta, nu0)
    return Judgement(numbers.verdict, marked=bool(departures), numbers=numbers)


def prediction_half_width(
    runs: Sequence[float], sigma0: float = 0.0, nu0: float = NU0, level: float = 0.95
) -> float:
    """Half width of the prediction interval for one more run: ``H`` in `suite.verdicts`, at any level.

    Args:
        runs: our numbers, percent; at least one (two if `nu0` is 0).
        sigma0: prior sd of one run, percent points; ignored if `nu0` is 0.
        nu0: weight of the prior in degrees of freedom; 0 ignores it.
        level: probability that one more run falls inside, in (0, 1).

    Raises:
        ValueError: an input is missing, not finite or out of range; the message names it.
    """
    check_noise(0, sigma0 if nu0 else 1.0, 0.0, nu0)
    check_runs("runs", runs)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    nu, pooled = pool(sigma0 if nu0 else 0.0, nu0, runs)
    return prediction_reach(len(runs), nu, pooled, level)


def mean_interval(runs: Sequence[float], sigma0: float | None = None) -> tuple[float, float] | None:
    """The 90 % interval of the mean of our runs: ``m -+ t(0.95, nu) * s_p / sqrt(n)``.

    Args:
        runs: our numbers, percent.
        sigma0: prior sd of one run, percent points; None if there is none, as on embedded data: then only the
            runs count.

    Returns:
        Both ends; None without a run, or for fewer than three runs without a prior.

    Raises:
        ValueError: a run or sigma0 is not finite or out of range.
    """
    if len(runs) < (STANDARD_RUNS if sigma0 is None else 1):
        return None
    check_runs("runs", runs)
    if sigma0 is not None:
        check_noise(0, sigma0, 0.0, NU0)
    nu, pooled = pool(0.0, 0, runs) if sigma0 is None else pool(sigma0, NU0, runs)
    mean, reach = mean_of(runs), mean_reach(len(runs), nu, pooled)
    return mean - reach, mean + reach


def teacher_reason(metric: str, claimed: float, measured: float) -> str | None:
    """The reason not to judge students of this teacher; None if there is none.

    Args:
        metric: name of the metric, for the sentence.
        claimed: published accuracy of the teacher, percent.
        measured: its accuracy as measured by us, percent.
    """
    if not exceeds(abs(measured - claimed), TEACHER_TOLERANCE):
        return None
    return f"the teacher's {metric} is {measured:.2f}, not {claimed:g} (more than {TEACHER_TOLERANCE} off)"


def expected_best(largest: int) -> npt.NDArray[np.float64]:
    """Mean of the largest of k independent standard normal draws, for k = 1 to `largest`.

    ``E = int_0^inf (1 - Phi(x)^k) dx - int_-inf^0 Phi(x)^k dx``, by the midpoint rule, accurate to 1e-6.

    Returns:
        Array of shape ``(largest,)``; entry ``k - 1`` is the mean for k.
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
    """The verdict, without the attributes that only one verdict has."""
    n = len(runs)
    nu, pooled = pool(sigma0, nu0, runs)
    mean = mean_of(runs)
    excess = max(0.0, abs(mean - claim) - half_digit(decimals))
    half_width = prediction_reach(n, nu, pooled)
    verdict: AbsoluteName = INCONCLUSIVE
    if not exceeds(excess, delta):
        verdict = REPRODUCED
    elif exceeds(excess, half_width):
        verdict = DEVIATES_LOW if mean < claim else DEVIATES_HIGH
    reach = mean_reach(n, nu, pooled)
    return AbsoluteVerdict(
        verdict=verdict,
        mean=mean,
        excess=excess,
        pooled_sd=pooled,
        half_width=half_width,
        strength="standard" if n >= STANDARD_RUNS else "screen",
        equivalent=not exceeds(abs(mean - claim) + reach, delta),
        p_value=two_sided_p(excess, nu, pooled * math.sqrt(1 + 1 / n)),
    )


def _runs_needed(excess: float, runs: Sequence[float], sigma0: float, nu0: float) -> int | None:
    """Smallest number of runs whose prediction interval would exclude the excess."""
    n = len(runs)
    variance = sum_of_squares(runs) / (n - 1) if n > 1 else sigma0**2
    for more in range(n + 1, MOST_RUNS + 1):
        nu = nu0 + more - 1
        pooled = math.sqrt((nu0 * sigma0**2 + (more - 1) * variance) / nu)
        if exceeds(excess, prediction_reach(more, nu, pooled)):
            return more
    return None


def _best_of_k(shortfall: float, pooled: float) -> int | None:
    """Smallest k whose expected best run covers the shortfall."""
    reached = np.flatnonzero(_expected_best_table() * pooled >= shortfall)
    return int(reached[0]) + 1 if reached.size else None


@functools.lru_cache(maxsize=1)
def _expected_best_table() -> npt.NDArray[np.float64]:
    return expected_best(LARGEST_K)
