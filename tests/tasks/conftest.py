"""Fixtures for tests of the adapters: data built once, jobs made small."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from suite.recipes import Recipe, compose
from tasks.adapter import Job
from tasks.embedded.digit_pairs import prepare


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets, shared by all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def digit_pairs(data_dir: Path) -> Path:
    """The embedded classification data, built."""
    recipe = compose(Recipe(task="classification", student="resnet18"), "mini")
    prepare(data_dir / "digit-pairs", recipe["data"]["fingerprint"])
    return data_dir / "digit-pairs"


@pytest.fixture
def make_job(digit_pairs: Path, tmp_path: Path):
    """Makes jobs of the smoke profile; each gets a folder of its own unless one is named."""
    torch.set_num_threads(1)
    made = []

    def make(
        recipe: Recipe,
        *overrides: str,
        seed: int = 0,
        profile: str = "smoke",
        folder: str | None = None,
        **others: Any,
    ) -> Job:
        made.append(recipe)
        run_dir = tmp_path / (folder or f"run-{len(made)}")
        run_dir.mkdir(exist_ok=True)
        composed = compose(recipe, profile, overrides)
        return Job(recipe=composed, seed=seed, run_dir=run_dir, data_dir=digit_pairs.parent, **others)

    return make


@pytest.fixture
def trained_weights(make_job, tmp_path: Path):
    """Weights of a model that was trained for two iterations."""

    @functools.cache
    def train(model: str) -> Path:
        from tasks.classification import ClassificationAdapter

        adapter = ClassificationAdapter(make_job(Recipe(task="classification", student=model)))
        adapter.build()
        adapter.fit()
        path = tmp_path / f"{model}.pth"
        adapter.save(path)
        return path

    return train
