"""The tier `loss` of a night: compares the first steps of every distilled recipe with stored trajectories."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from suite.cli.tiers import Selection
from suite.environment import git_state, host_facts, installed_versions
from suite.evidence.points import LOSS, Point, Row, night_of, rows_planned
from suite.evidence.trajectories import (
    STEPS,
    Trajectory,
    file_of,
    left_at,
    read_trajectories,
    trajectory_of,
    write_trajectories,
)
from suite.paths import results_dir, work_dir
from suite.planning.overrides import parse_overrides
from suite.planning.plan import Run, make_plan, next_repetition
from suite.running.first_steps import FirstSteps, needed_by, train_first_steps
from suite.running.launchers.local import runs_on_cores

METRIC: Final = "differs_at_step"
"""The metric of its points: the first step at which a loss left the tolerance; 0 if none did."""

_PROFILE: Final = "mini"
"""The profile of its recipes, which use embedded data and so run on any machine."""


@dataclass(frozen=True)
class Compared:
    """The result for one distilled run.

    Attributes:
        run: the run.
        rows: the rows that it belongs to.
        step: value of `METRIC`; None if it failed, or nothing is stored.
        error: why it failed.
    """

    run: Run
    rows: Sequence[Row]
    step: int | None = None
    error: str | None = None


def requests(chosen: Selection, device: str) -> list[FirstSteps]:
    """Requests the first steps of the distilled runs of a selection, for seed 0 and published resources.

    Raises:
        SuiteError: an override is wrong.
    """
    overrides = [entry.text for entry in parse_overrides(chosen.overrides) if not entry.is_resource]
    runs = make_plan(chosen.claims, _PROFILE, 1, overrides).runs
    return [
        FirstSteps(run, needed_by(run, runs), STEPS[-1], work_dir() / "data", device)
        for run in runs.values()
        if run.arm == "distilled"
    ]


def rows_of(run: Run) -> list[Row]:
    """The rows of the history that the first steps of a run belong to."""
    return [row._replace(profile=LOSS) for row in rows_planned(run)]


def stored(device: str) -> dict[str, dict[str, list[float]]]:
    """The stored trajectories by row (`_name`).

    Raises:
        SuiteError: the file is damaged.
    """
    return read_trajectories(file_of(results_dir(), device))


def _name(row: Row) -> str:
    return " ".join((row.subject, *row.variant))


def is_stored(run: Run, trajectories: dict[str, dict[str, list[float]]]) -> bool:
    """Whether a trajectory is stored for any row of a run."""
    return any(_name(row) in trajectories for row in rows_of(run))


def compare(chosen: Selection, device: str, jobs: int | None) -> Iterator[Compared]:
    """Trains the first steps of all runs that have a stored trajectory, and compares them with it.

    Args:
        chosen: the selection.
        device: `cpu` or `cuda`.
        jobs: number of runs in parallel; None: as many as suit the device.

    Yields:
        First the runs without a trajectory, then the others as they finish.

    Raises:
        SuiteError: an override is wrong, the trajectories are damaged, or a process was killed.
    """
    expected, asked = stored(device), []
    for request in requests(chosen, device):
        if is_stored(request.run, expected):
            asked.append(request)
        else:
            yield Compared(request.run, rows_of(request.run))
    for request, losses in train_first_steps(asked, jobs or _side_by_side(device), _log()):
        rows = [row for row in rows_of(request.run) if _name(row) in expected]
        if isinstance(losses, str):
            yield Compared(request.run, rows, error=losses)
            continue
        found = trajectory_of(losses)
        for row in rows:
            yield Compared(request.run, [row], left_at(expected[_name(row)], found))


def write(chosen: Selection, device: str, jobs: int | None) -> tuple[list[str], dict[str, str]]:
    """Trains the first steps of all runs, and replaces their stored trajectories.

    Returns:
        The rows that were written, and label of a run -> why it failed.

    Raises:
        SuiteError: an override is wrong, the trajectories are damaged, or a process was killed.
        OSError: the table cannot be written.
    """
    found: dict[str, Trajectory] = {}
    failed: dict[str, str] = {}
    for request, losses in train_first_steps(requests(chosen, device), jobs or _side_by_side(device), _log()):
        if isinstance(losses, str):
            failed[request.run.label] = losses
        else:
            found |= {_name(row): trajectory_of(losses) for row in rows_of(request.run)}
            # Written after each run, so that nothing is lost when the time is up.
            write_trajectories(file_of(results_dir(), device), {**stored(device), **found})
    return sorted(found), failed


def _side_by_side(device: str) -> int:
    """Number of parallel processes: as many as the cores allow, or one on a GPU, which they would share."""
    return 1 if device == "cuda" else runs_on_cores()


def _log() -> Path:
    path = work_dir() / "first_steps.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def points_of(compared: Compared, device: str, known: Sequence[Point]) -> list[Point]:
    """The points of tonight for one run.

    Args:
        compared: the result for the run.
        device: the device that it was trained on.
        known: the history, in which the same run has a point for each night, as successive repetitions.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    points = []
    for row in compared.rows if compared.step is not None else ():
        measured = {point.run_id for point in known if point.row == row}
        run = next_repetition(compared.run, measured.__contains__)
        point = Point(
            **row._asdict(),
            metric=METRIC,
            run_id=run.run_id,
            seed=run.seed,
            repetition=run.repetition,
            value=float(compared.step or 0),
            n=len(measured) + 1,
            comparable=False,
            commit=git_state().commit,
            packages=installed_versions(),
            gpu=None if device == "cuda" else str(host_facts()["cpu"]),
            finished_at=now.isoformat(timespec="seconds"),
            night=night_of(now),
        )
        points.append(point)
    return points
