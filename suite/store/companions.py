"""JSON Lines files that a run leaves beside its record, which holds their digests.

Such a file is written before the record that names it, and is named after its own content: a process that is
killed in between leaves a file that nothing refers to, and the next attempt writes another. A file that is
missing or is not the one that its record names is reported in one line. No number of a record depends on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from suite.errors import SuiteError, printable
from suite.store.files import write
from suite.store.plain_files import NotAPlainFileError, content_of
from suite.strict import Strict

_DIGITS = 12
"""How many digits of its digest are in a file's name."""

_Entry = TypeVar("_Entry", bound=Strict)


class Recorded(Protocol):
    """A record or its summary, with the digest of each of its files as ``<what>_sha256``."""

    @property
    def run_id(self) -> str:
        """The run."""
        ...


@dataclass(frozen=True)
class Companion(Generic[_Entry]):
    """One kind of such files.

    Attributes:
        what: what a file holds, in the plural; part of its name.
        entry: the type of a line.
        largest: bytes that a file may have.
        lacks: what a run lacks without its file, for messages.
    """

    what: str
    entry: type[_Entry]
    largest: int
    lacks: str

    def sha256_in(self, record: Recorded) -> str | None:
        """The digest of the file that a record names; None if it names none."""
        sha256: str | None = getattr(record, f"{self.what}_sha256")
        return sha256

    def file(self, folder: Path, run_id: str, sha256: str) -> Path:
        """The path of the file of a record.

        Args:
            folder: of the records.
            run_id: the run.
            sha256: of the file's content, from the record.
        """
        return folder / f"{run_id}-{sha256[:_DIGITS]}.{self.what}.jsonl"

    def write(self, folder: Path, run_id: str, entries: Iterable[_Entry]) -> str:
        """Writes a file, which appears whole or not at all.

        Args:
            folder: of the records.
            run_id: the run.
            entries: one per line, in this order.

        Returns:
            The SHA-256 of the content, for the record.

        Raises:
            OSError: the file system refuses.
        """
        content = "".join(
            f"{json.dumps(entry.model_dump(exclude_none=True))}\n" for entry in entries
        ).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        write(self.file(folder, run_id, sha256), content)
        return sha256

    def content(self, folder: Path, record: Recorded) -> bytes:
        """The content of the file of a record; empty if it names none.

        Args:
            folder: of the records.
            record: the record, or its summary.

        Raises:
            SuiteError: the file is missing, cannot be read, or is not the one that the record names.
        """
        sha256 = self.sha256_in(record)
        if sha256 is None:
            return b""
        path = self.file(folder, record.run_id, sha256)
        try:
            content = content_of(path, self.largest)
        except FileNotFoundError:
            fault = "is missing"
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        except NotAPlainFileError as error:
            fault = str(error)
        else:
            if hashlib.sha256(content).hexdigest() == sha256:
                return content
            fault = "is not the file that its record names: its SHA-256 differs"
        raise SuiteError(
            f"{printable(path)}: {fault}; restore it from a copy: without it run {record.run_id} has no "
            f"{self.lacks}, but its numbers stay valid"
        )

    def read(self, folder: Path, record: Recorded) -> list[_Entry]:
        """The entries of the file of a record, in order; none if it names no file.

        Args:
            folder: of the records.
            record: the record, or its summary.

        Raises:
            SuiteError: as `content`.
        """
        content = self.content(folder, record)
        try:
            return [self.entry.model_validate_json(line) for line in content.splitlines()]
        except ValueError as error:
            # Its digest is right: something else has written both file and record.
            path = self.file(folder, record.run_id, str(self.sha256_in(record)))
            raise SuiteError(f"{printable(path)}: holds no {self.what} ({printable(error, 100)})") from None


def faults_of(folder: Path, records: Iterable[Recorded], *kinds: Companion[Any]) -> str | None:
    """What is wrong with the files beside several records, in one line; None if nothing is.

    Args:
        folder: of the records.
        records: those to check, or their summaries.
        kinds: the kinds of files to check.
    """
    faults = []
    for record in records:
        for kind in kinds:
            try:
                kind.content(folder, record)
            except SuiteError as fault:
                faults.append(str(fault))
    if not faults:
        return None
    more = f", and {len(faults) - 1} more like it" if len(faults) > 1 else ""
    return f"{faults[0]}{more}"
