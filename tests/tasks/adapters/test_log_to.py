"""The backends of mmengine that a training may be logged to."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.registry import VISBACKENDS

from suite.contract import Job, load
from suite.planning.composing import compose
from suite.published.recipes import Recipe
from suite.running.loggers import PACKAGES
from tasks.adapters.base import LOGGERS


def backends_of(tmp_path: Path, name: str | None) -> list[dict[str, object]]:
    recipe = compose(Recipe(task="classification", student="resnet18"), "smoke")
    job = Job(recipe=recipe, seed=0, run_dir=tmp_path / "0123456789abcdef", data_dir=tmp_path, log_to=name)
    found: list[dict[str, object]] = load(recipe.adapter)(job)._backends()
    return found


def test_what_is_offered_is_what_there_is():
    assert LOGGERS.keys() == PACKAGES.keys()


@pytest.mark.parametrize("name", LOGGERS)
def test_mmengine_has_each_backend_with_these_arguments(name, tmp_path):
    (config,) = backends_of(tmp_path, name)
    backend = VISBACKENDS.build({**config, "save_dir": str(tmp_path)})
    assert type(backend).__name__ == LOGGERS[name]


def test_nothing_else_is_written_unless_asked_for(tmp_path):
    assert backends_of(tmp_path, None) == []
