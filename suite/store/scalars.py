"""The scalars that trainings leave, in a file beside the record (`suite.store.companions`)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from suite.contract import Scalars
from suite.store.companions import Companion, faults_of

SCALARS: Final = Companion("scalars", 4 * 2**20, "curves")
"""A file takes about a hundredth of what it may."""

_TENTHS = (0.05, 0.5, 0.95)
"""Where the first, the middle and the last tenth of a training have their middles."""


class _Recorded(Protocol):
    """As much of a record, or of its summary, as leads to its scalars."""

    @property
    def run_id(self) -> str: ...
    @property
    def scalars_sha256(self) -> str | None: ...


def scalars_file(folder: Path, run_id: str, sha256: str) -> Path:
    """Where the scalars of a record lie.

    Args:
        folder: of the records.
        run_id: the run.
        sha256: of the file's content, as the record has it.
    """
    return SCALARS.file(folder, run_id, sha256)


def write_scalars(folder: Path, run_id: str, lines: Iterable[Scalars]) -> str:
    """Writes the scalars of a training; the file appears whole or not at all.

    Args:
        folder: of the records.
        run_id: the run.
        lines: in the order of their iterations.

    Returns:
        The SHA-256 of the content, for the record.

    Raises:
        OSError: the file system refuses.
    """
    return SCALARS.write(folder, run_id, lines)


def read_scalars(folder: Path, record: _Recorded) -> list[Scalars]:
    """The scalars of a record, in the order of their iterations; none where it names no file.

    Args:
        folder: of the records.
        record: the record, or its summary.

    Raises:
        SuiteError: the file is missing, cannot be read, or is not the one that the record names.
    """
    return SCALARS.read(Scalars, folder, record.run_id, record.scalars_sha256)


def scalars_of(folder: Path, record: _Recorded) -> bytes:
    """The file of the scalars of a record, as it is; empty where it names none.

    Raises:
        SuiteError: as `read_scalars`.
    """
    return SCALARS.content(folder, record.run_id, record.scalars_sha256)


def check_scalars(folder: Path, record: _Recorded) -> None:
    """Makes sure that the scalars of a record are there and unaltered.

    Raises:
        SuiteError: as `read_scalars`.
    """
    scalars_of(folder, record)


def faults_of_scalars(folder: Path, records: Iterable[_Recorded]) -> str | None:
    """What is wrong with the scalars of several records, in one line; None where nothing is.

    Args:
        folder: of the records.
        records: those that are looked at, or their summaries.
    """
    return faults_of(records, lambda record: check_scalars(folder, record))


Shares = tuple[float, float, float]
"""Over the first, the middle and the last tenth of a training."""


def shares_of(lines: Sequence[Scalars], losses: Collection[str]) -> dict[str, Shares]:
    """What share of the total loss some of its terms have as a training goes on.

    A share is the term over the total, both summed over the iterations of a tenth; zero where the total is.
    A line counts where its own middle lies; where none lies in a tenth, the one nearest to it counts.

    Args:
        lines: the series of the training.
        losses: the terms.
    """
    tenths = [_around(lines, middle) for middle in _TENTHS] if lines else []
    return {name: _shares(name, tenths) for name in losses} if tenths else {}


def _around(lines: Sequence[Scalars], middle: float) -> list[tuple[Scalars, int]]:
    """The lines that have their middle in a tenth, each with how many iterations it stands for."""
    ends = [0, *(line.iteration for line in lines)]
    length = ends[-1]
    spans = [(line, start, end) for line, start, end in zip(lines, ends[:-1], ends[1:], strict=True)]

    def off(span: tuple[Scalars, int, int]) -> float:
        return abs((span[1] + span[2]) / 2 - middle * length)

    inside = [span for span in spans if off(span) <= 0.05 * length] or [min(spans, key=off)]
    return [(line, end - start) for line, start, end in inside]


def _shares(name: str, tenths: Sequence[Sequence[tuple[Scalars, int]]]) -> Shares:
    first, middle, last = (
        _ratio(
            math.fsum(line.losses.get(name, 0.0) * steps for line, steps in tenth),
            math.fsum(line.loss * steps for line, steps in tenth),
        )
        for tenth in tenths
    )
    return first, middle, last


def _ratio(term: float, total: float) -> float:
    return float(f"{term / total:.6g}") if total else 0.0
