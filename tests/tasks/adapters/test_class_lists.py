"""The class list of the data sets that an adapter has built, held against what it should be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from suite.contract import BlockedError, load
from suite.datasets.classes import hold_classes
from suite.published.recipes import Recipe

STUDENTS = {
    "classification": "resnet18",
    "detection": "retinanet-r50",
    "instance_segmentation": "mask-rcnn-r50",
    "semantic_segmentation": "pspnet-r18",
}


@pytest.fixture
def build(make_job):
    """Builds the adapter of a task's student, whatever lies in the data."""

    def make(task: str, *overrides: str) -> Any:
        job = make_job(Recipe(task=task, student=STUDENTS[task]), *overrides)
        adapter = load(job.recipe.adapter)(job)
        adapter.build()
        return adapter

    return make


@pytest.fixture
def pairs(digit_pairs: Path, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A copy of the digit pairs, and the overrides that read it."""
    folder = tmp_path / "pairs"
    shutil.copytree(digit_pairs, folder, copy_function=os.link)
    return folder, (f"data.train.data_root={folder}", f"data.test_loader.dataset.data_root={folder}")


def hold(adapter: Any) -> None:
    hold_classes(adapter.job.recipe.data, adapter.classes())


@pytest.mark.parametrize("task", STUDENTS)
def test_what_is_built_has_the_classes_of_its_generator(task, build):
    adapter = build(task)
    data = adapter.job.recipe.data
    own = list(load(data.prepare).classes(data.fingerprint))
    assert adapter.classes() == {"train": own, "test": own}
    hold(adapter)


@pytest.mark.parametrize(
    ("folder", "difference"),
    [
        ("test/.ipynb_checkpoints", r"test: class 0 is '\.ipynb_checkpoints' instead of '00'"),
        ("train/05b", "train: class 6 is '05b' instead of '06'"),
        ("test/zero", "test: class 100 is 'zero' instead of none"),
    ],
)
def test_a_folder_that_moves_the_labels_is_named(folder, difference, build, pairs):
    root, overrides = pairs
    (root / folder).mkdir()
    with pytest.raises(BlockedError, match=f"^digit-pairs, {difference}; "):
        hold(build("classification", *overrides))


def test_a_missing_class_is_named(build, pairs):
    root, overrides = pairs
    shutil.rmtree(root / "test" / "41")
    with pytest.raises(BlockedError, match=r"^digit-pairs, test: class 41 is '42' instead of '41'"):
        hold(build("classification", *overrides))


def test_a_folder_that_is_added_after_the_check_moves_no_label(build, pairs):
    root, overrides = pairs
    adapter = build("classification", *overrides)
    hold(adapter)
    expected = [adapter._test_data.get_data_info(index)["gt_label"] for index in range(100)]
    (root / "test" / ".ipynb_checkpoints").mkdir()
    adapter.evaluate()
    scored = adapter.runner.test_loop.dataloader.dataset
    assert [scored.get_data_info(index)["gt_label"] for index in range(100)] == expected


def test_categories_in_another_order_are_named(build, digit_scenes, tmp_path):
    path = digit_scenes / "annotations" / "instances_test.json"
    text = path.read_text(encoding="utf-8")
    moved = text.replace('{"id":1,"name":"zero"},', "").replace("}]}", '},{"id":1,"name":"zero"}]}')
    assert len(moved) == len(text)
    (tmp_path / "moved.json").write_text(moved, encoding="utf-8")
    override = f"data.test_loader.dataset.ann_file={tmp_path / 'moved.json'}"
    with pytest.raises(
        BlockedError,
        match=r"^digit-scenes, test: class 0 is 'zero' \(2 in the files\) instead of 'zero' \(1 in",
    ):
        hold(build("detection", override))


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        (
            "+data.train.reduce_zero_label=true",
            r"train: class 0 is 'paper' \(1 in the files\) instead of 'paper' \(0 in",
        ),
        (
            "+data.train.metainfo.classes=[zero,paper,one,two,three,four,five,six,seven,eight,nine]",
            r"train: class 0 is 'zero' \(1 in the files\) instead of 'paper' \(0 in",
        ),
    ],
)
def test_labels_that_are_moved_are_named(override, difference, build):
    with pytest.raises(BlockedError, match=f"^digit-streets, {difference}"):
        hold(build("semantic_segmentation", override))
