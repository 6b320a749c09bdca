"""The history of every row, night by night: ``history.jsonl``, one line a run and metric.

What a crash kept from being written is appended by the next night, from the records
(`suite.evidence.points`), and a point whose record has been moved elsewhere stays. Only the tier `loss`
leaves no record: each of its points is appended as soon as it is known. The file is only ever appended to; a
last line that was torn off, as by a power cut, is cut away before the next one is written, and comes again
from its record.
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
from suite.store.records import Record
from suite.strict import first_fault

FILE: Final = "history.jsonl"
"""Name of the history in the folder of results."""


def read_history(path: Path) -> list[Point]:
    """The points of a history, in the order in which they were appended; none where there is no file.

    What stands behind the last line break was torn off as it was written, and is left out.

    Raises:
        SuiteError: the file cannot be read, or a line is no point; names the line.
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
    """What `append_missing` has found and done.

    Attributes:
        points: the whole history.
        fresh: what of it is new.
        torn: whether the last line had been torn off.
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
    """Appends points to a history, all in one write that is on the disk when this returns.

    Args:
        path: the history; made where it is missing.
        fresh_of: from the points that are in it to those that are to be; nobody else appends meanwhile.

    Raises:
        SuiteError: the history cannot be read or is not to be had, or a symbolic link stands in its place.
        OSError: the file system refuses, for example because it is full; what stood there is whole.
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
            # Also where the time of the night is up, or somebody presses Ctrl-C.
            os.ftruncate(file.fileno(), whole)
            raise


def _repair_last_line(path: Path) -> bool:
    """Ends a last line that lacks its line break only, and cuts away one that is no point any more.

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
            # It comes again from its record.
            file.truncate(whole)
        file.flush()
        os.fsync(file.fileno())
    return True
