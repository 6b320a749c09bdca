"""Logging backends of mmengine that a training can use besides its own log and scalars."""

from __future__ import annotations

import importlib.util
from typing import Final

from suite.errors import SuiteError, did_you_mean

PACKAGES: Final = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""Name of a backend -> the package that it needs, which the suite does not install."""


def check_logger(name: str | None) -> None:
    """Checks that a backend is available before anything is trained.

    Raises:
        SuiteError: there is no backend of that name, or its package is not installed.
    """
    if name is None:
        return
    if name not in PACKAGES:
        raise SuiteError(f"--log-to: unknown {name!r}: {did_you_mean(name, PACKAGES)}")
    if importlib.util.find_spec(PACKAGES[name]) is None:
        raise SuiteError(
            f"--log-to {name} needs the package {PACKAGES[name]}, which is not installed: 'pip install "
            f"{PACKAGES[name]}' into this environment, or leave the option out"
        )
