"""What the last verification of a data set found, kept in the work folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from suite.datasets.checks import Check
from suite.datasets.listing import Entry, Facts
from suite.paths import work_dir
from suite.store.files import write
from suite.store.ownership import owned

_VERSION = 2
"""Raised when a verification of old would no longer do."""


@dataclass(frozen=True)
class Remembered:
    """What a verification found.

    Attributes:
        expectation: what it was held against (`PublishedDataset.expectation`).
        state: names, sizes and times of its files (`listing.state_of`); empty when not all could be read.
        fingerprint: of its contents (`listing.fingerprint_of`); empty when it was interrupted.
        accepted: the fingerprint of the last contents that had no fault; empty if none had. What is kept of
            each file is then of these contents.
        files: number of files.
        size: their bytes.
        checks: the result.
    """

    expectation: str
    state: str
    fingerprint: str
    accepted: str
    files: int
    size: int
    checks: list[Check]


class Memory:
    """One file for each place that a data set was verified at.

    Its first line is all that an unchanged data set needs; the files one by one, compressed, come behind it
    and are read only when something has changed.
    """

    def __init__(self, name: str, root: Path) -> None:
        """Names the file.

        Args:
            name: of the data set.
            root: its folder.
        """
        place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
        self._path = work_dir() / "verified" / f"{name}-{place}"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Lets one process at a time verify; the others wait and find its result."""
        with owned(self._path.with_suffix(".owner")):
            yield

    def findings(self) -> Remembered | None:
        """What was found last; None if nothing is on file."""
        try:
            with open(self._path, "rb") as file:
                head = json.loads(file.readline())
            if head.pop("version") != _VERSION:
                return None
            return Remembered(**{**head, "checks": [Check(**check) for check in head["checks"]]})
        except (OSError, ValueError, KeyError, TypeError):
            # Absent, or half of a file that a full disk left: the data set is read again.
            return None

    def files(self) -> dict[str, tuple[Entry, Facts]]:
        """Path -> the file as it was, and what reading it showed; see `Remembered.accepted`."""
        try:
            content = zlib.decompress(self._path.read_bytes().partition(b"\n")[2])
            rows = [json.loads(line) for line in content.splitlines()]
            return {row[0]: (Entry(*row[:5]), Facts(*row[5:])) for row in rows}
        except (OSError, ValueError, TypeError, zlib.error):
            return {}

    def keep(self, findings: Remembered, files: Mapping[str, tuple[Entry, Facts]]) -> None:
        """Keeps a verification; replaces the one before in one step.

        Args:
            findings: the result.
            files: path -> the file, and what reading it showed; of an interrupted verification those that
                were read.
        """
        head = json.dumps({"version": _VERSION, **dataclasses.asdict(findings)})
        rows = "\n".join(json.dumps([*entry, *facts]) for entry, facts in files.values())
        write(self._path, head.encode() + b"\n" + zlib.compress(rows.encode(), 1))
