"""Compares two sets of records: two commits, two series, or two stores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from suite.evidence.points import Row, rows_of
from suite.published.finding import claims_by_id
from suite.published.metrics import find_metric
from suite.published.priors import find_prior, why_absent
from suite.store.record import Record, standing_by_run
from suite.verdicts import (
    GAIN_UNCLEAR,
    STANDARD_RUNS,
    TEACHER_TOLERANCE,
    GainName,
    judge_gain,
    judge_gain_sign,
    mean_of,
)

COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")
SERIES: Final = re.compile(r"[0-9a-f]{16}")

Presence = Literal["both", "only A", "only B"]


@dataclass(frozen=True)
class Difference:
    """One metric of one row in both sets.

    Attributes:
        row: the row in words.
        metric: name of the metric.
        presence: which of the sets have it.
        mean_a: mean over the runs of A; None if it has none.
        n_a: number of runs of A.
        mean_b: mean over the runs of B; None if it has none.
        n_b: number of runs of B.
        difference: mean of B minus mean of A; on embedded data the mean difference over the seeds that both
            have.
        lower: lower end of its 90 % interval; for a scored checkpoint, of the tolerance around it.
        upper: upper end of that interval.
        verdict: whether B is better than A: `GAIN`, `LOSS` or `GAIN_UNCLEAR`.
        reason: why there is no interval.
    """

    row: str
    metric: str
    presence: Presence
    mean_a: float | None
    n_a: int
    mean_b: float | None
    n_b: int
    difference: float | None = None
    lower: float | None = None
    upper: float | None = None
    verdict: GainName | None = None
    reason: str | None = None

    @property
    def moved(self) -> bool:
        """Whether chance does not explain the difference, or only one of the sets has the row."""
        return self.presence != "both" or self.verdict not in (None, GAIN_UNCLEAR)


def of_commit(records: Iterable[Record], commit: str) -> list[Record]:
    """The records of runs with a commit, given by the beginning of its hash."""
    return [record for record in records if (record.provenance.commit or "").startswith(commit)]


def of_series(records: Iterable[Record], series: str) -> list[Record]:
    """The records of a series."""
    return [record for record in records if record.series == series]


def compare(first: Iterable[Record], second: Iterable[Record]) -> list[Difference]:
    """Compares the measurements of two sets of records, row by row.

    On published data the difference is judged like a gain, with the noise prior of the metric
    (`suite.verdicts.judge_gain`); on embedded data without a prior, paired by seed (`judge_gain_sign`). A
    scored checkpoint has moved if its score differs by more than `TEACHER_TOLERANCE`.

    Args:
        first: records of A.
        second: records of B.

    Returns:
        One difference per row and metric, sorted by the names of the rows.
    """
    a, b = _measured(first), _measured(second)
    keys = sorted(a.keys() | b.keys(), key=lambda key: (key[0].title, key[0].arm, key[1]))
    return [_difference(key, a.get(key, []), b.get(key, [])) for key in keys]


_Key = tuple[Row, str]


def _measured(records: Iterable[Record]) -> dict[_Key, list[Record]]:
    """Row and metric -> the finished runs that measured it."""
    found: dict[_Key, list[Record]] = {}
    for record in standing_by_run(records).values():
        if record.status == "finished":
            for row, _ in rows_of(record):
                for metric in record.metrics:
                    found.setdefault((row, metric), []).append(record)
    return found


def _difference(key: _Key, first: Sequence[Record], second: Sequence[Record]) -> Difference:
    row, metric = key
    a, b = ([record.metrics[metric] for record in records] for records in (first, second))
    presence: Presence = "both" if a and b else "only A" if a else "only B"
    means = [mean_of(values) if values else None for values in (a, b)]
    shared = (row.title, metric, presence, means[0], len(a), means[1], len(b))
    if presence != "both":
        return Difference(*shared)
    difference = mean_of(b) - mean_of(a)
    if row.arm == "released":
        return Difference(*shared, difference, *_scored(metric, difference))
    if not all(record.comparable for record in (*first, *second)):
        return Difference(*shared, *_paired(metric, _by_seed(first, metric), _by_seed(second, metric)))
    dataset = claims_by_id()[row.subject].dataset
    prior = find_prior(dataset, metric)
    if prior is None:
        return Difference(*shared, difference, reason=why_absent(dataset, metric))
    sign = find_metric(metric).sign
    judged = judge_gain(None, 0, [sign * x for x in b], [sign * x for x in a], prior.sigma0, prior.delta)
    return Difference(*shared, difference, *_ends(sign, judged.lower, judged.upper), judged.verdict)


def _scored(metric: str, difference: float) -> tuple[float, float, GainName]:
    """Judges the score of a checkpoint, which is not retrained and so may differ by the tolerance only."""
    sign = find_metric(metric).sign
    lower, upper = difference - TEACHER_TOLERANCE, difference + TEACHER_TOLERANCE
    if lower <= 0 <= upper:
        return lower, upper, GAIN_UNCLEAR
    return lower, upper, "GAIN" if sign * difference > 0 else "LOSS"


def _paired(
    metric: str, first: Mapping[int, float], second: Mapping[int, float]
) -> tuple[float | None, float | None, float | None, GainName, str | None]:
    """Judges the sign of the difference on embedded data, over the seeds that both have."""
    sign = find_metric(metric).sign
    judged = judge_gain_sign(
        {seed: sign * value for seed, value in second.items()},
        {seed: sign * value for seed, value in first.items()},
    )
    if judged.gain is None:
        return None, None, None, judged.verdict, "no seed in common"
    difference = sign * judged.gain
    if judged.lower is None or judged.upper is None:
        return difference, None, None, judged.verdict, f"fewer than {STANDARD_RUNS} seeds in common"
    return difference, *_ends(sign, judged.lower, judged.upper), judged.verdict, None


def _ends(sign: int, lower: float, upper: float) -> tuple[float, float]:
    """Converts the interval of a gain into that of the difference."""
    return (lower, upper) if sign > 0 else (-upper, -lower)


def _by_seed(records: Sequence[Record], metric: str) -> dict[int, float]:
    """Seed -> mean over its repetitions."""
    found: dict[int, list[float]] = {}
    for record in records:
        found.setdefault(record.seed, []).append(record.metrics[metric])
    return {seed: mean_of(values) for seed, values in found.items()}
