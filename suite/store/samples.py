"""What the scored network of a run predicts for a few test images, kept on request (``--samples``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from suite.contract import Sample
from suite.store.companions import Companion

SAMPLES: Final = Companion("samples", 64 * 2**20, "sample predictions")

MOST_SAMPLES: Final = 100
"""Images; a file of them stays below a few MB."""


class _Recorded(Protocol):
    """As much of a record, or of its summary, as leads to its samples."""

    @property
    def run_id(self) -> str: ...
    @property
    def samples_sha256(self) -> str | None: ...


def write_samples(folder: Path, run_id: str, samples: Iterable[Sample]) -> str:
    """Writes the samples of a run beside its record; returns the SHA-256 of the content, for the record.

    Raises:
        OSError: the file system refuses.
    """
    return SAMPLES.write(folder, run_id, samples)


def read_samples(folder: Path, record: _Recorded) -> list[Sample]:
    """The samples of a record, in the order of the test images; none where it names no file.

    Args:
        folder: of the records.
        record: the record, or its summary.

    Raises:
        SuiteError: the file is missing, cannot be read, or is not the one that the record names.
    """
    return SAMPLES.read(Sample, folder, record.run_id, record.samples_sha256)


def check_samples(folder: Path, record: _Recorded) -> None:
    """Makes sure that the samples of a record are there and unaltered.

    Raises:
        SuiteError: as `read_samples`.
    """
    SAMPLES.content(folder, record.run_id, record.samples_sha256)
