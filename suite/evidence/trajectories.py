"""Stored loss trajectories of the first steps of distilled runs, to check whether they are still reproduced.

There is a table for each kind of device, ``trajectories/cpu.csv`` and ``trajectories/cuda.csv`` in the
results folder, with a line for each row and loss and a column for each of `STEPS`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from suite.errors import SuiteError, printable
from suite.store.files import write

TOLERANCE: Final[Mapping[int, float]] = {1: 1e-5, 2: 1e-5, 5: 1e-4, 10: 1e-3, 20: 0.05, 50: 0.5}
"""Step -> relative tolerance between a loss and the stored one, as a share of the larger of the two.

Another processor sums in a different order, and training amplifies the difference: ``docs/nightly.md`` has
the measurements. Tolerances are at least ten times the measured differences, and six times at step 50.
"""

STEPS: Final = tuple(TOLERANCE)
"""The steps that are stored, counted from 1: dense at first, where a wrong loss shows, then sparser."""

Trajectory = Mapping[str, Sequence[float]]
"""Name of a loss -> its values at `STEPS`; fewer if the training has fewer steps."""

_HEADINGS: Final = ("row", "loss", *(f"step {step}" for step in STEPS))


def file_of(results: Path, device: str) -> Path:
    """The table for a kind of device, `cpu` or `cuda`, in a results folder."""
    return results / "trajectories" / f"{device}.csv"


def trajectory_of(losses: Sequence[Mapping[str, float]]) -> Trajectory:
    """The part of the losses that is stored, rounded to eight digits.

    Args:
        losses: the losses of each step by name.
    """
    kept = [losses[step - 1] for step in STEPS if step <= len(losses)]
    return {name: [float(f"{step[name]:.8g}") for step in kept] for name in (kept[0] if kept else ())}


def left_at(stored: Trajectory, found: Trajectory) -> int:
    """The first step at which a loss differs from the stored one by more than `TOLERANCE`; 0 if none does.

    If the names of the losses differ, that is the first step.

    Args:
        stored: the expected trajectory.
        found: the measured trajectory.
    """
    if stored.keys() != found.keys():
        return STEPS[0]
    for position, step in enumerate(STEPS):
        for name, expected in stored.items():
            a, b = expected[position : position + 1], found[name][position : position + 1]
            if len(a) != len(b) or any(not _close(x, y, step) for x, y in zip(a, b, strict=True)):
                return step
    return 0


def _close(stored: float, found: float, step: int) -> bool:
    return math.isclose(stored, found, rel_tol=TOLERANCE[step])


def read_trajectories(path: Path) -> dict[str, dict[str, list[float]]]:
    """The stored trajectories by row; empty if there is no file.

    Raises:
        SuiteError: the file cannot be read, or a line is not a trajectory; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{printable(path)}: cannot be read ({error}); restore it from a copy") from None
    found: dict[str, dict[str, list[float]]] = {}
    reader = csv.reader(io.StringIO(text))
    if tuple(next(reader, ())) != _HEADINGS:
        raise _damaged(path, 1, f"the headings are not {', '.join(_HEADINGS)}")
    for row in reader:
        try:
            name, loss, *cells = row
            # The last cells of a short training are empty.
            found.setdefault(name, {})[loss] = [float(cell) for cell in cells if cell]
        except ValueError as error:
            raise _damaged(path, reader.line_num, str(error)) from None
    return found


def _damaged(path: Path, line: int, reason: str) -> SuiteError:
    return SuiteError(
        f"{printable(path)}:{line}: not a trajectory ({printable(reason, 100)}); restore the file from a "
        "copy, or delete it and write it again with 'python -m suite nightly --tier loss "
        "--write-trajectories'"
    )


def write_trajectories(path: Path, trajectories: Mapping[str, Trajectory]) -> None:
    """Writes the whole table, sorted by row, in one atomic step.

    Raises:
        OSError: the file system refuses.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADINGS)
    for row in sorted(trajectories):
        for loss, values in trajectories[row].items():
            cells = [f"{value:.8g}" for value in values]
            writer.writerow([row, loss, *cells, *[""] * (len(STEPS) - len(cells))])
    write(path, out.getvalue().encode())
