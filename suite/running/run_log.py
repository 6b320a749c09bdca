"""The log of a run: a stream whose write errors do not stop the run."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class RunLog(io.TextIOBase):
    """A text stream into a file that never raises when the file cannot be written, as on a full disk.

    A training is worth more than its log. What cannot be written is dropped, and reported once.
    """

    encoding = "utf-8"

    def __init__(self, path: Path, file: BinaryIO, complain: Callable[[str], None]) -> None:
        """Takes over the file.

        Args:
            path: of the file, for messages.
            file: opened for appending, unbuffered.
            complain: called with one line when text cannot be written for the first time.
        """
        self._path = path
        self._file = file
        self._complain: Callable[[str], None] | None = complain

    def write(self, text: str) -> int:
        """Writes the text, or drops it if the file cannot be written."""
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
        """True."""
        return True

    def fileno(self) -> int:
        """The file's descriptor, which child processes and C code write to."""
        return self._file.fileno()
