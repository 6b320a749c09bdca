"""Additional places that a training logs to: mmengine's backends and their settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

TYPES = {
    "tensorboard": "TensorboardVisBackend",
    "mlflow": "MLflowVisBackend",
    "wandb": "WandbVisBackend",
}
"""Name that a user gives (`suite.running.loggers`) -> mmengine's backend."""

_PROJECT = "distillation-reproducibility"
"""Name of the project under which runs are grouped."""


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
    """The user's server if there is one, else a database per run: MLflow no longer writes plain files."""
    if server := os.environ.get("MLFLOW_TRACKING_URI"):
        return {"tracking_uri": server}
    place = folder.resolve()
    return {"tracking_uri": f"sqlite:///{place}/mlflow.db", "artifact_location": str(place / "mlflow")}
