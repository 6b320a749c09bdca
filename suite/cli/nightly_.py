"""``nightly``: measure again every night, keep the history, and say what has changed.

In this order: run, append to the history, publish the page, tell. A step that fails does not keep the next
from being made; a wrong command line does nothing at all.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.tiers import TIERS

if TYPE_CHECKING:
    from suite.cli.tiers import Selection, Step
    from suite.errors import SuiteError
    from suite.evidence.history import Point, Row
    from suite.report.nightly import Night
    from suite.store.records import Record

_DURATION = re.compile(r"(?:(?P<hours>\d+(?:\.\d+)?)h)?(?:(?P<minutes>\d+(?:\.\d+)?)m)?")
_LONGEST = 24.0
"""Hours of a night."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.selection import add_jobs, whole_number
    from suite.planning.plan import MOST_SEEDS

    tiers = "; ".join(f"{name}: {text}" for name, text in TIERS.items())
    parser.add_argument("--tier", nargs="+", choices=list(TIERS), required=True, help=tiers)
    parser.add_argument(
        "--budget", metavar="TIME", type=_hours, default=3.0, help="of the whole night: 3h (default), 90m"
    )
    parser.add_argument(
        "--device", metavar="D", default="cuda", help="cuda (default), or cpu; none stands in for the other"
    )
    parser.add_argument("--paper", metavar="P", help="one paper (default: all)")
    parser.add_argument("--claim", metavar="ID", nargs="+", default=[], help="these claims only")
    parser.add_argument("--profile", metavar="NAME", default="paper", help="paper (default) or mini")
    seeds = whole_number(MOST_SEEDS, "every seed is a training of each arm, and five decide small gains")
    parser.add_argument("--seeds", metavar="N", type=seeds, default=3, help="runs an arm (default 3)")
    add_jobs(parser, "runs side by side (default: one a core, one on a GPU)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run and sent, and stop")
    parser.set_defaults(takes_overrides=True)


def _hours(text: str) -> float:
    """An argument that is a duration, in hours.

    Raises:
        ArgumentTypeError: it is none; argparse puts the name of the option before it.
    """
    found = _DURATION.fullmatch(text)
    hours = float(found["hours"] or 0) + float(found["minutes"] or 0) / 60 if found else 0.0
    if not 0 < hours <= _LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time up to {_LONGEST:.0f}h; write it like 3h, 90m or 2h30m"
        )
    return hours


class _OutOfTimeError(Exception):
    """The night's budget is spent."""


@dataclass
class _Course:
    """How the night goes.

    Attributes:
        failed: run in words -> why it did not finish.
        faults: what kept a tier from running.
        notes: what a reader must know.
        awaited: rows that should have a new point.
        fresh: how many points are new.
    """

    failed: dict[str, str] = field(default_factory=dict)
    faults: list[SuiteError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    awaited: list[Row] = field(default_factory=list)
    fresh: int = 0


def run(args: argparse.Namespace) -> int:
    """Runs the tiers, and appends, publishes and tells what came of them.

    Returns:
        0; 1 when a run failed or is blocked, or nobody could be told; 130 when interrupted.

    Raises:
        SuiteError: the command line is wrong, and nothing was done; or a tier could not run, as without a
            GPU, and that was told.
    """
    from suite.errors import SuiteError
    from suite.published.changes import read_changes
    from suite.published.finding import select

    chosen = _selection(args, [claim for _, claim in select(args.paper, None, args.claim)])
    read_changes()
    if args.dry_run:
        _dry_run(args, chosen)
        return 0
    course = _Course()
    try:
        _measure(args, chosen, course)
        night = _judged(args, chosen, course, _appended(course))
        for step in (_publish, _tell):
            try:
                step(night)
            except SuiteError as fault:
                course.faults.append(fault)
    except KeyboardInterrupt:
        print("suite: interrupted; the next night goes on where this one stopped", file=sys.stderr)
        return 130
    if course.faults:
        for other in course.faults[1:]:
            print(f"suite: {other}", file=sys.stderr)
        raise course.faults[0]
    return 1 if course.failed else 0


def _selection(args: argparse.Namespace, claims: list[Any]) -> Selection:
    """What the night is about.

    Raises:
        SuiteError: the device, the profile or an override is wrong.
    """
    from suite.cli.tiers import SMOKE, Selection
    from suite.errors import SuiteError
    from suite.planning.overrides import parse_overrides
    from suite.published.recipes import check_profile

    if args.device not in ("cuda", "cpu"):
        raise SuiteError(f"--device is {args.device!r}: a night names its device, cuda or cpu")
    if check_profile(args.profile) == SMOKE:
        raise SuiteError("--profile smoke is what the tier smoke runs: name that, or another profile")
    parse_overrides(args.overrides)
    return Selection(claims, args.profile, args.seeds, args.overrides)


def _measure(args: argparse.Namespace, chosen: Selection, course: _Course) -> None:
    """Executes the tiers, and appends to the history after each; what stands in the way is noted."""
    from suite.catalogue import check_python_files
    from suite.doctor import lacks_training
    from suite.errors import SuiteError
    from suite.running.engine import check_device

    until = time.monotonic() + 3600 * args.budget
    try:
        device = check_device(args.device)
        if lacks_training():
            raise SuiteError("nothing is measured without PyTorch and the mm packages: see 'doctor'")
        check_python_files()
    except SuiteError as fault:
        course.faults.append(fault)
        return
    for tier in dict.fromkeys(args.tier):
        try:
            for step in _steps(tier, args, chosen, until):
                course.awaited += step.awaited
                _execute(step, args, device, until, course)
                _append(course)
        except _OutOfTimeError:
            course.notes.append(f"Out of time in tier {tier}: the next night goes on from there.")
            return
        except SuiteError as fault:
            course.faults.append(fault)


def _steps(tier: str, args: argparse.Namespace, chosen: Selection, until: float) -> Iterator[Step]:
    """What a tier executes, planned as its turn comes."""
    from suite.cli import tiers

    records = _records()
    if tier == "score":
        yield tiers.score(chosen, records)
    elif tier == "smoke":
        yield tiers.smoke(chosen, records)
    else:
        yield tiers.next_trainings(chosen, records, _hours_left(args, until))
        # What has just been trained is no older than tonight.
        yield tiers.oldest_again(chosen, _records(), _history(), _hours_left(args, until))


def _hours_left(args: argparse.Namespace, until: float) -> float:
    """Device-hours that are left: each run that goes beside others has a device, or a core, of its own."""
    return max(0.0, until - time.monotonic()) / 3600 * (args.jobs or 1)


def _execute(step: Step, args: argparse.Namespace, device: str, until: float, course: _Course) -> None:
    """Executes the runs of a step.

    Raises:
        _OutOfTimeError: before they were through; what was begun goes on from its newest checkpoint.
        SuiteError: a record cannot be read, or the store cannot be written to.
    """
    from suite.paths import work_dir
    from suite.running.engine import Engine
    from suite.running.progress import Progress
    from suite.store.run_folders import RunFolder, lead_to

    if not step.plan.runs:
        course.notes.append(f"Tier {step.tier}: there was nothing to run.")
        return
    for run_id, weights in step.links.items():
        lead_to(RunFolder(work_dir(), run_id), weights)
    engine = Engine(step.plan, _command(args), device, args.jobs, Progress(), lambda: None)
    try:
        with _alarm(until - time.monotonic()):
            engine.execute()
    finally:
        runs = step.plan.runs
        course.failed |= {runs[run_id].label: why for run_id, why in engine.outcome.failed.items()}


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Interrupts what goes on when the time is up.

    Raises:
        _OutOfTimeError: it is.
    """

    def ring(number: int, frame: object) -> None:
        raise _OutOfTimeError

    if seconds <= 0:
        raise _OutOfTimeError
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _appended(course: _Course) -> list[Point]:
    """The whole history, after `_append`; none of it where it cannot be read or written."""
    from suite.errors import SuiteError

    try:
        return _append(course)
    except SuiteError as fault:
        course.faults.append(fault)
        return []


def _append(course: _Course) -> list[Point]:
    """Appends to the history what it lacks, and returns all of it.

    Raises:
        SuiteError: it cannot be read, or there is no room to write; the records are safe.
    """
    from suite.errors import SuiteError
    from suite.evidence.history import append_missing

    path = _history_file()
    try:
        found = append_missing(path, _records())
    except OSError as error:
        raise SuiteError(
            f"cannot append to {path} ({error.strerror}): the records are safe; make room there, and the "
            "next night appends what is missing"
        ) from None
    course.fresh += len(found.fresh)
    if found.torn:
        course.notes.append("The last line of the history was torn off, and has been repaired.")
    return found.points


def _judged(args: argparse.Namespace, chosen: Selection, course: _Course, points: Sequence[Point]) -> Night:
    """The night with the labels of all rows of the selected claims and their released teachers."""
    from suite.cli.tiers import nights_until_stale
    from suite.evidence.history import night_of
    from suite.evidence.labels import expectation_of, judge
    from suite.published.changes import read_changes
    from suite.report.nightly import Night

    tonight = night_of(datetime.datetime.now(datetime.timezone.utc))
    subjects = {name for claim in chosen.claims for name in (claim.id, claim.teacher)}
    statuses = judge(
        [point for point in points if point.subject in subjects],
        tonight,
        expectation_of,
        lambda row: nights_until_stale(row, args.tier, args.profile),
        read_changes(),
        # What is trained for a selected claim may be a row of others, too.
        [row for row in course.awaited if row.subject in subjects],
    )
    faults = [str(fault) for fault in course.faults]
    return Night(
        tonight, list(dict.fromkeys(args.tier)), statuses, course.fresh, course.failed, faults, course.notes
    )


def _publish(night: Night) -> None:
    """Writes page and feed, adds to the summary of the job, and prints the flags.

    Raises:
        SuiteError: they cannot be written.
    """
    from suite.errors import SuiteError
    from suite.paths import results_dir

    try:
        paths = night.publish(results_dir())
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with open(summary, "a", encoding="utf-8") as file:
                file.write(night.summary)
    except OSError as error:
        raise SuiteError(
            f"cannot write the page of the night ({error}): the history is safe; make room there, and the "
            "next night writes it anew"
        ) from None
    print(_flags_in_words(night))
    print(f"Written to {', '.join(map(str, paths))}.")


def _flags_in_words(night: Night) -> str:
    head = f"Night of {night.date}: {night.fresh} new points, {len(night.flags)} flags."
    return "\n".join([head, *night.notes, *(f"- {flag}" for flag in night.flags)])


def _tell(night: Night) -> None:
    """Brings the standing issue up to date.

    Raises:
        NotToldError: that was refused.
    """
    from suite.cli import standing_issue

    print(f"{standing_issue.update(night.flags)}.")


def _dry_run(args: argparse.Namespace, chosen: Selection) -> None:
    """Prints what would be run, and what would be sent were nothing measured; writes nothing."""
    from suite.cli.plan_ import print_plan
    from suite.cli.selection import recorded_states
    from suite.cli.standing_issue import TITLE, body_of
    from suite.evidence.history import points_of
    from suite.report.nightly import to_feed

    until = time.monotonic() + 3600 * args.budget
    records = _records()
    for tier in dict.fromkeys(args.tier):
        print(f"Tier {tier}: {TIERS[tier]}.\n", flush=True)
        for step in _steps(tier, args, chosen, until):
            print_plan(step.plan, recorded_states(step.plan, records))
            print()
    history = _history()
    fresh = points_of(records, history)
    night = _judged(args, chosen, _Course(fresh=len(fresh)), [*history, *fresh])
    print("Were nothing of it measured, this would be sent.\n\nSummary of the job:\n")
    print(night.summary)
    if night.flags:
        print(f"Issue '{TITLE}':\n\n{body_of(night.flags)}\n")
    else:
        print("Issue: none, or closed where one is open.\n")
    print(f"Feed:\n\n{to_feed(night)}", end="")


def _command(args: argparse.Namespace) -> str:
    """The command line, for the records."""
    words = ["nightly", "--tier", *args.tier, "--budget", f"{args.budget:g}h", "--device", args.device]
    words += ["--paper", args.paper] if args.paper else []
    words += ["--claim", *args.claim] if args.claim else []
    words += ["--profile", args.profile, "--seeds", str(args.seeds), *args.overrides]
    return f"python -m suite {shlex.join(words)}"


def _records() -> list[Record]:
    from suite.paths import records_dir
    from suite.store.records import read_all

    return read_all(records_dir())


def _history() -> list[Point]:
    from suite.evidence.history import read_history

    return read_history(_history_file())


def _history_file() -> Path:
    from suite.evidence.history import FILE
    from suite.paths import results_dir

    return results_dir() / FILE
