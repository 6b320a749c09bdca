"""What embedded data can tell: the spread of students, how many rows are decided, and the A/A control."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from suite.evidence.control import (
    EPOCHS,
    SEEDS,
    NullComparison,
    PlantedEffect,
    StudentAlone,
    false_alarms,
    null_comparisons,
    planted_effects,
    students_alone,
)
from suite.evidence.frame import build_frame, rows_of
from suite.evidence.gathered import measured_arms
from suite.evidence.power import Power, SeedTime, power_of, seed_time, spreads
from suite.planning.plan import make_plan
from suite.published.claims import Paper
from suite.report.cells import Row, interval, many, p_value, percent, signed, task_cell, tone_of
from suite.report.layout import Cell, Grid, Line, Section
from suite.store.summaries import Evidence
from suite.verdicts import GAIN, GAIN_UNCLEAR, LOSS, NO_CHANGE, STANDARD_RUNS, PooledGain

TITLE: Final = "What this study can tell"
STUDENT_HEADINGS: Final = ("task", "students", "median sd", "largest sd", "lowest mean")
ROW_HEADINGS: Final = ("metric", "rows", GAIN, LOSS, NO_CHANGE, GAIN_UNCLEAR, "decided", "median half width")
CONTROL_HEADINGS: Final = ("student", "task", "seeds", "metric", "gain (90 % interval)", "verdict")
PLANTED_HEADINGS: Final = ("student", "task", "epochs", "seeds", "metric", "gain (90 % interval)", "verdict")
TIME_HEADINGS: Final = ("paper", "trainings of one seed", "with records", "core-hours of these")

_DECIDED: Final = (
    "A row is decided when its gain is above zero, below zero, or certainly within the margin. Claims that "
    "share the same runs count as one row."
)
_EXPECTED: Final = (
    "Trained for twice as many epochs a student must be a GAIN over its recipe, for half as many a LOSS"
)
_PLANT: Final = f"'reproduce --claim ID {EPOCHS}N --seeds {STANDARD_RUNS}'"


def study_of_all(papers: Iterable[Paper], records: Sequence[Evidence], profile: str) -> Section | None:
    """The section for all papers together; see `study_sections`.

    Args:
        papers: all of them.
        records: the store.
        profile: which records count.

    Returns:
        The section; None if no student was trained alone on embedded data.

    Raises:
        SuiteError: a recipe does not compose.
    """
    papers = list(papers)
    claims = [claim for paper in papers for claim in paper.claims]
    arms = measured_arms(records, profile)
    if not (students := students_alone(claims, arms)):
        return None
    rows = rows_of(build_frame(papers, records, profile, arms))
    planted = planted_effects(claims, arms, profile)
    plans = {paper.id: make_plan(paper.claims, profile, 1) for paper in papers}
    times = {paper: seed_time(plan.runs.values(), records) for paper, plan in plans.items()}
    return next(study_sections(students, rows, planted, "all papers", times))


def study_sections(
    students: Sequence[StudentAlone],
    rows: Iterable[Row],
    planted: Sequence[PlantedEffect] = (),
    whose: str = "this paper",
    times: Mapping[str, SeedTime] = MappingProxyType({}),
) -> Iterator[Section]:
    """The section on the power of the embedded study and on its control; none without a student alone.

    Args:
        students: trained alone, of all papers.
        rows: of the frame.
        planted: effects whose sign is known, of all papers.
        whose: the papers that the rows belong to, in words.
        times: paper -> time of one seed.
    """
    if not students:
        return
    comparisons = null_comparisons(students)
    grids = [
        *_students(students),
        *_rows(tuple(rows), whose),
        *_control(comparisons),
        *_planted(planted),
        *_times(times),
    ]
    missing = "" if planted else f" {_EXPECTED}; no such runs yet ({_PLANT})."
    yield Section(TITLE, tuple(grids), f"{_alarms(comparisons)}{missing}")


def _students(students: Sequence[StudentAlone]) -> Iterator[Grid]:
    lines = [
        Line(
            (
                task_cell(task),
                str(spread.students),
                percent(spread.median),
                f"{percent(spread.largest)} ({spread.widest})",
                f"{percent(spread.lowest)} ({spread.weakest})",
            )
        )
        for task, spread in spreads(students).items()
    ]
    if lines:
        yield Grid(
            STUDENT_HEADINGS,
            tuple(lines),
            "Students alone of all papers, with the sd over three or more seeds:",
        )


def _rows(rows: Sequence[Row], whose: str) -> Iterator[Grid]:
    total = power_of(rows)
    if not total.rows:
        return
    by_metric: dict[str, list[Row]] = {}
    for row in rows:
        by_metric.setdefault(row["metric"], []).append(row)
    powers = {metric: power_of(group) for metric, group in by_metric.items()}
    lines = [_decided(metric, power) for metric, power in powers.items() if power.rows]
    if len(lines) > 1:
        lines.append(_decided("all", total))
    note = _DECIDED
    if total.least_lead is not None:
        note += (
            f" The teacher beats the student alone in {total.ahead} of {many(total.pairs, 'pair')}; the "
            f"smallest lead is {signed(total.least_lead)} points ({total.closest})."
        )
    yield Grid(ROW_HEADINGS, tuple(lines), f"Gains of {whose}, with three or more seeds:", note=note)


def _decided(metric: str, power: Power) -> Line:
    counts = [str(power.verdicts.get(verdict, 0)) for verdict in (GAIN, LOSS, NO_CHANGE, GAIN_UNCLEAR)]
    decided = f"{power.decided / power.rows:.0%}"
    return Line((metric, str(power.rows), *counts, decided, percent(power.half_width)))


def _times(times: Mapping[str, SeedTime]) -> Iterator[Grid]:
    lines = [
        Line((paper.upper(), str(time.trainings), str(time.recorded), f"{time.core_hours:.1f}"))
        for paper, time in times.items()
    ]
    if lines:
        note = "Median over the seeds with records; a training has one core. Papers share trainings."
        yield Grid(TIME_HEADINGS, tuple(lines), "Time of one seed:", note=note)


def _control(comparisons: Sequence[NullComparison]) -> Iterator[Grid]:
    if comparisons:
        title = f"{many(len(comparisons), 'A/A comparison')} of students alone"
        yield Grid(CONTROL_HEADINGS, tuple(map(_comparison, comparisons)), title, folded=True)


def _comparison(comparison: NullComparison) -> Line:
    student = comparison.student
    over = " over ".join(_seeds(seeds) for seeds in comparison.seeds)
    return Line((student.name, task_cell(student.task), over, student.metric, *_judged(comparison.judged)))


def _planted(effects: Sequence[PlantedEffect]) -> Iterator[Grid]:
    if effects:
        title = f"{many(len(effects), 'planted effect')}: students alone, trained twice or half as long"
        found = sum(effect.is_found for effect in effects)
        note = f"{_EXPECTED}: {found} of {len(effects)} came out so."
        yield Grid(PLANTED_HEADINGS, tuple(map(_effect, effects)), title, note=note)


def _effect(effect: PlantedEffect) -> Line:
    student = effect.student
    about = (
        student.name,
        task_cell(student.task),
        f"x {effect.times:g}",
        _seeds(effect.seeds),
        student.metric,
    )
    return Line((*about, *_judged(effect.judged)))


def _seeds(seeds: Iterable[int]) -> str:
    return " ".join(map(str, seeds))


def _judged(judged: PooledGain) -> tuple[str, Cell]:
    """The cells of a gain: with its interval, and the verdict on it."""
    gain = f"{signed(judged.gain)} ({interval(judged.lower, judged.upper, sign='+')})"
    return gain, Cell(judged.verdict, tone_of(judged.verdict))


def _alarms(comparisons: Sequence[NullComparison]) -> str:
    """The A/A control in a sentence."""
    found = false_alarms(comparisons)
    if found is None:
        return (
            "The A/A control judges students alone as if half of their seeds were distilled. It needs "
            f"{SEEDS} seeds per student, which no student has yet."
        )
    return (
        "The A/A control judges students alone as if half of their seeds were distilled: "
        f"{found.excluding} of {many(found.comparisons, 'interval')} exclude zero, {found.share:.0%} "
        f"(95 % interval {found.lower:.0%} to {found.upper:.0%}), where 10 % should; as many or more occur "
        f"by chance with p = {p_value(found.p_value)}."
    )
