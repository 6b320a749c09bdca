"""Runs the tiers of one night within its time budget, and records, publishes and reports the results."""

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
from suite.store.record import Record
from suite.store.records import read_all
from suite.store.run_folders import RunFolder, lead_to


@dataclass(frozen=True)
class NightRequest:
    """A request for one night.

    Attributes:
        tiers: the tiers in their order.
        chosen: the selection of claims.
        hours: time budget of the whole night, hours.
        device: `cuda` or `cpu`.
        jobs: number of runs in parallel; None: as many as suit the device.
        command: the command line, for the records.
        writes_trajectories: whether the tier `loss` stores its trajectories instead of comparing them.
        verbosity: how much progress is printed (`suite.cli.output`).
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
    """The time budget of the night is used up."""


@dataclass
class NightState:
    """The state of a night in progress.

    Attributes:
        until: end of its time budget, by `time.monotonic`.
        failed: label of a run -> why it did not finish.
        faults: errors that kept a tier from running, the page from being written, or the issue from being
            updated.
        notes: remarks for the reader.
        awaited: rows that should have a new point.
        unknown: rows without a stored trajectory to compare with.
        fresh: number of new points.
    """

    until: float
    failed: dict[str, str] = field(default_factory=dict)
    faults: list[SuiteError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    awaited: list[Row] = field(default_factory=list)
    unknown: list[Row] = field(default_factory=list)
    fresh: int = 0

    @classmethod
    def of(cls, request: NightRequest) -> NightState:
        """Starts a night now."""
        return cls(time.monotonic() + 3600 * request.hours)

    def hours_left(self, jobs: int | None) -> float:
        """Remaining device-hours: each of the parallel runs has a device, or a core, of its own."""
        return max(0.0, self.until - time.monotonic()) / 3600 * (jobs or 1)


def run_night(request: NightRequest) -> NightState:
    """Runs the tiers, appends to the history, publishes the page and updates the issue.

    If a step fails, its error is noted, and the next step is executed nevertheless.

    Raises:
        SuiteError: the known changes or the priors break their schema, so that nothing can be judged.
        KeyboardInterrupt: raised again after running processes were stopped.
    """
    state = NightState.of(request)
    _measure(request, state)
    night = judged(request, state, _whole_history(state))
    for step in (_publish, _tell):
        try:
            step(night)
        except SuiteError as fault:
            state.faults.append(fault)
    return state


def _measure(request: NightRequest, state: NightState) -> None:
    """Executes the tiers, and appends to the history after each of their steps."""
    try:
        device = settled_device(request.device)
        if lacks_training():
            raise SuiteError("nothing can be measured without PyTorch and the mm packages: see 'doctor'")
        check_python_files()
    except SuiteError as fault:
        state.faults.append(fault)
        return
    for tier in request.tiers:
        try:
            if tier == LOSS:
                _look_at_losses(request, device, state)
                continue
            for step in steps(tier, request, state):
                state.awaited += step.awaited
                _execute(step, request, device, state)
                _append(state)
        except OutOfTimeError:
            state.notes.append(f"Out of time in tier {tier}: the next night resumes from there.")
            return
        except SuiteError as fault:
            state.faults.append(fault)


def _look_at_losses(request: NightRequest, device: str, state: NightState) -> None:
    """Compares the first steps of distilled runs with stored trajectories, or stores new ones.

    Raises:
        OutOfTimeError: before all were finished; the finished ones are in the history.
        SuiteError: trajectories or history are damaged or cannot be written, or a process was killed.
    """
    with alarm(state.until - time.monotonic()):
        if request.writes_trajectories:
            _store_trajectories(request, device, state)
            return
        for compared in loss_tier.compare(request.chosen, device, request.jobs):
            if compared.error is not None:
                state.failed[compared.run.label] = compared.error
            elif compared.step is None:
                state.unknown += compared.rows
                continue
            state.awaited += compared.rows
            _append(state, functools.partial(loss_tier.points_of, compared, device))


def _store_trajectories(request: NightRequest, device: str, state: NightState) -> None:
    path = file_of(results_dir(), device)
    try:
        written, failed = loss_tier.write(request.chosen, device, request.jobs)
    except OSError as error:
        raise SuiteError(f"cannot write {path} ({error.strerror}); make room there") from None
    state.failed |= failed
    state.notes.append(f"Trajectories of {many(len(written), 'row')} were written to {path}.")


def steps(tier: str, request: NightRequest, state: NightState) -> Iterator[Step]:
    """The steps of a tier, each planned when it is its turn."""
    chosen, records = request.chosen, stored_records()
    if tier == "score":
        yield tiers.score(chosen, records)
    elif tier == "smoke":
        yield tiers.smoke(chosen, records)
    else:
        yield tiers.next_trainings(chosen, records, state.hours_left(request.jobs))
        # Records and time left are read again, after the trainings of the first step.
        left = state.hours_left(request.jobs)
        yield tiers.oldest_again(chosen, stored_records(), read_history(history_file()), left)


def _execute(step: Step, request: NightRequest, device: str, state: NightState) -> None:
    """Executes the runs of a step.

    Raises:
        OutOfTimeError: before all were finished; the next night resumes them from their newest checkpoints.
        SuiteError: a record cannot be read, or the store cannot be written to.
    """
    runs = step.plan.runs
    if not runs:
        state.notes.append(f"Tier {step.tier}: there was nothing to run.")
        return
    for run_id, weights in step.links.items():
        lead_to(RunFolder(work_dir(), run_id), weights)
    progress = Progress(verbosity=request.verbosity)
    launcher = LocalLauncher(device, request.jobs)
    engine = Engine(step.plan, request.command, launcher, progress, lambda: None)
    try:
        with alarm(state.until - time.monotonic()):
            engine.execute()
    finally:
        state.failed |= {runs[run_id].label: why for run_id, why in engine.outcome.failed.items()}


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Interrupts the body of a ``with`` statement after some seconds.

    Raises:
        OutOfTimeError: the time is up.
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


def _whole_history(state: NightState) -> list[Point]:
    """The history after appending what it lacks; empty if it cannot be read or written."""
    try:
        return _append(state)
    except SuiteError as fault:
        state.faults.append(fault)
        return []


def _append(
    state: NightState, fresh_of: Callable[[Sequence[Point]], list[Point]] | None = None
) -> list[Point]:
    """Appends to the history, and returns all of it.

    Args:
        state: updated with the number of new points, and a note on a repaired line.
        fresh_of: as in `suite.evidence.history.append`; None: the points that it lacks of the records.

    Raises:
        SuiteError: it cannot be read, or the disk is full; the records are safe.
    """
    path = history_file()
    try:
        found = append_missing(path, stored_records()) if fresh_of is None else append(path, fresh_of)
    except OSError as error:
        raise SuiteError(
            f"cannot append to {path} ({error.strerror}): the records are safe; make room there, and the "
            "next night appends what is missing"
        ) from None
    state.fresh += len(found.fresh)
    if found.torn:
        state.notes.append("The last line of the history was incomplete and has been repaired.")
    return found.points


def judged(request: NightRequest, state: NightState, points: Sequence[Point]) -> Night:
    """Labels all rows of the selected claims and their released teachers.

    Args:
        request: the request for the night.
        state: its state at the end.
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
        # A run that is trained for a selected claim may also be a row of other claims.
        [row for row in state.awaited if row.subject in subjects],
    )
    known = {status.row for status in statuses}
    unknown = [row for row in state.unknown if row not in known and row.subject in subjects]
    statuses += [Status(row, loss_tier.METRIC, INSUFFICIENT_DATA) for row in unknown]
    faults = [str(fault) for fault in state.faults]
    return Night(tonight, request.tiers, statuses, state.fresh, state.failed, faults, state.notes, points)


def _publish(night: Night) -> None:
    """Writes page and feed, appends to the job summary of GitHub Actions, and prints the flags.

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
    """Updates the standing issue.

    Raises:
        NotToldError: it could not be updated.
    """
    print(f"{standing_issue.update(night.flags)}.")


def stored_records() -> list[Record]:
    """The records of the store.

    Raises:
        SuiteError: one is damaged.
    """
    return read_all(records_dir())


def history_file() -> Path:
    """Path of the history."""
    return results_dir() / FILE
