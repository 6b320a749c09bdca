"""The history of every row, night by night: ``history.jsonl``, one line per run and metric.

Points that a crash kept from being written are appended by the next night, from the records
(`suite.evidence.points`); a point stays even if its record is moved elsewhere. Only the tier `loss` leaves no
records: each of its points is appended as soon as it is known. The file is only ever appended to; a truncated
last line, as after a power failure, is removed before the next one is written, and rebuilt from its record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from suite.errors import SuiteError, printable
from suite.evidence.points import Point, points_of
from suite.store.ownership import owned
from suite.store.plain_files import append_to, refuse_link
from suite.store.record import Record
from suite.strict import first_fault

FILE: Final = "history.jsonl"
"""Name of the history in the results folder."""


def read_history(path: Path) -> list[Point]:
    """The points of a history, in the order in which they were appended; empty if there is no file.

    Anything after the last line break is a truncated line, and is left out.

    Raises:
        SuiteError: the file cannot be read, or a line is not a point; names the line.
    """
    return [_read(path, number, line) for number, line in enumerate(_lines(path), start=1)]


def _lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SuiteError(f"{printable(path)}: cannot be read ({error.strerror}); make it readable") from None
    yield from content[: content.rfind(b"\n") + 1].splitlines()


def _read(path: Path, number: int, line: bytes) -> Point:
    try:
        return Point.model_validate_json(line)
    except ValidationError as error:
        place, fault = first_fault(error)
        raise SuiteError(
            f"{printable(path)}:{number}: not a point of a history ({place or 'the line'}: "
            f"{printable(fault['msg'], 100)}); restore that line from a copy, or delete it: it is rebuilt "
            "from its record"
        ) from None


class Appended(NamedTuple):
    """The result of `append`.

    Attributes:
        points: the whole history.
        fresh: the points that are new.
        torn: whether the last line was incomplete.
    """

    points: list[Point]
    fresh: list[Point]
    torn: bool


def append_missing(path: Path, records: Iterable[Record]) -> Appended:
    """Appends the points of finished records that a history lacks; see `append`.

    Args:
        path: the history.
        records: the store.

    Raises:
        SuiteError: as `append`.
        OSError: as `append`.
    """
    return append(path, lambda known: points_of(records, known))


def append(path: Path, fresh_of: Callable[[Sequence[Point]], list[Point]]) -> Appended:
    """Appends points to a history, which are all on disk when this returns.

    Args:
        path: the history; created if it is missing.
        fresh_of: returns the points to append, given those in the history, which is locked meanwhile.

    Raises:
        SuiteError: the history cannot be read or locked, or is a symbolic link.
        OSError: the file system refuses, for example because it is full; the history is unchanged.
    """
    with owned(path.with_name(f".{path.name}.owner")):
        torn = _repair_last_line(path)
        points = read_history(path)
        fresh = fresh_of(points)
        if fresh:
            _append(path, b"".join(point.model_dump_json().encode() + b"\n" for point in fresh))
    return Appended(points + fresh, fresh, torn)


def _append(path: Path, content: bytes) -> None:
    with append_to(path) as file:
        whole = os.fstat(file.fileno()).st_size
        try:
            while content:
                content = content[file.write(content) :]
            os.fsync(file.fileno())
        except BaseException:
            # Also when the night runs out of time, or on Ctrl-C.
            os.ftruncate(file.fileno(), whole)
            raise


def _repair_last_line(path: Path) -> bool:
    """Completes a last line that only lacks its line break, and removes one that is truncated.

    Returns:
        Whether there was such a line.
    """
    refuse_link(path)
    if not path.is_file():
        return False
    with open(path, "r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole == len(content):
            return False
        try:
            Point.model_validate_json(content[whole:])
            file.write(b"\n")
        except ValidationError:
            # It is rebuilt from its record.
            file.truncate(whole)
        file.flush()
        os.fsync(file.fileno())
    return True
