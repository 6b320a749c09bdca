"""Stores the findings of the last verification of a data set in the work folder."""

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
"""Version of the format; raised when stored verifications are no longer sufficient."""


@dataclass(frozen=True)
class Remembered:
    """What a verification found.

    Attributes:
        expectation: hash of what was checked (`PublishedDataset.expectation`).
        state: hash of names, sizes and times of its files (`listing.state_of`); empty if not all could be
            read.
        fingerprint: hash of its contents (`listing.fingerprint_of`); empty if it was interrupted.
        accepted: fingerprint of the last contents without a fault; empty if there were none. The stored facts
            about files then describe these contents.
        files: number of files.
        size: their total size in bytes.
        checks: the results of the checks.
    """

    expectation: str
    state: str
    fingerprint: str
    accepted: str
    files: int
    size: int
    checks: list[Check]


class Memory:
    """The findings for one data set at one place, in one file.

    The first line is all that an unchanged data set needs; the compressed facts about each file follow, and
    are read only if something has changed.
    """

    def __init__(self, name: str, root: Path) -> None:
        """Chooses the path of the file.

        Args:
            name: name of the data set.
            root: its folder.
        """
        place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
        self._path = work_dir() / "verified" / f"{name}-{place}"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Lets one process at a time verify; the others wait, and then find its result."""
        with owned(self._path.with_suffix(".owner")):
            yield

    def findings(self) -> Remembered | None:
        """The findings of the last verification; None if there are none."""
        try:
            with open(self._path, "rb") as file:
                head = json.loads(file.readline())
            if head.pop("version") != _VERSION:
                return None
            return Remembered(**{**head, "checks": [Check(**check) for check in head["checks"]]})
        except (OSError, ValueError, KeyError, TypeError):
            # Missing, or truncated by a full disk: the data set is read again.
            return None

    def files(self) -> dict[str, tuple[Entry, Facts]]:
        """Path -> the file as it was then, and what reading it showed; see `Remembered.accepted`."""
        try:
            content = zlib.decompress(self._path.read_bytes().partition(b"\n")[2])
            rows = [json.loads(line) for line in content.splitlines()]
            return {row[0]: (Entry(*row[:5]), Facts(*row[5:])) for row in rows}
        except (OSError, ValueError, TypeError, zlib.error):
            return {}

    def keep(self, findings: Remembered, files: Mapping[str, tuple[Entry, Facts]]) -> None:
        """Stores a verification; atomically replaces the previous one.

        Args:
            findings: the result.
            files: path -> the file, and what reading it showed; of an interrupted verification only the files
                that were read.
        """
        head = json.dumps({"version": _VERSION, **dataclasses.asdict(findings)})
        rows = "\n".join(json.dumps([*entry, *facts]) for entry, facts in files.values())
        write(self._path, head.encode() + b"\n" + zlib.compress(rows.encode(), 1))
