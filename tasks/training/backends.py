"""Where a training is logged to beside its own log: backends of mmengine, and what each has to be told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

TYPES = {
    "tensorboard": "TensorboardVisBackend",
    "mlflow": "MLflowVisBackend",
    "wandb": "WandbVisBackend",
}
"""Name that a user gives (`suite.running.loggers`) -> the backend of mmengine."""

_PROJECT = "distillation-reproducibility"
"""Under which name runs are gathered."""


def backend(name: str, folder: Path) -> dict[str, Any]:
    """The config of a backend.

    Args:
        name: one of `TYPES`.
        folder: of the run, whose name is the run's id.
    """
    settings: dict[str, dict[str, Any]] = {
        "tensorboard": {},
        "mlflow": {"exp_name": _PROJECT, "run_name": folder.name, **_mlflow_store(folder)},
        "wandb": {"init_kwargs": {"project": _PROJECT, "name": folder.name}},
    }
    return {"type": TYPES[name], "_scope_": "mmengine", **settings[name]}


def _mlflow_store(folder: Path) -> dict[str, str]:
    """The server that the user has, else a database of the run: MLflow no longer writes plain files."""
    if server := os.environ.get("MLFLOW_TRACKING_URI"):
        return {"tracking_uri": server}
    place = folder.resolve()
    return {"tracking_uri": f"sqlite:///{place}/mlflow.db", "artifact_location": str(place / "mlflow")}
