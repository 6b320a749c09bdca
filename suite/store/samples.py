"""Predictions of a run's scored network for a few test images, kept on request (``--samples``)."""

from __future__ import annotations

from typing import Final

from suite.contract import Sample
from suite.store.companions import Companion

SAMPLES: Final = Companion("samples", Sample, 64 * 2**20, "sample predictions")

MOST_SAMPLES: Final = 100
"""Images; a file of them stays below a few MB."""

write_samples = SAMPLES.write
read_samples = SAMPLES.read
