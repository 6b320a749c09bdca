"""The published data sets: obtained by the user, verified before a run reads them."""

from __future__ import annotations

import time
from pathlib import Path

from suite.contract import BlockedError
from suite.datasets import published, verify
from suite.errors import SuiteError

_SECONDS_BETWEEN_LINES = 60


def require_imagenet(folder: Path, expected: str | None) -> str:
    """Makes sure that ImageNet-1k lies where the zoo's configs read it; see `_require`."""
    return _require("imagenet", folder, expected)


def require_coco(folder: Path, expected: str | None) -> str:
    """Makes sure that COCO 2017 lies where the zoo's configs read it; see `_require`."""
    return _require("coco", folder, expected)


def require_cityscapes(folder: Path, expected: str | None) -> str:
    """Makes sure that Cityscapes lies where the zoo's configs read it; see `_require`."""
    return _require("cityscapes", folder, expected)


def require_cifar_100(folder: Path, expected: str | None) -> str:
    """Makes sure that CIFAR-100 lies where the zoo's configs read it; see `_require`."""
    return _require("cifar-100", folder, expected)


def _require(name: str, folder: Path, expected: str | None) -> str:
    """Makes sure that a data set is there, and is the right one.

    Args:
        name: of the data set.
        folder: where it lies.
        expected: None for the published data set. A fingerprint names other data in the same layout: then
            these are asked for, and nothing is held against what was published.

    Returns:
        The fingerprint of names and contents.

    Raises:
        BlockedError: it is not there, or another one.
    """
    dataset = published(name)
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
