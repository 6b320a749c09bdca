"""Fixtures for tests of the adapters: data built once, jobs made small."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from suite.contract import Job, load
from suite.planning.composing import compose
from suite.published.models import load_models
from suite.published.recipes import Recipe, load_recipes
from tests.conftest import built_once


@pytest.fixture(scope="session")
def data_dir(common_folder: Path) -> Path:
    """A folder of data sets, shared by all tests."""
    folder = common_folder / "data"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def prepare(data_dir: Path):
    """Builds the embedded data of a composed recipe, each set once; returns its folder."""

    @functools.cache
    def build(name: str, builder: str, fingerprint: str) -> Path:
        return built_once(data_dir / name, lambda folder: load(builder)(folder, fingerprint))

    return lambda recipe: build(recipe.data.name, recipe.data.prepare, recipe.data.fingerprint)


@pytest.fixture(scope="session")
def digit_pairs(prepare):
    """The embedded classification data, built."""
    return prepare(compose(Recipe(task="classification", student="resnet18"), "mini"))


@pytest.fixture(scope="session")
def digit_scenes(prepare):
    """The embedded detection data, built."""
    return prepare(compose(Recipe(task="detection", student="retinanet-r50"), "mini"))


@pytest.fixture(scope="session")
def digit_streets(prepare):
    """The embedded segmentation data, built."""
    return prepare(compose(Recipe(task="semantic_segmentation", student="pspnet-r18"), "mini"))


@pytest.fixture(scope="session")
def compose_job(prepare, data_dir: Path):
    """Makes a job in a folder that is there; its data are built first.

    Without weights to start from, a network that has a pretrained backbone starts from random ones.
    """
    import torch

    torch.set_num_threads(1)

    def make(recipe: Recipe, profile: str, overrides: tuple[str, ...], run_dir: Path, **others: Any) -> Job:
        composed = compose(recipe, profile, overrides)
        if composed.student.pretrained and "start_weights" not in others:
            composed = compose(recipe, profile, (*overrides, "student.embedded.pretrained=null"))
        if composed.scale == "embedded":
            prepare(composed)
        return Job(recipe=composed, run_dir=run_dir, data_dir=data_dir, **others)

    return make


@pytest.fixture
def make_job(compose_job, tmp_path: Path):
    """Makes jobs of the smoke profile; each gets a folder of its own unless one is named."""
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
        job: Job = compose_job(recipe, profile, overrides, run_dir, seed=seed, **others)
        return job

    return make


@pytest.fixture(scope="session")
def trained_weights(compose_job, common_folder: Path):
    """Weights of a model that was trained for two iterations."""

    @functools.cache
    def weights_of(model: str) -> Path:
        def train(folder: Path) -> None:
            folder.mkdir()
            recipe = Recipe(task=load_models()[model].task, student=model)
            job = compose_job(recipe, "smoke", (), folder, seed=0)
            adapter = load(job.recipe.adapter)(job)
            adapter.build()
            adapter.fit()
            adapter.save(folder / "weights.pth")

        return built_once(common_folder / f"weights-{model}", train) / "weights.pth"

    return weights_of


@pytest.fixture
def distilled_job(make_job, trained_weights):
    """Makes the job of a recipe with a teacher; the teacher was trained for two iterations."""

    def make(name: str, *overrides: str, **others: Any) -> Job:
        recipe = load_recipes()[name]
        job: Job = make_job(recipe, *overrides, teacher_weights=trained_weights(recipe.teacher), **others)
        return job

    return make


@dataclass(frozen=True)
class BrightSquare:
    """Two training images, each black with one white square whose box is known.

    Attributes:
        folder: holds `annotations.json` and the images, 256 x 128 pixels.
    """

    folder: Path

    @property
    def overrides(self) -> tuple[str, ...]:
        """Hydra overrides that train on them, at half their size and flipped."""
        steps = "[{type: LoadImageFromFile}, {type: LoadAnnotations, with_bbox: true}, "
        steps += "{type: Resize, scale_factor: 0.5}, {type: RandomFlip, prob: 1.0}, {type: PackDetInputs}]"
        return (
            f"data.train.data_root={self.folder}",
            "data.train.ann_file=annotations.json",
            "data.train.data_prefix.img=''",
            "data.train.indices=null",
            "data.overrides.train_dataloader.batch_size=2",
            f"data.train.pipeline={steps}",
        )

    def cropped(self, width: int, height: int) -> tuple[str, ...]:
        """The same with the images cut to a size."""
        for path in self.folder.glob("*.png"):
            Image.open(path).crop((0, 0, width, height)).save(path)
        return self.overrides


@pytest.fixture
def bright_square(tmp_path: Path) -> BrightSquare:
    """Writes the two images and their annotations."""
    folder = tmp_path / "bright-square"
    folder.mkdir()
    images, annotations = [], []
    for number, (left, top, side) in enumerate([(32, 48, 40), (144, 16, 64)], start=1):
        picture = np.zeros((128, 256, 3), np.uint8)
        picture[top : top + side, left : left + side] = 255
        Image.fromarray(picture).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 256, "height": 128})
        box = {"bbox": [left, top, side, side], "area": side * side, "iscrowd": 0, "category_id": number}
        annotations.append({"id": number, "image_id": number, **box})
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return BrightSquare(folder)
