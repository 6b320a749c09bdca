"""Where the project keeps things. Every path in the code starts from one of these."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "baselines"
CONF = ROOT / "suite" / "conf"
LOCK_FILE = ROOT / "requirements.lock"
REFERENCE = ROOT / "results" / "reference"
"""The maintainers' own records and the tables made from them; no run of a user is looked up there."""


def results_dir() -> Path:
    """Records and tables: ``results/``, or the folder named by ``SUITE_RESULTS``."""
    return Path(os.environ.get("SUITE_RESULTS", ROOT / "results"))


def records_dir() -> Path:
    """One JSON file an attempt at a run."""
    return results_dir() / "records"


def datasets_dir() -> Path:
    """The published data sets: ``datasets/`` in the work folder, or the folder named by ``SUITE_DATA``."""
    return Path(os.environ.get("SUITE_DATA", work_dir() / "datasets"))


def weights_dir() -> Path:
    """Fetched checkpoints: ``weights/`` in the work folder, or the folder named by ``SUITE_WEIGHTS``."""
    return Path(os.environ.get("SUITE_WEIGHTS", work_dir() / "weights"))


def work_dir() -> Path:
    """Checkpoints, logs and built data: ``.work/`` (git ignores it), or ``SUITE_WORK``."""
    return Path(os.environ.get("SUITE_WORK", ROOT / ".work"))
