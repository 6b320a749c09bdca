"""Stored trajectories of losses: what the first steps of a distilled run came to, and whether they still do.

A table for each kind of device, ``trajectories/cpu.csv`` and ``trajectories/cuda.csv`` in the folder of
results, with a line for each row and loss and a column for each of `STEPS`.
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
"""Step -> how far a loss may be from the stored one, as a share of the larger of the two.

Another processor adds up in another order, and a training magnifies that: ``docs/nightly.md`` has what was
measured. A tolerance is ten times that or more, and six times at step 50.
"""

STEPS: Final = tuple(TOLERANCE)
"""The steps that are stored, from 1: close together where a wrong loss shows, and then ever rarer."""

Trajectory = Mapping[str, Sequence[float]]
"""Name of a loss -> its values at `STEPS`; fewer where the training has fewer steps."""

_HEADINGS: Final = ("row", "loss", *(f"step {step}" for step in STEPS))


def file_of(results: Path, device: str) -> Path:
    """The table of a kind of device, `cpu` or `cuda`, in a folder of results."""
    return results / "trajectories" / f"{device}.csv"


def trajectory_of(losses: Sequence[Mapping[str, float]]) -> Trajectory:
    """What is stored of the losses of all steps, with eight digits.

    Args:
        losses: of each step, by name.
    """
    kept = [losses[step - 1] for step in STEPS if step <= len(losses)]
    return {name: [float(f"{step[name]:.8g}") for step in kept] for name in (kept[0] if kept else ())}


def left_at(stored: Trajectory, found: Trajectory) -> int:
    """The first step at which a loss is further from the stored one than `TOLERANCE`; 0 where none is.

    Losses of other names, or another number of them, differ at the first step.

    Args:
        stored: what a loss should come to.
        found: what it came to.
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
    """The stored trajectories by row; none where there is no file.

    Raises:
        SuiteError: the file cannot be read, or a line is no trajectory; names the line.
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
            # Of a short training the last cells are empty.
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
    """Writes the whole table, in the order of the names of its rows; it appears whole.

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
