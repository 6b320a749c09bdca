"""What an embedded study can tell: how far its students scatter, and how many of its rows are decided."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.evidence.control import StudentAlone
from suite.published.metrics import find_metric
from suite.published.names import TaskName
from suite.verdicts import BLOCKED, GAIN_UNCLEAR, STANDARD_RUNS


@dataclass(frozen=True)
class Spread:
    """How far the students of a task scatter between seeds when they are trained alone.

    Attributes:
        students: how many have three seeds or more.
        median: of their sample sds, points of the metric.
        largest: the largest of them.
        widest: the student that it is of.
        lowest: the lowest mean, where higher is better, else the highest.
        weakest: the student that it is of.
    """

    students: int
    median: float
    largest: float
    widest: str
    lowest: float
    weakest: str


@dataclass(frozen=True)
class Power:
    """What the rows of a study decide.

    Attributes:
        rows: gains on main metrics with three seeds or more; claims of one series count once.
        verdicts: verdict -> how many rows have it.
        half_width: median half width of their 90 % intervals, points; None without a row.
        pairs: teacher and student whose scores are both known.
        ahead: how many of these teachers are above their student alone.
        least_lead: the smallest lead of a teacher, points; None without a pair.
        closest: the pair that it is of.
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
        """How many rows have a verdict other than unclear."""
        return self.rows - self.verdicts.get(GAIN_UNCLEAR, 0)


def spreads(students: Iterable[StudentAlone]) -> dict[TaskName, Spread]:
    """Task -> how far its students scatter; tasks without a student of three seeds are left out."""
    by_task: dict[TaskName, list[StudentAlone]] = {}
    for student in students:
        if len(student.by_seed) >= STANDARD_RUNS:
            by_task.setdefault(student.task, []).append(student)
    return {task: _spread(group) for task, group in by_task.items()}


def power_of(rows: Iterable[Mapping[str, Any]]) -> Power:
    """Counts what rows decide.

    Args:
        rows: of the frame, on embedded data; missing values are None.
    """
    gains: dict[str, Mapping[str, Any]] = {}
    leads: dict[str, float] = {}
    for row in rows:
        if row["origin"] != "claim" or not row["main"]:
            continue
        if row["gain_lower"] is not None and row["gain_verdict"] != BLOCKED:
            gains.setdefault(row["series"], row)
        if row["teacher"] and row["teacher_measured"] is not None and row["student_mean"] is not None:
            pair = f"{row['teacher']} → {row['student']}"
            lead = find_metric(row["metric"]).gain(row["teacher_measured"], row["student_mean"])
            leads[pair] = min(lead, leads.get(pair, lead))
    verdicts = [str(row["gain_verdict"]) for row in gains.values()]
    widths = [(row["gain_upper"] - row["gain_lower"]) / 2 for row in gains.values()]
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
