"""Estimates the noise of gains on embedded data, which the rows of a task share.

The rows are those of all papers at one profile, whichever of them a report shows, so that a row has the same
verdict in every report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from suite.evidence.gathered import Arms, Measured
from suite.published.claims import Claim
from suite.published.names import MetricName, TaskName
from suite.verdicts import SharedNoise, pairing_correlation, shared_noise

Kind: TypeAlias = tuple[TaskName, MetricName]
"""Task and metric; rows of one kind share their noise."""

Pairs: TypeAlias = dict[int, tuple[float, float]]
"""Seed -> metric of the distilled student and of the student alone, with signs that make higher better."""


@dataclass(frozen=True)
class KindNoise:
    """The noise of one metric over the rows of one task.

    Attributes:
        shared: the noise of their gains.
        correlation: correlation of both arms over the seeds (`suite.verdicts.pairing_correlation`).
    """

    shared: SharedNoise
    correlation: float | None


def pairs_of(metric: MetricName, distilled: Measured, alone: Measured) -> Pairs:
    """The metrics of both arms for every seed that both have, in the order of the seeds."""
    first, second = distilled.oriented(metric), alone.oriented(metric)
    return {seed: (first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())}


def gains_of(pairs: Pairs) -> list[float]:
    """The gain of the distilled student over the student alone, seed by seed."""
    return [distilled - alone for distilled, alone in pairs.values()]


def embedded_noise(claims: Iterable[Claim], arms: Arms) -> dict[Kind, KindNoise]:
    """Estimates the noise of every task and metric that was measured on embedded data.

    Args:
        claims: the claims of all papers.
        arms: what was measured at one profile.

    Returns:
        Task and metric -> noise, if any row has two seeds or more. Claims that share both series are one row;
        those with a failed run are left out.
    """
    rows: dict[Kind, dict[str, Pairs]] = {}
    for claim in claims:
        for metric, name, pairs in _rows_of(claim, arms):
            rows.setdefault((claim.task, metric), {})[name] = pairs
    found = {}
    for kind, by_name in rows.items():
        shared = shared_noise({name: gains_of(pairs) for name, pairs in by_name.items()})
        if shared is not None:
            values = {name: list(pairs.values()) for name, pairs in by_name.items()}
            found[kind] = KindNoise(shared, pairing_correlation(values))
    return found


def _rows_of(claim: Claim, arms: Arms) -> Iterator[tuple[MetricName, str, Pairs]]:
    """Metric, name of the pair of series, and pairs of a claim on embedded data."""
    if not (claim.judged and claim.kind.distilled):
        return
    distilled, alone = arms.get((claim.id, "distilled", ())), arms.get((claim.id, "student", ()))
    if distilled is None or alone is None or distilled.faults or alone.faults:
        return
    if distilled.comparable and alone.comparable:
        return
    for metric in claim.metrics:
        yield (
            metric,
            f"{distilled.runs[0].series} over {alone.runs[0].series}",
            pairs_of(metric, distilled, alone),
        )
