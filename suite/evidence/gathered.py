"""Gathers the records of a store that count for each arm of a claim."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from suite.contract import Arm
from suite.evidence.served import ClaimArm, known_trainings
from suite.published.metrics import find_metric
from suite.store.record import standing_by_run
from suite.store.summaries import Evidence
from suite.verdicts import mean_of


@dataclass(frozen=True)
class Measured:
    """The newest series of records of one arm of a claim.

    Attributes:
        runs: one record per seed, sorted by seed: the first repetition that finished, or else the last.
        repeated: finished runs that repeat one of `runs`.
        older: finished runs of earlier series (another recipe, version or release), which do not count;
            latest series first.
    """

    runs: tuple[Evidence, ...] = ()
    repeated: tuple[Evidence, ...] = ()
    older: tuple[Evidence, ...] = ()

    @property
    def status(self) -> str:
        """`not run`, `failed`, `blocked` or `finished`; the worst of the runs."""
        found = {run.status for run in self.runs}
        return next((status for status in ("failed", "blocked", "finished") if status in found), "not run")

    @cached_property
    def finished(self) -> tuple[Evidence, ...]:
        """The finished runs."""
        return tuple(run for run in self.runs if run.status == "finished")

    @property
    def comparable(self) -> bool:
        """Whether every finished run used the published data."""
        return all(run.comparable for run in self.finished)

    @property
    def departures(self) -> list[str]:
        """Listed departures of any finished run, without repeats."""
        return sorted({str(departure) for run in self.finished for departure in run.departures})

    @property
    def skipped(self) -> list[str]:
        """What data loading skipped in any finished run, with the number: ``empty boxes (3)``."""
        found = sorted({what for run in self.finished for what, count in run.skipped.items() if count})
        counts = {what: [run.skipped.get(what, 0) for run in self.finished] for what in found}
        return [f"{what} ({_range(numbers)})" for what, numbers in counts.items()]

    @property
    def faults(self) -> list[str]:
        """Why runs do not count: one sentence for each cause, with its seeds."""
        seeds: dict[tuple[str, str], list[str]] = {}
        for run in self.runs:
            causes = [
                f"{name} is not a finite number" for name, x in run.metrics.items() if not math.isfinite(x)
            ]
            if run.status != "finished":
                causes.append(f"{run.status}: {run.error or 'no error recorded'}")
            for cause in causes:
                seeds.setdefault((run.arm, cause), []).append(str(run.seed))
        return [f"{arm} run, seed {', '.join(where)}: {cause}" for (arm, cause), where in seeds.items()]

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> finite metric of the finished runs that report it."""
        return {
            run.seed: run.metrics[metric]
            for run in self.finished
            if metric in run.metrics and math.isfinite(run.metrics[metric])
        }

    def oriented(self, metric: str) -> dict[int, float]:
        """Like `by_seed`, with the sign that makes higher better: differences of two arms are gains."""
        sign = find_metric(metric).sign
        return {seed: sign * value for seed, value in self.by_seed(metric).items()}

    def mean(self, metric: str) -> float | None:
        """Mean over the runs; None when no run reports the metric."""
        values = [
            run.metrics[metric] for run in self.finished if math.isfinite(run.metrics.get(metric, math.nan))
        ]
        return mean_of(values) if values else None

    def history(self, metric: str) -> list[str]:
        """The results of earlier series, latest first: ``20.00 (2 runs, 2026-11-01)``."""
        series: dict[str, list[Evidence]] = {}
        for run in self.older:
            if math.isfinite(run.metrics.get(metric, math.nan)):
                series.setdefault(run.series, []).append(run)
        return [
            f"{mean_of([run.metrics[metric] for run in runs]):.2f} ({len(runs)} run{'s' * (len(runs) > 1)}, "
            f"{max(run.finished_at for run in runs)[:10]})"
            for runs in series.values()
        ]

    def by_class(self, metric: str) -> dict[str, list[float]]:
        """Class -> the finite results of the finished runs, by seed; classes in the order of the records."""
        found: dict[str, list[float]] = {}
        for run in self.finished:
            for name, value in run.per_class.get(metric, {}).items():
                if math.isfinite(value):
                    found.setdefault(name, []).append(value)
        return found


Arms = Mapping[ClaimArm, Measured]
"""Arm of a claim -> what was measured."""


def measured_arms(records: Iterable[Evidence], profile: str) -> Arms:
    """Finds the records that count for every claim and arm.

    A record counts for the claims that it serves (`suite.evidence.served`). If several series (runs that
    differ in more than the seed) serve one arm, the recipe, the data or the versions have changed in between:
    only the series with the latest record counts, and the others are kept as `Measured.older`.

    Args:
        records: the store, in any order.
        profile: only records of this profile are used.
    """
    trainings = known_trainings()
    served: dict[ClaimArm, dict[str, list[Evidence]]] = {}
    for record in standing_by_run(record for record in records if record.profile == profile).values():
        for entry in trainings.served_by(record):
            served.setdefault(entry, {}).setdefault(record.series, []).append(record)
    return {key: _newest_series(by_series) for key, by_series in served.items()}


def by_claim(arms: Arms) -> dict[str, dict[ClaimArm, Measured]]:
    """Claim -> its arms: its own runs before its variants, each in the order of `suite.contract.Arm`."""
    order = get_args(Arm)
    found: dict[str, dict[ClaimArm, Measured]] = {}
    for entry in sorted(arms, key=lambda entry: (entry[2], order.index(entry[1]))):
        found.setdefault(entry[0], {})[entry] = arms[entry]
    return found


def counted_runs(arms: Arms, claims: Container[str]) -> list[Evidence]:
    """The runs that count for the given claims, each once, in the order of the arms.

    Args:
        arms: result of `measured_arms`.
        claims: ids of the claims.
    """
    runs = [run for (claim, *_), measured in arms.items() if claim in claims for run in measured.runs]
    return list({(run.run_id, run.attempt): run for run in runs}.values())


def _newest_series(by_series: dict[str, list[Evidence]]) -> Measured:
    def age(series: str) -> tuple[str, str]:
        return max(record.finished_at for record in by_series[series]), series

    newest, *before = sorted(by_series, key=age, reverse=True)
    runs: dict[int, Evidence] = {}
    repeated: list[Evidence] = []
    for record in sorted(by_series[newest], key=lambda record: (record.seed, record.repetition)):
        standing = runs.get(record.seed)
        if standing is None or standing.status != "finished":
            runs[record.seed] = record
        elif record.status == "finished":
            repeated.append(record)
    older = [record for series in before for record in by_series[series] if record.status == "finished"]
    return Measured(tuple(runs.values()), tuple(repeated), tuple(older))


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
