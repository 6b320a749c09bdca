"""The scalars that trainings leave: a file of JSON lines beside the record, which has its digest.

The file is there before the record that names it, and is called after its own content: killed in between, a
process leaves a file that nobody asks for, and the next attempt writes another. A file that is missing or is
not what its record names is told in one line. No number of a record is read from it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from suite.contract import Scalars
from suite.errors import SuiteError, printable
from suite.store.files import write
from suite.store.plain_files import NotAPlainFileError, content_of

_LARGEST = 4 * 2**20
"""Bytes; a file takes about a hundredth of it."""

_DIGITS = 12
"""How many digits of its digest a file's name has."""

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
    return folder / f"{run_id}-{sha256[:_DIGITS]}.scalars.jsonl"


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
    content = "".join(f"{json.dumps(line.model_dump(exclude_none=True))}\n" for line in lines).encode()
    sha256 = hashlib.sha256(content).hexdigest()
    write(scalars_file(folder, run_id, sha256), content)
    return sha256


def read_scalars(folder: Path, record: _Recorded) -> list[Scalars]:
    """The scalars of a record, in the order of their iterations; none where it names no file.

    Args:
        folder: of the records.
        record: the record, or its summary.

    Raises:
        SuiteError: the file is missing, cannot be read, or is not the one that the record names.
    """
    content = _content(folder, record)
    try:
        return [Scalars.model_validate_json(line) for line in content.splitlines()]
    except ValueError as error:
        # Its digest is right: somebody else has written file and record.
        path = scalars_file(folder, record.run_id, str(record.scalars_sha256))
        raise SuiteError(f"{printable(path)}: holds no scalars ({printable(error, 100)})") from None


def scalars_of(folder: Path, record: _Recorded) -> bytes:
    """The file of the scalars of a record, as it is; empty where it names none.

    Raises:
        SuiteError: as `read_scalars`.
    """
    return _content(folder, record)


def check_scalars(folder: Path, record: _Recorded) -> None:
    """Makes sure that the scalars of a record are there and unaltered.

    Raises:
        SuiteError: as `read_scalars`.
    """
    _content(folder, record)


def faults_of_scalars(folder: Path, records: Iterable[_Recorded]) -> str | None:
    """What is wrong with the scalars of several records, in one line; None where nothing is.

    Args:
        folder: of the records.
        records: those that are looked at, or their summaries.
    """
    faults = []
    for record in records:
        try:
            check_scalars(folder, record)
        except SuiteError as fault:
            faults.append(str(fault))
    if not faults:
        return None
    more = f", and {len(faults) - 1} more like it" if len(faults) > 1 else ""
    return f"{faults[0]}{more}"


def _content(folder: Path, record: _Recorded) -> bytes:
    if record.scalars_sha256 is None:
        return b""
    path = scalars_file(folder, record.run_id, record.scalars_sha256)
    try:
        content = content_of(path, _LARGEST)
    except FileNotFoundError:
        fault = "is missing"
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    except NotAPlainFileError as error:
        fault = str(error)
    else:
        if hashlib.sha256(content).hexdigest() == record.scalars_sha256:
            return content
        fault = "is not the file that its record names: its SHA-256 is another"
    raise SuiteError(
        f"{printable(path)}: {fault}; restore it from a copy: without it run {record.run_id} has no curves, "
        "and its numbers stand"
    )


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
