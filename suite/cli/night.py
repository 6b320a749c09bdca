"""What one night does: runs its tiers within its time, and notes, publishes and tells what came of them."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from suite.catalogue import check_python_files
from suite.cli import loss_tier, standing_issue, tiers
from suite.cli.output import NORMAL
from suite.cli.tiers import Selection, Step
from suite.doctor import lacks_training
from suite.errors import SuiteError
from suite.evidence.history import FILE, append, append_missing, read_history
from suite.evidence.labels import INSUFFICIENT_DATA, Status, expectation_of, judge
from suite.evidence.points import LOSS, Point, Row, night_of
from suite.evidence.trajectories import file_of
from suite.paths import records_dir, results_dir, work_dir
from suite.published.changes import read_changes
from suite.report.cells import many
from suite.report.nightly import Night
from suite.running.engine import Engine
from suite.running.launchers.local import LocalLauncher, settled_device
from suite.running.progress import Progress
from suite.store.records import Record, read_all
from suite.store.run_folders import RunFolder, lead_to


@dataclass(frozen=True)
class Request:
    """What is asked of a night.

    Attributes:
        tiers: which, in their order.
        chosen: what they are about.
        hours: that the whole night may take.
        device: `cuda` or `cpu`.
        jobs: runs side by side; None: as many as the device takes.
        command: the command line, for the records.
        writes_trajectories: whether the tier `loss` stores what it finds, and compares nothing.
        verbosity: how much is said of progress (`suite.cli.output`).
    """

    tiers: Sequence[str]
    chosen: Selection
    hours: float
    device: str
    jobs: int | None
    command: str
    writes_trajectories: bool = False
    verbosity: int = NORMAL


class OutOfTimeError(Exception):
    """The night's time is spent."""


@dataclass
class Course:
    """How the night goes.

    Attributes:
        until: when its time is spent, by `time.monotonic`.
        failed: run in words -> why it did not finish.
        faults: what kept a tier from running, the page from being written, or anybody from being told.
        notes: what a reader must know.
        awaited: rows that should have a new point.
        unknown: rows that nothing is stored to compare with.
        fresh: how many points are new.
    """

    until: float
    failed: dict[str, str] = field(default_factory=dict)
    faults: list[SuiteError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    awaited: list[Row] = field(default_factory=list)
    unknown: list[Row] = field(default_factory=list)
    fresh: int = 0

    @classmethod
    def of(cls, request: Request) -> Course:
        """A night that begins now."""
        return cls(time.monotonic() + 3600 * request.hours)

    def hours_left(self, jobs: int | None) -> float:
        """Device-hours that are left: runs side by side have a device, or a core, each."""
        return max(0.0, self.until - time.monotonic()) / 3600 * (jobs or 1)


def carry_out(request: Request) -> Course:
    """Runs the tiers, appends to the history, publishes the page and then tells.

    What keeps a step from being made is noted, and the next one is made all the same.

    Raises:
        SuiteError: a record or the history is damaged, so that nothing can be judged.
        KeyboardInterrupt: passed on after what was running has been stopped.
    """
    course = Course.of(request)
    _measure(request, course)
    night = judged(request, course, _whole_history(course))
    for step in (_publish, _tell):
        try:
            step(night)
        except SuiteError as fault:
            course.faults.append(fault)
    return course


def _measure(request: Request, course: Course) -> None:
    """Executes the tiers, and appends to the history after each step of them."""
    try:
        device = settled_device(request.device)
        if lacks_training():
            raise SuiteError("nothing can be measured without PyTorch and the mm packages: see 'doctor'")
        check_python_files()
    except SuiteError as fault:
        course.faults.append(fault)
        return
    for tier in request.tiers:
        try:
            if tier == LOSS:
                _look_at_losses(request, device, course)
                continue
            for step in steps(tier, request, course):
                course.awaited += step.awaited
                _execute(step, request, device, course)
                _append(course)
        except OutOfTimeError:
            course.notes.append(f"Out of time in tier {tier}: the next night resumes from there.")
            return
        except SuiteError as fault:
            course.faults.append(fault)


def _look_at_losses(request: Request, device: str, course: Course) -> None:
    """Holds the first steps of distilled runs against stored trajectories, or stores what they come to.

    Raises:
        OutOfTimeError: before they were through; what was looked at is in the history.
        SuiteError: trajectories or history are damaged, cannot be written, or a process was killed.
    """
    with alarm(course.until - time.monotonic()):
        if request.writes_trajectories:
            _store_trajectories(request, device, course)
            return
        for compared in loss_tier.compare(request.chosen, device, request.jobs):
            if compared.error is not None:
                course.failed[compared.run.label] = compared.error
            elif compared.step is None:
                course.unknown += compared.rows
                continue
            course.awaited += compared.rows
            _append(course, functools.partial(loss_tier.points_of, compared, device))


def _store_trajectories(request: Request, device: str, course: Course) -> None:
    path = file_of(results_dir(), device)
    try:
        written, failed = loss_tier.write(request.chosen, device, request.jobs)
    except OSError as error:
        raise SuiteError(f"cannot write {path} ({error.strerror}); make room there") from None
    course.failed |= failed
    course.notes.append(f"Trajectories of {many(len(written), 'row')} were written to {path}.")


def steps(tier: str, request: Request, course: Course) -> Iterator[Step]:
    """What a tier executes, planned as its turn comes."""
    chosen, records = request.chosen, stored_records()
    if tier == "score":
        yield tiers.score(chosen, records)
    elif tier == "smoke":
        yield tiers.smoke(chosen, records)
    else:
        yield tiers.next_trainings(chosen, records, course.hours_left(request.jobs))
        # What has just been trained is no older than tonight.
        left = course.hours_left(request.jobs)
        yield tiers.oldest_again(chosen, stored_records(), read_history(history_file()), left)


def _execute(step: Step, request: Request, device: str, course: Course) -> None:
    """Executes the runs of a step.

    Raises:
        OutOfTimeError: before they were through; what was begun goes on from its newest checkpoint.
        SuiteError: a record cannot be read, or the store cannot be written to.
    """
    runs = step.plan.runs
    if not runs:
        course.notes.append(f"Tier {step.tier}: there was nothing to run.")
        return
    for run_id, weights in step.links.items():
        lead_to(RunFolder(work_dir(), run_id), weights)
    progress = Progress(verbosity=request.verbosity)
    launcher = LocalLauncher(device, request.jobs)
    engine = Engine(step.plan, request.command, launcher, progress, lambda: None)
    try:
        with alarm(course.until - time.monotonic()):
            engine.execute()
    finally:
        course.failed |= {runs[run_id].label: why for run_id, why in engine.outcome.failed.items()}


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Interrupts what goes on when the time is up.

    Raises:
        OutOfTimeError: it is.
    """

    def ring(number: int, frame: object) -> None:
        raise OutOfTimeError

    if seconds <= 0:
        raise OutOfTimeError
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _whole_history(course: Course) -> list[Point]:
    """The history with all there is; nothing of it where it cannot be read or written."""
    try:
        return _append(course)
    except SuiteError as fault:
        course.faults.append(fault)
        return []


def _append(course: Course, fresh_of: Callable[[Sequence[Point]], list[Point]] | None = None) -> list[Point]:
    """Appends to the history, and returns all of it.

    Args:
        course: takes in what was found.
        fresh_of: as `suite.evidence.history.append` has it; None: what it lacks of the records.

    Raises:
        SuiteError: it cannot be read, or there is no room to write; the records are safe.
    """
    path = history_file()
    try:
        found = append_missing(path, stored_records()) if fresh_of is None else append(path, fresh_of)
    except OSError as error:
        raise SuiteError(
            f"cannot append to {path} ({error.strerror}): the records are safe; make room there, and the "
            "next night appends what is missing"
        ) from None
    course.fresh += len(found.fresh)
    if found.torn:
        course.notes.append("The last line of the history was incomplete and has been repaired.")
    return found.points


def judged(request: Request, course: Course, points: Sequence[Point]) -> Night:
    """The night, with the labels of all rows of the selected claims and their released teachers.

    Args:
        request: of the night.
        course: how it went.
        points: the whole history.

    Raises:
        SuiteError: the known changes or the priors break their schema.
    """
    tonight = night_of(datetime.datetime.now(datetime.timezone.utc))
    subjects = {name for claim in request.chosen.claims for name in (claim.id, claim.teacher)}
    statuses = judge(
        [point for point in points if point.subject in subjects],
        tonight,
        expectation_of,
        lambda row: tiers.nights_until_stale(row, request.tiers, request.chosen.profile),
        read_changes(),
        # What is trained for a selected claim may be a row of others, too.
        [row for row in course.awaited if row.subject in subjects],
    )
    known = {status.row for status in statuses}
    unknown = [row for row in course.unknown if row not in known and row.subject in subjects]
    statuses += [Status(row, loss_tier.METRIC, INSUFFICIENT_DATA) for row in unknown]
    faults = [str(fault) for fault in course.faults]
    return Night(tonight, request.tiers, statuses, course.fresh, course.failed, faults, course.notes, points)


def _publish(night: Night) -> None:
    """Writes page and feed, adds to the summary of the job, and prints the flags.

    Raises:
        SuiteError: they cannot be written.
    """
    try:
        paths = night.publish(results_dir())
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with open(summary, "a", encoding="utf-8") as file:
                file.write(night.summary)
    except OSError as error:
        raise SuiteError(
            f"cannot write the page of the night ({error}): the history is safe; make room there, and the "
            "next night writes it again"
        ) from None
    head = f"Night of {night.date}: {many(night.fresh, 'new point')}, {many(len(night.flags), 'flag')}."
    print("\n".join([head, *night.notes, *(f"- {flag}" for flag in night.flags)]))
    print(f"Written to {', '.join(map(str, paths))}.")


def _tell(night: Night) -> None:
    """Brings the standing issue up to date.

    Raises:
        NotToldError: that was refused.
    """
    print(f"{standing_issue.update(night.flags)}.")


def stored_records() -> list[Record]:
    """The records of the store.

    Raises:
        SuiteError: one is damaged.
    """
    return read_all(records_dir())


def history_file() -> Path:
    """Where the history is."""
    return results_dir() / FILE
