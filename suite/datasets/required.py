"""The published data sets: obtained by the user, verified before a run reads them."""

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
        name: of the data set in ``baselines/datasets.yaml``.
    """

    name: str

    def __call__(self, folder: Path, expected: str | None) -> str:
        """Makes sure that the data set is there, and is the right one.

        Args:
            folder: where the zoo's configs read it.
            expected: None for the published data set. A fingerprint names other data in the same layout: then
                these are asked for, and nothing is held against what was published.

        Returns:
            The fingerprint of names and contents.

        Raises:
            BlockedError: it is not there, or another one.
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
        """The published classes in the order of their labels; of other data nobody knows them."""
        return published(self.name).class_list or None if expected is None else None


require_imagenet = Required("imagenet")
require_coco = Required("coco")
require_cityscapes = Required("cityscapes")
require_cifar_100 = Required("cifar-100")


class _Log:
    """Tells the log of a run how far the first verification is."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Prints a line when the last one is some time ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_LINES
            print(f"reading {self._title}: {done:,} of {total:,} files", flush=True)
