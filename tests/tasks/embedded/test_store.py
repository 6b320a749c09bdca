"""Faults planted in embedded data: each is refused by name, however well it hides."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.contract import BlockedError, Job, StoredClass, load
from suite.planning.composing import compose
from suite.published.recipes import Recipe
from tasks.embedded.digit_pairs import compose as draw_pair
from tasks.embedded.glyphs import Dice, load_glyphs
from tasks.embedded.store import EmbeddedDataset, WrongFingerprintError, fingerprint

STUDENTS = {
    "digit-pairs": ("classification", "resnet18", "nkd-resnet18-student"),
    "digit-scenes": ("detection", "retinanet-r50", "fgd-retinanet-r50-student"),
    "digit-streets": ("semantic_segmentation", "pspnet-r18", "mgd-pspnet-r18-student"),
}
"""Data set -> task, student, and the claim of the student alone."""


def same_time(path: Path, content: bytes) -> None:
    """Gives a file other content under its old times; as a new file, for others may share the old one."""
    status = path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap(first: Path, second: Path) -> None:
    contents = first.read_bytes(), second.read_bytes()
    assert len(contents[0]) == len(contents[1])
    assert contents[0] != contents[1]
    same_time(first, contents[1])
    same_time(second, contents[0])


def a_box_less(root: Path) -> None:
    path = root / "annotations" / "instances_test.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["annotations"].pop()
    same_time(path, json.dumps(content, separators=(",", ":")).encode())


def another_image(root: Path) -> None:
    """An image of the same class and size, drawn with other dice."""
    pixels = draw_pair(0, load_glyphs("test"), Dice("another"))
    same_time(root / "test/00/000.ppm", b"P6\n32 32\n255\n" + pixels)


def two_label_maps(root: Path) -> None:
    swap(*sorted((root / "gtFine/train/nibton").iterdir())[:2])


IN_A_DATA_SET: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an empty hidden class folder": (
        "digit-pairs",
        lambda root: (root / "test" / ".ipynb_checkpoints").mkdir(),
        r"test/\.ipynb_checkpoints is an empty folder, and not part of the data",
    ),
    "two images of different classes swapped": (
        "digit-pairs",
        lambda root: swap(root / "test/00/000.ppm", root / "test/01/000.ppm"),
        r"test/00/000\.ppm is not as it was built, and 1 more",
    ),
    "an image replaced by one of its size": (
        "digit-pairs",
        another_image,
        r"test/00/000\.ppm is not as it was built",
    ),
    "two label maps swapped": (
        "digit-streets",
        two_label_maps,
        r"nibton_000000_000019_gtFine_labelTrainIds\.png is not as it was built, and 1 more",
    ),
    "a box less": (
        "digit-scenes",
        a_box_less,
        r"annotations/instances_test\.json is not as it was built",
    ),
}


@pytest.fixture
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, Path], Path]:
    """Copies a built data set into a folder of data sets; its files are shared until they are replaced."""

    def copy(name: str, below: Path) -> Path:
        built: Path = request.getfixturevalue(name.replace("-", "_"))
        shutil.copytree(built, below / name, copy_function=os.link)
        shutil.copy(built.with_name(f"{name}.files.json"), below / f"{name}.files.json")
        return below / name

    return copy


@pytest.mark.parametrize("planted", IN_A_DATA_SET)
def test_a_fault_in_a_data_set_blocks_a_run_by_its_name(planted, copied, tmp_path):
    name, plant, what = IN_A_DATA_SET[planted]
    root = copied(name, tmp_path / "data")
    task, student, _ = STUDENTS[name]
    recipe = compose(Recipe(task=task, student=student), "mini")
    adapter = load(recipe.adapter)(Job(recipe=recipe, seed=0, run_dir=tmp_path, data_dir=root.parent))
    plant(root)
    with pytest.raises(BlockedError, match=rf"{name}: .*{what} \(fingerprint .*; delete the folder") as error:
        adapter.fingerprint()
    assert "\n" not in str(error.value)
    shutil.rmtree(root)


@pytest.mark.slow
def test_reproduce_writes_no_number_on_data_that_somebody_has_touched(copied, suite):
    data = suite.folder / "work" / "data"
    data.unlink()
    found = {}
    for planted in ("an empty hidden class folder", "two label maps swapped", "a box less"):
        name, plant, what = IN_A_DATA_SET[planted]
        plant(copied(name, data))
        found[name] = what
    classifier, *dense = [claim for _, _, claim in STUDENTS.values()]
    words = ("--profile", "smoke", "--device", "cpu", "--jobs", "2")
    # Without their backbones, for which the classifier's data would have to be read.
    for claims in ((classifier,), (*dense, "student.embedded.pretrained=null")):
        done = suite("reproduce", *words, "--claim", *claims)
        assert done.returncode == 1, done.stderr
    records = {record.recipe["data"]["name"]: record for record in suite.records.values()}
    assert records.keys() == found.keys()
    for name, what in found.items():
        assert (records[name].status, records[name].metrics) == ("blocked", {})
        assert re.search(what, str(records[name].error))


class Tiny(EmbeddedDataset):
    """Three images of two classes."""

    class_list = (StoredClass("0"), StoredClass("1"))

    def build(self, folder: Path) -> None:
        for image in ("train/0/a.ppm", "test/0/a.ppm", "test/1/a.ppm"):
            (folder / image).parent.mkdir(parents=True)
            (folder / image).write_bytes(image.encode())


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[EmbeddedDataset, Path, str]:
    """A data set of three images, the folder where it was built, and its fingerprint."""
    prepare = Tiny()
    expected = tmp_path / "expected"
    prepare.build(expected)
    folder = tmp_path / "data" / "tiny"
    folder.parent.mkdir()
    assert prepare(folder, fingerprint(expected)) == fingerprint(expected)
    return prepare, folder, fingerprint(expected)


def an_image_in_a_hidden_folder(root: Path) -> None:
    (root / "test/.hidden").mkdir()
    (root / "test/.hidden/a.ppm").touch()


def a_link_in_place_of_an_image(root: Path) -> None:
    (root / "test/0/a.ppm").rename(root.with_name("a.ppm"))
    (root / "test/0/a.ppm").symlink_to(root.with_name("a.ppm"))


BESIDE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty folder": (lambda root: (root / "train/1").mkdir(), "train/1 is an empty folder"),
    "empty folders": (
        lambda root: (root / "train/1/2/3").mkdir(parents=True),
        "train/1/2/3 is an empty folder",
    ),
    "an image in a hidden folder": (
        an_image_in_a_hidden_folder,
        r"test/\.hidden/a\.ppm is not part of the data",
    ),
    "a link to a folder": (lambda root: (root / "test/2").symlink_to(root / "test/1"), "test/2 is a link"),
    "a link in place of an image": (a_link_in_place_of_an_image, r"test/0/a\.ppm is a link"),
    "a link to nowhere": (
        lambda root: (root / "test/0/b.ppm").symlink_to("nowhere"),
        r"test/0/b\.ppm is a link",
    ),
    "a pipe": (lambda root: os.mkfifo(root / "test/0/b.ppm"), r"test/0/b\.ppm is no file"),
    "an image more": (lambda root: (root / "test/0/b.ppm").touch(), r"test/0/b\.ppm is not part of the data"),
    "an image less": (lambda root: (root / "test/0/a.ppm").unlink(), "test/0 is an empty folder"),
    "a class less": (lambda root: shutil.rmtree(root / "test/0"), r"test/0/a\.ppm is missing"),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_whatever_is_not_of_the_data_is_named(beside, tiny):
    plant, what = BESIDE[beside]
    prepare, folder, expected = tiny
    plant(folder)
    assert fingerprint(folder) != expected
    with pytest.raises(WrongFingerprintError, match=rf"tiny: {what}.* \(fingerprint .*; delete the folder"):
        prepare(folder, expected)
    shutil.rmtree(folder)
    assert prepare(folder, expected) == expected


@pytest.mark.parametrize("hashes", [None, b"", b"[]", b'{"fingerprint": "of others", "files": {}}'])
def test_without_the_hashes_of_the_build_the_fingerprint_still_refuses(tiny, hashes):
    prepare, folder, expected = tiny
    kept, image = folder.with_name("tiny.files.json"), folder / "test" / "0" / "a.ppm"
    if hashes is None:
        kept.unlink()
    else:
        kept.write_bytes(hashes)
    built = image.read_bytes()
    image.write_bytes(built[::-1])
    with pytest.raises(WrongFingerprintError, match=r"tiny: other data \(fingerprint .* delete the folder"):
        prepare(folder, expected)
    image.write_bytes(built)
    assert prepare(folder, expected) == expected
