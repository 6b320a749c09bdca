"""The backends of mmengine that a training may be logged to."""

from __future__ import annotations

from importlib.util import find_spec

import mmengine.visualization  # noqa: F401  (registers the backends)
import pytest
from mmengine.registry import VISBACKENDS

from suite.contract import load
from suite.published.recipes import Recipe
from suite.running.loggers import PACKAGES
from tasks.training.backends import TYPES, backend


def test_what_is_offered_is_what_there_is():
    assert TYPES.keys() == PACKAGES.keys()


@pytest.mark.parametrize("name", TYPES)
def test_mmengine_has_each_backend_with_these_settings(name, tmp_path):
    built = VISBACKENDS.build({**backend(name, tmp_path), "save_dir": str(tmp_path)})
    assert type(built).__name__ == TYPES[name]


def test_mlflow_is_told_of_the_server_that_the_user_has(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert backend("mlflow", tmp_path)["tracking_uri"] == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert backend("mlflow", tmp_path)["tracking_uri"] == "http://localhost:5000"


def built(make_job, name):
    job = make_job(Recipe(task="classification", student="resnet18"), log_to=name)
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    return adapter


def test_a_training_is_logged_nowhere_else_unless_asked_for(make_job):
    assert list(built(make_job, None).runner.visualizer._vis_backends.values()) == []


@pytest.mark.skipif(find_spec("wandb") is not None, reason="the package is there, and would be used")
def test_a_training_reaches_the_backend_that_was_asked_for(make_job):
    with pytest.raises(ImportError, match="install wandb"):
        built(make_job, "wandb")
