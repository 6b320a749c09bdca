import subprocess
import sys

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets import CityscapesDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from mmseg.registry import DATASETS
from PIL import Image

from suite.paths import ROOT
from suite.planning.composing import compose as compose_recipe
from suite.published.recipes import Recipe
from tasks.data.semantic_segmentation import DigitStreets
from tasks.embedded.digit_streets import CLASSES, HEIGHT, IGNORED, IMAGES_PER_TOWN, WIDTH, compose, prepare
from tasks.embedded.glyphs import Dice, Split, load_glyphs
from tasks.embedded.store import fingerprint

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def read_all(folder):
    found = [np.array(Image.open(path)) for path in sorted(folder.rglob("*.png"))]
    return np.stack([pixels for pixels in found if pixels is not None])


@pytest.fixture(scope="session")
def label_maps(digit_streets):
    """Split -> town -> `N x HEIGHT x WIDTH`."""
    labels = digit_streets / "gtFine"
    return {
        split: {town: read_all(labels / split / town) for town in towns}
        for split, towns in IMAGES_PER_TOWN.items()
    }


def test_the_data_set_is_built_once_and_is_the_one_the_recipe_names(digit_streets):
    recipe = Recipe(task="semantic_segmentation", student="pspnet-r18")
    named = compose_recipe(recipe, "mini").data.fingerprint
    assert fingerprint(digit_streets) == named
    files = {path: path.stat().st_mtime_ns for path in digit_streets.rglob("*.png")}
    assert len(files) == 2 * sum(sum(towns.values()) for towns in IMAGES_PER_TOWN.values())
    prepare(digit_streets, named)
    assert files == {path: path.stat().st_mtime_ns for path in digit_streets.rglob("*.png")}


def test_a_street_drawn_again_is_the_same():
    glyphs = load_glyphs("val")
    for number in range(5):
        (image, labels), again = (compose(glyphs, Dice("digit-streets", number), bonnet=10) for _ in range(2))
        assert np.array_equal(image, again[0])
        assert np.array_equal(labels, again[1])
    assert not np.array_equal(labels, compose(glyphs, Dice("digit-streets", 5), bonnet=10)[1])


def test_every_image_has_its_label_map_and_no_town_is_in_two_splits(digit_streets):
    towns: list[str] = []
    for split, counts in IMAGES_PER_TOWN.items():
        towns += counts
        for town, count in counts.items():
            images, labels = (
                sorted(path.name for path in (digit_streets / kind / split / town).iterdir())
                for kind in ("leftImg8bit", "gtFine")
            )
            assert len(images) == count
            assert images[0] == f"{town}_000000_000019_leftImg8bit.png"
            assert labels == [name.replace("leftImg8bit", "gtFine_labelTrainIds") for name in images]
    assert len(set(towns)) == len(towns)


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_occurs_and_takes_a_fair_share_of_the_digits(label_maps, split):
    labels = np.concatenate(list(label_maps[split].values()))
    assert set(np.unique(labels)) == {*range(len(CLASSES)), IGNORED}
    pixels = np.bincount(labels.ravel(), minlength=256)
    assert 0.5 < pixels[0] / labels.size < 0.8
    shares = pixels[1 : len(CLASSES)] / pixels[1 : len(CLASSES)].sum()
    assert shares.min() > 0.04
    assert all((labels == label).any(axis=(1, 2)).sum() >= 10 for label in range(1, len(CLASSES)))


def test_nobody_is_asked_about_the_bonnet_and_the_borders_of_strokes(label_maps):
    for towns in label_maps.values():
        for labels in towns.values():
            rows = (labels == IGNORED).all(axis=2)
            heights = rows.sum(axis=1)
            assert set(heights) == {heights[0]}, "one car a town"
            assert 8 <= heights[0] <= 14
            assert rows[:, -heights[0] :].all()
            road = labels[:, : -heights[0]]
            fringe = road == IGNORED
            assert fringe.any(axis=(1, 2)).all()
            assert 0.02 < fringe.mean() < 0.1
            # Going along a row, paper turns into ink through the fringe, never at once.
            left, right = road[:, :, :-1], road[:, :, 1:]
            jumps = (left == 0) & (right != 0) & (right != IGNORED)
            entries = (left == 0) & (right != 0)
            assert jumps.sum() < 0.02 * entries.sum()


def test_labels_of_digits_lie_on_ink(digit_streets, label_maps):
    images = read_all(digit_streets / "leftImg8bit" / "test")
    labels = np.concatenate([label_maps["test"][town] for town in sorted(label_maps["test"])])
    for image, label_map in zip(images, labels, strict=True):
        ink = (label_map > 0) & (label_map != IGNORED)
        assert image[label_map == 0].mean() - image[ink].mean() > 40


@pytest.mark.parametrize("split", SPLITS)
def test_mmseg_reads_images_and_labels(digit_streets, label_maps, split):
    dataset = DigitStreets(
        data_root=str(digit_streets),
        data_prefix={"img_path": f"leftImg8bit/{split}", "seg_map_path": f"gtFine/{split}"},
        pipeline=[LoadImageFromFile(), LoadAnnotations(), PackSegInputs()],
    )
    labels = np.concatenate([label_maps[split][town] for town in sorted(label_maps[split])])
    assert len(dataset) == len(labels)
    for index in range(0, len(dataset), 29):
        sample = dataset[index]
        assert sample["inputs"].shape == (3, HEIGHT, WIDTH)
        assert np.array_equal(sample["data_samples"].gt_sem_seg.data.numpy(), labels[index][None])


def test_the_classes_are_registered_with_a_colour_each():
    assert DATASETS.get("DigitStreets") is DigitStreets
    assert issubclass(DigitStreets, CityscapesDataset)
    assert DigitStreets.METAINFO["classes"] == CLASSES
    assert len({tuple(colour) for colour in DigitStreets.METAINFO["palette"]}) == len(CLASSES) == 11


def test_building_needs_none_of_the_mm_packages():
    check = (
        "import sys, tasks.embedded.digit_scenes, tasks.embedded.digit_streets; "
        "heavy = {'torch', 'mmcv', 'mmdet', 'mmengine', 'mmseg'}; "
        "sys.exit(not heavy.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
