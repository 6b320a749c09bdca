"""Summaries of records, and an index of them that saves reading thousands of records.

A summary is what lists and tables show of a record: everything but the recipe, the protocol and the identity,
which make up nine tenths. The index is one file in the folder of the records, with their summaries. It is
never trusted over them: a summary is used only while its record's file is unchanged in size, times and inode;
otherwise the record is read. A damaged index is treated as missing, and rewritten once that is worthwhile.
Results are the same with and without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter

from suite import __version__
from suite.contract import Arm, Departure, ServedClaim
from suite.store.files import replacing
from suite.store.plain_files import NotAPlainFileError, content_of
from suite.store.record import SCHEMA_VERSION, Choices, Record, Status
from suite.store.records import read_files, without_collector

INDEX: Final = ".summaries"
"""Name of the index in the folder of the records."""

WORTH_AN_INDEX: Final = 1000
"""The index is rewritten once this many records have to be read for lack of a summary, which takes a quarter
of a second."""

_FORMAT: Final = [4, SCHEMA_VERSION, __version__]
"""First fields of an index; raise the first number when a summary changes, or how it is made."""

_SETTLED_NS: Final = 2 * 10**9
"""Minimum age of a file whose summary is kept: two changes within one clock tick leave the same times."""

_LARGEST: Final = 2**31
"""Bytes; a larger file is not read as an index."""

_CLAIMS: Final = TypeAdapter(list[ServedClaim])
_DEPARTURES: Final = TypeAdapter(list[Departure])

State: TypeAlias = tuple[int, int, int, int]
"""Size, mtime and ctime (nanoseconds) and inode number of a file."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What reports need of a record; the attributes are those of `suite.store.record.Record`."""

    run_id: str
    series: str
    attempt: int
    former_ids: Sequence[str]
    arm: Arm
    profile: str
    seed: int
    repetition: int
    status: Status
    metrics: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]]
    skipped: Mapping[str, int]
    timings: Mapping[str, float]
    comparable: bool
    error: str | None
    finished_at: str
    weights_sha256: str | None
    taught_by: str | None
    scalars_sha256: str | None
    samples_sha256: str | None
    inert: Sequence[str]
    claims: Sequence[ServedClaim]
    departures: Sequence[Departure]
    environment: Mapping[str, str]
    choices: Choices


Evidence: TypeAlias = Record | Summary
"""What reports are based on: records or their summaries."""


class _Shared:
    """Parts that many records share: each is kept once, in the index and in memory.

    Attributes:
        texts: the parts as JSON; their positions are their numbers.
    """

    _READERS = (
        _CLAIMS.validate_json,
        _DEPARTURES.validate_json,
        json.loads,
        lambda text: Choices(*json.loads(text)),
    )

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Takes the parts of an index."""
        self.texts = list(texts)
        self._numbers = {text: number for number, text in enumerate(self.texts)}
        self._read: dict[tuple[int, int], Any] = {}

    def numbers(self, record: Record) -> list[int]:
        """The numbers of the parts of a record, in the order of the last fields of `Summary`."""
        parts = (
            _CLAIMS.dump_json(record.claims).decode(),
            _DEPARTURES.dump_json(record.departures).decode(),
            json.dumps(record.environment),
            json.dumps(record.choices),
        )
        return [self._number(text) for text in parts]

    def _number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def parts(self, numbers: Iterable[int]) -> Iterator[Any]:
        """The parts with these numbers, in the order of the last fields of `Summary`."""
        for position, number in enumerate(numbers):
            if (position, number) not in self._read:
                self._read[position, number] = self._READERS[position](self.texts[number])
            yield self._read[position, number]


Row: TypeAlias = list[Any]
"""The fields of a summary, in order, with numbers in place of the shared parts."""

_OWN = len(Summary.__dataclass_fields__) - len(_Shared._READERS)


def _row(record: Record, shared: _Shared) -> Row:
    own = [getattr(record, name) for name in list(Summary.__dataclass_fields__)[:_OWN]]
    return own + shared.numbers(record)


def _summary(row: Row, shared: _Shared) -> Summary:
    return Summary(*row[:_OWN], *shared.parts(row[_OWN:]))


def read_summaries(folder: Path) -> list[Summary]:
    """Summaries of every record of a folder, ordered by run id and attempt.

    Raises:
        SuiteError: for the first record that cannot be read.
    """
    return SummaryReader(folder).read()


class SummaryReader:
    """Reads a folder of records repeatedly, each time only the files that have changed since the last."""

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet.

        Args:
            folder: the folder of the records; it need not exist.
        """
        self.folder = folder
        self._kept: dict[str, tuple[State, Summary]] = {}

    def read(self) -> list[Summary]:
        """Summaries of every record, ordered by run id and attempt.

        Raises:
            SuiteError: for the first record that cannot be read.
        """
        if not self.folder.is_dir():
            return []
        with without_collector():
            return self._read()

    def _read(self) -> list[Summary]:
        states = _states(self.folder)
        rows: dict[str, Row] = {}
        shared = _Shared()
        first = not self._kept
        if first:
            rows, shared = _load(self.folder / INDEX, states)
            self._kept = {name: (states[name], _summary(row, shared)) for name, row in rows.items()}
        else:
            self._kept = {name: kept for name, kept in self._kept.items() if states.get(name) == kept[0]}
        summaries = [summary for _, summary in self._kept.values()]
        formers = [(former, summary.finished_at) for summary in summaries for former in summary.former_ids]
        unknown = sorted(self.folder / name for name in states.keys() - self._kept.keys())
        settled = time.time_ns() - _SETTLED_NS
        fresh: dict[str, Row] = {}
        for path, record in read_files(unknown, formers):
            row = _row(record, shared)
            summary = _summary(row, shared)
            summaries.append(summary)
            # A record that was upgraded together with others depends on more than one file: it is not kept.
            if path is not None and max(states[path.name][1:3]) < settled:
                fresh[path.name] = row
                self._kept[path.name] = (states[path.name], summary)
        if first and len(fresh) >= WORTH_AN_INDEX:
            _save(
                self.folder / INDEX,
                {name: (states[name], row) for name, row in (rows | fresh).items()},
                shared,
            )
        return sorted(summaries, key=lambda summary: (summary.run_id, summary.attempt))


def _states(folder: Path) -> dict[str, State]:
    """The names and states of the record files in a folder."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json"):
                found[entry.name] = _state(entry)
    return found


def _state(file: os.DirEntry[str]) -> State:
    try:
        now = file.stat()
    except OSError:
        # For example a broken link: reading it reports the error.
        return (0, 0, 0, 0)
    return (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)


def _load(index: Path, states: Mapping[str, State]) -> tuple[dict[str, Row], _Shared]:
    """The rows of an index whose files are unchanged; none if the index is damaged or of another version."""
    with contextlib.suppress(OSError, NotAPlainFileError, ValueError):
        head, _, body = content_of(index, _LARGEST).partition(b"\n")
        if head == _head(body):
            content = json.loads(body)
            rows = {
                name: row
                for name, (state, row) in content["records"].items()
                if states.get(name) == tuple(state)
            }
            return rows, _Shared(content["texts"])
    return {}, _Shared()


def _save(index: Path, rows: Mapping[str, tuple[State, Row]], shared: _Shared) -> None:
    """Writes an index; if that fails, the store is read without one."""
    body = json.dumps({"texts": shared.texts, "records": rows}).encode()
    with contextlib.suppress(OSError), replacing(index) as aside:
        aside.write_bytes(_head(body) + b"\n" + body)


def _head(body: bytes) -> bytes:
    """The first line of an index: its version, and the SHA-256 of the rest."""
    return json.dumps([*_FORMAT, hashlib.sha256(body).hexdigest()]).encode()
