"""The log of a run: text that may get lost, and takes nothing with it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class RunLog(io.TextIOBase):
    """A text stream into a file that a full disk cuts short; whoever prints never hears of it.

    A training is worth more than its log. What cannot be written is left out, and said once.
    """

    encoding = "utf-8"

    def __init__(self, path: Path, file: BinaryIO, complain: Callable[[str], None]) -> None:
        """Takes over the file.

        Args:
            path: what it is called.
            file: opened to append to, unbuffered.
            complain: called with one line at the first text that cannot be written.
        """
        self._path = path
        self._file = file
        self._complain: Callable[[str], None] | None = complain

    def write(self, text: str) -> int:
        """Writes what the disk takes."""
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            if self._complain is not None:
                complain, self._complain = self._complain, None
                complain(
                    f"{self._path} cannot be written ({error.strerror}): the run continues without a log"
                )
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The file's own number, which child processes and C code write to."""
        return self._file.fileno()
