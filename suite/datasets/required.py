"""The published data sets as sources of runs: the user provides them, and every run verifies them first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from suite.contract import BlockedError, StoredClass
from suite.datasets import published, verify
from suite.errors import SuiteError

_SECONDS_BETWEEN_LINES = 60


@dataclass(frozen=True)
class Required:
    """A published data set as recipes name it (`suite.contract.DataSource`).

    Attributes:
        name: name of the data set in ``baselines/datasets.yaml``.
    """

    name: str

    def __call__(self, folder: Path, expected: str | None) -> str:
        """Makes sure that the data set exists and is the right one.

        Args:
            folder: where the zoo's configs read it.
            expected: None for the published data set. A fingerprint requests other data in the same layout,
                which must match it and may differ from what was published.

        Returns:
            The fingerprint of names and contents.

        Raises:
            BlockedError: it is missing, or is a different data set.
        """
        dataset = published(self.name)
        try:
            found = verify(dataset, folder, _Log(dataset.title))
            if expected is None:
                found.refuse_faults()
        except SuiteError as error:
            raise BlockedError(str(error)) from error
        if expected not in {None, found.fingerprint}:
            raise BlockedError(
                f"{dataset.title} at {folder} has fingerprint {found.fingerprint}, but data.fingerprint is "
                f"{expected}; restore those data, or leave the override out"
            )
        return found.fingerprint

    def classes(self, expected: str | None) -> tuple[StoredClass, ...] | None:
        """The published classes in the order of their labels; None for other data, which may have others."""
        return published(self.name).class_list or None if expected is None else None


require_imagenet = Required("imagenet")
require_coco = Required("coco")
require_cityscapes = Required("cityscapes")
require_cifar_100 = Required("cifar-100")


class _Log:
    """Prints the progress of a verification to the log of a run."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Prints a line, at most once per `_SECONDS_BETWEEN_LINES`."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_LINES
            print(f"reading {self._title}: {done:,} of {total:,} files", flush=True)
