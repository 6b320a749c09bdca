"""Where the project keeps things. Every path in the code starts from one of these.

The code runs in one of two places. In a checkout everything is below its root, including results and the work
folder. When installed from a wheel, the data of the checkout (published numbers, lock, reference records) are
inside the package, and what a user produces goes below the current folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from suite.errors import SuiteError, printable

PACKAGE = Path(__file__).resolve().parent
BUNDLE = PACKAGE / "bundle"
"""The data of the checkout that the wheel was built from; `setup.py` puts it there. Absent in a checkout."""
CHECKOUT: Path | None = None if BUNDLE.is_dir() else PACKAGE.parent
"""The clone that this code runs from; None if it was installed from a wheel."""

ROOT = CHECKOUT or BUNDLE
BASELINES = ROOT / "baselines"
CONF = PACKAGE / "conf"
LOCK_FILE = ROOT / "requirements.lock"
REFERENCE = ROOT / "results" / "reference"
"""The maintainers' own records and the tables made from them; a user's runs are never looked up there."""


def home() -> Path:
    """The default parent of the results and work folders: the checkout, or otherwise the current folder."""
    return CHECKOUT or Path.cwd()


def _named(variable: str, default: Path) -> Path:
    """The folder that an environment variable names, or the default.

    An empty variable counts as not set; ``~`` is expanded as in a shell.

    Raises:
        SuiteError: there is no such home folder.
    """
    folder = os.environ.get(variable)
    try:
        return Path(folder).expanduser() if folder else default
    except RuntimeError:
        raise SuiteError(
            f"{variable}={printable(folder)}: there is no such home folder; write the full path"
        ) from None


def results_dir() -> Path:
    """Records and tables: ``results/``, or the folder named by ``SUITE_RESULTS``."""
    return _named("SUITE_RESULTS", home() / "results")


def records_dir() -> Path:
    """The record store: one JSON file per attempt at a run."""
    return results_dir() / "records"


def datasets_dir() -> Path:
    """The published data sets: ``datasets/`` in the work folder, or the folder named by ``SUITE_DATA``."""
    return _named("SUITE_DATA", work_dir() / "datasets")


def weights_dir() -> Path:
    """Fetched checkpoints: ``weights/`` in the work folder, or the folder named by ``SUITE_WEIGHTS``."""
    return _named("SUITE_WEIGHTS", work_dir() / "weights")


def work_dir() -> Path:
    """Checkpoints, logs and built data: ``.work/`` (git ignores it), or ``SUITE_WORK``."""
    return _named("SUITE_WORK", home() / ".work")
