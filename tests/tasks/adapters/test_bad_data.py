"""Data as they are found: what cannot be used is counted and left out, or refused before the first step."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from suite.contract import BlockedError, load
from suite.published.models import load_models
from suite.published.recipes import Recipe, load_recipes
from tasks.embedded.digit_scenes import CLASSES

DENSE = [
    recipe
    for recipe in load_recipes().values()
    if recipe.task.endswith(("detection", "instance_segmentation"))
]
DETECTORS = sorted({recipe.student for recipe in DENSE})
GOOD_BOX = {"bbox": [40, 40, 120, 120], "area": 14400}


def build(job):
    adapter = load(job.recipe["adapter"])(job)
    adapter.build()
    return adapter


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.fixture
def write_scenes(tmp_path):
    """Writes training images of noise, each with the annotations it is given; returns Hydra overrides."""

    def write(*annotated, damaged=()):
        folder = tmp_path / "scenes"
        folder.mkdir()
        random = np.random.default_rng(0)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, boxes in enumerate(annotated, start=1):
            name = f"{number}.png"
            Image.fromarray(random.integers(0, 255, (256, 256, 3), np.uint8)).save(folder / name)
            images.append({"id": number, "file_name": name, "width": 256, "height": 256})
            for box in boxes:
                left, top, width, height = box["bbox"]
                outline = [left, top, left + width, top, left + width, top + height, left, top + height]
                whole = {"iscrowd": 0, "category_id": 3, "segmentation": [outline], **box}
                annotations.append({"id": len(annotations) + 1, "image_id": number, **whole})
        for number in damaged:
            truncate(folder / f"{number}.png")
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations.json").write_text(json.dumps(content))
        return (
            f"data.train.data_root={folder}",
            "data.train.ann_file=annotations.json",
            "data.train.data_prefix.img=''",
            "data.train.indices=null",
            "data.overrides.train_dataloader.batch_size=2",
        )

    return write


def test_unusable_annotations_and_images_are_left_out_and_counted(make_job, write_scenes):
    overrides = write_scenes(
        [GOOD_BOX, {"bbox": [300, 10, 40, 40], "area": 1600}],
        [GOOD_BOX, {**GOOD_BOX, "category_id": 77}, {**GOOD_BOX, "area": 0}],
        [{"bbox": [100, 100, 1, 1], "area": 1}, GOOD_BOX],
        [],
        [GOOD_BOX],
        damaged=[5],
    )
    adapter = build(make_job(Recipe(task="detection", student="retinanet-r50"), *overrides))
    adapter.fit()
    assert adapter.skipped() == {
        "annotations outside of their image": 1,
        "annotations of a category that is not listed": 1,
        "annotations without an area": 1,
        "images without objects": 1,
        "images or label maps that cannot be read": 1,
    }
    sample = adapter.runner.train_dataloader.dataset[2]
    assert sample["data_samples"].img_path.endswith("3.png")
    assert len(sample["data_samples"].gt_instances) == 2
    assert set(adapter.evaluate()) >= {"box_AP", "box_AP_S", "box_AR"}


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_a_batch_of_scenes_without_objects_and_of_one_pixel_boxes_trains(name, make_job, write_scenes):
    dot = {"bbox": [100, 100, 1, 1], "area": 1}
    overrides = write_scenes([], [], [dot, GOOD_BOX], [dot, {"bbox": [0, 0, 256, 256], "area": 65536}])
    recipe = Recipe(task=load_models()[name].task, student=name)
    adapter = build(make_job(recipe, "data.train.filter_cfg.filter_empty_gt=false", *overrides))
    adapter.runner.train_loop.dataloader.sampler.shuffle = False
    adapter.fit()
    assert adapter.skipped() == {}
    assert all(torch.isfinite(value).all() for value in adapter.student.state_dict().values())


def test_fgd_trains_on_scenes_without_objects(make_job, write_scenes, trained_weights):
    overrides = write_scenes([], [], [], [])
    recipe = load_recipes()["retinanet-r50-fgd-retinanet-r101"]
    weights = trained_weights("retinanet-r101")
    empty = "data.train.filter_cfg.filter_empty_gt=false"
    adapter = build(make_job(recipe, empty, *overrides, teacher_weights=weights))
    adapter.fit()
    assert all(torch.isfinite(value).all() for value in adapter.student.state_dict().values())


@pytest.fixture
def streets(digit_streets, tmp_path):
    """A copy of a few streets that a test may spoil."""
    for kind in ("leftImg8bit", "gtFine"):
        for part, town in (("train", "inkford"), ("test", "vellum")):
            target = tmp_path / "streets" / kind / part / town
            target.mkdir(parents=True)
            for path in sorted((digit_streets / kind / part / town).iterdir())[:4]:
                shutil.copy(path, target / path.name)
    return tmp_path / "streets"


def street_job(make_job, folder):
    roots = [f"data.{part}.data_root={folder}" for part in ("train", "test_loader.dataset")]
    sizes = ["data.train.indices=null", "data.test_loader.dataset.indices=null"]
    batch = "data.overrides.train_dataloader.batch_size=2"
    return make_job(Recipe(task="semantic_segmentation", student="pspnet-r18"), *roots, *sizes, batch)


def test_damaged_streets_are_replaced_and_unlisted_classes_ignored(make_job, streets):
    images = sorted((streets / "leftImg8bit" / "train").rglob("*.png"))
    labels = sorted((streets / "gtFine" / "train").rglob("*.png"))
    truncate(images[0])
    truncate(labels[1])
    spoilt = np.array(Image.open(labels[2]))
    spoilt[:20] = 77
    Image.fromarray(spoilt).save(labels[2])
    adapter = build(street_job(make_job, streets))
    adapter.fit()
    skipped = adapter.skipped()
    # A damaged one may be drawn again in the place of another.
    assert skipped["images or label maps that cannot be read"] >= 2
    assert skipped["label maps with pixels of no listed class"] >= 1
    read = [entry for entry in adapter.runner.train_dataloader.dataset if entry["data_samples"]]
    found = [np.unique(entry["data_samples"].gt_sem_seg.data.numpy()) for entry in read]
    assert all(set(values) <= {*range(11), 255} for values in found)


@pytest.mark.parametrize("kind", ["leftImg8bit", "gtFine"])
def test_a_damaged_test_image_is_refused_before_the_training(kind, make_job, streets):
    victim = sorted((streets / kind / "test").rglob("*.png"))[1]
    truncate(victim)
    with pytest.raises(BlockedError, match=rf"{victim.name} cannot be decoded \(1 of 8 test images\)"):
        build(street_job(make_job, streets))
