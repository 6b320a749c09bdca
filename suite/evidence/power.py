"""The power of an embedded study: the spread of its students, how many rows it decides, and its time."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.evidence.control import StudentAlone
from suite.planning.plan import Run
from suite.published.metrics import find_metric
from suite.published.names import TaskName
from suite.store.summaries import Evidence
from suite.verdicts import BLOCKED, GAIN_UNCLEAR, STANDARD_RUNS


@dataclass(frozen=True)
class Spread:
    """The spread between seeds of the students of a task when trained alone.

    Attributes:
        students: number of students with three seeds or more.
        median: median of their sample sds, points of the metric.
        largest: largest of their sample sds.
        widest: the student with that sd.
        lowest: the worst mean: the lowest if higher is better, otherwise the highest.
        weakest: the student with that mean.
    """

    students: int
    median: float
    largest: float
    widest: str
    lowest: float
    weakest: str


@dataclass(frozen=True)
class Power:
    """How many rows of a study are decided, and by how much its teachers lead.

    Attributes:
        rows: number of gains on main metrics with three seeds or more; claims that share a series count once.
        verdicts: verdict -> number of rows that have it.
        half_width: median half width of their 90 % intervals, points; None without a row.
        pairs: number of pairs of teacher and student whose scores are both known. A network that teaches
            another of its kind, as in Tf-KD's self-training, cannot lead and is no pair.
        ahead: how many of these teachers are better than their student alone.
        least_lead: the smallest lead of a teacher, points; None without a pair. The lead of a pair is taken
            from the claim whose student alone has the most seeds.
        closest: the pair with that lead.
    """

    rows: int
    verdicts: Mapping[str, int]
    half_width: float | None
    pairs: int
    ahead: int
    least_lead: float | None
    closest: str | None

    @property
    def decided(self) -> int:
        """Number of rows with a verdict other than unclear."""
        return self.rows - self.verdicts.get(GAIN_UNCLEAR, 0)


@dataclass(frozen=True)
class SeedTime:
    """How long one seed of a study takes on embedded data.

    Attributes:
        trainings: number of runs, with teachers and backbones.
        recorded: how many of them have a finished run, with any seed.
        core_hours: time of these, scoring included. A run on embedded data has one core.
    """

    trainings: int
    recorded: int
    core_hours: float


def spreads(students: Iterable[StudentAlone]) -> dict[TaskName, Spread]:
    """Task -> spread of its students; tasks without a student that has three seeds are left out."""
    by_task: dict[TaskName, list[StudentAlone]] = {}
    for student in students:
        if len(student.by_seed) >= STANDARD_RUNS:
            by_task.setdefault(student.task, []).append(student)
    return {task: _spread(group) for task, group in by_task.items()}


def power_of(rows: Iterable[Mapping[str, Any]]) -> Power:
    """Counts the decided rows and the leads of teachers.

    Args:
        rows: rows of the frame, on embedded data; missing values are None.
    """
    gains: dict[str, Mapping[str, Any]] = {}
    pairs: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["origin"] != "claim" or not row["main"]:
            continue
        if row["gain_lower"] is not None and row["gain_verdict"] != BLOCKED:
            gains.setdefault(row["series"], row)
        if row["teacher"] in (None, row["student"]):
            continue
        if row["teacher_measured"] is not None and row["student_mean"] is not None:
            pair = f"{row['teacher']} → {row['student']}"
            if pair not in pairs or row["student_n"] > pairs[pair]["student_n"]:
                pairs[pair] = row
    verdicts = [str(row["gain_verdict"]) for row in gains.values()]
    widths = [(row["gain_upper"] - row["gain_lower"]) / 2 for row in gains.values()]
    leads = {
        pair: find_metric(row["metric"]).gain(row["teacher_measured"], row["student_mean"])
        for pair, row in pairs.items()
    }
    closest = min(leads, key=lambda pair: leads[pair], default=None)
    return Power(
        rows=len(gains),
        verdicts={verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        half_width=statistics.median(widths) if widths else None,
        pairs=len(leads),
        ahead=sum(lead > 0 for lead in leads.values()),
        least_lead=leads[closest] if closest else None,
        closest=closest,
    )


def seed_time(runs: Iterable[Run], records: Iterable[Evidence]) -> SeedTime:
    """Adds up how long the runs of one seed take.

    Args:
        runs: of a plan with one seed.
        records: the store. A run is taken to last for the median time of the finished runs of its series.
    """
    seconds: dict[str, list[float]] = {}
    for record in records:
        if record.status == "finished" and "wall" in record.timings:
            seconds.setdefault(record.series, []).append(record.timings["wall"])
    needed = {run.series for run in runs}
    recorded = [statistics.median(seconds[series]) for series in needed & seconds.keys()]
    return SeedTime(len(needed), len(recorded), sum(recorded) / 3600)


def _spread(students: Sequence[StudentAlone]) -> Spread:
    sds = {student: statistics.stdev(student.by_seed.values()) for student in students}
    means = {student: statistics.fmean(student.by_seed.values()) for student in students}
    widest = max(students, key=lambda student: sds[student])
    weakest = min(students, key=lambda student: find_metric(student.metric).sign * means[student])
    return Spread(
        students=len(students),
        median=statistics.median(sds.values()),
        largest=sds[widest],
        widest=widest.name,
        lowest=means[weakest],
        weakest=weakest.name,
    )
