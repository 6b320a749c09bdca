"""Faults planted in embedded data: each is refused by name, however well it hides."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.contract import BlockedError, StoredClass, load
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


HIDDEN = "test/.ipynb_checkpoints"


def recipe_on(name: str) -> Any:
    task, student, _ = STUDENTS[name]
    return compose(Recipe(task=task, student=student), "smoke")


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


def an_image_in_a_hidden_folder(root: Path) -> None:
    (root / HIDDEN).mkdir()
    shutil.copy(root / "test/00/000.ppm", root / HIDDEN)


def a_link_in_place_of_an_image(root: Path) -> None:
    (root / "test/00/000.ppm").unlink()
    (root / "test/00/000.ppm").symlink_to(root / "test/01/000.ppm")


MAP = r"gtFine/train/nibton/nibton_000000_000019_gtFine_labelTrainIds\.png is not as it was built, and 1 more"
PLANTED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an empty class folder": (
        "digit-pairs",
        lambda root: (root / "train/000").mkdir(),
        "train/000 is an empty folder, and no part of the data",
    ),
    "an empty hidden folder": (
        "digit-pairs",
        lambda root: (root / HIDDEN).mkdir(),
        r"test/\.ipynb_checkpoints is an empty folder, and no part of the data",
    ),
    "a hidden folder with an image": (
        "digit-pairs",
        an_image_in_a_hidden_folder,
        r"test/\.ipynb_checkpoints/000\.ppm is no part of the data",
    ),
    "a link to a class": (
        "digit-pairs",
        lambda root: (root / "test/000").symlink_to(root / "test/00"),
        "test/000 is a link, and no part of the data",
    ),
    "a link in place of an image": (
        "digit-pairs",
        a_link_in_place_of_an_image,
        r"test/00/000\.ppm is a link, and no part of the data, and 1 more",
    ),
    "a pipe": (
        "digit-pairs",
        lambda root: os.mkfifo(root / "test/00/pipe.ppm"),
        r"test/00/pipe\.ppm is no file, and no part of the data",
    ),
    "an image more": (
        "digit-pairs",
        lambda root: shutil.copy(root / "test/00/000.ppm", root / "test/00/020.ppm"),
        r"test/00/020\.ppm is no part of the data",
    ),
    "an image less": (
        "digit-pairs",
        lambda root: (root / "test/00/000.ppm").unlink(),
        r"test/00/000\.ppm is missing",
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
    "two label maps swapped": ("digit-streets", two_label_maps, MAP),
    "a box less": (
        "digit-scenes",
        a_box_less,
        r"annotations/instances_test\.json is not as it was built",
    ),
}


@pytest.fixture
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """A built data set under its name in a folder of the test's own; its files are shared until replaced."""

    def copy(name: str, below: str = "data") -> Path:
        built: Path = request.getfixturevalue(name.replace("-", "_"))
        folder = tmp_path / below / name
        shutil.copytree(built, folder, copy_function=os.link)
        shutil.copy(built.with_name(f"{name}.files.json"), folder.with_name(f"{name}.files.json"))
        return folder

    return copy


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_blocks_a_run_by_its_name(planted, copied, make_job):
    name, plant, what = PLANTED[planted]
    root = copied(name)
    recipe = recipe_on(name)
    job = make_job(Recipe(task=recipe.task, student=recipe.student.name))
    adapter = load(recipe.adapter)(
        type(job)(recipe=recipe, seed=0, run_dir=job.run_dir, data_dir=root.parent)
    )
    assert adapter.fingerprint() == recipe.data.fingerprint
    plant(root)
    with pytest.raises(BlockedError, match=rf"{name}: {what} \(fingerprint .*; delete the folder") as error:
        adapter.fingerprint()
    assert "\n" not in str(error.value)
    shutil.rmtree(root)


@pytest.mark.slow
def test_reproduce_writes_no_number_on_data_that_somebody_has_touched(copied, suite, tmp_path):
    data = suite.folder / "work" / "data"
    data.unlink()
    found = {}
    for planted in ("an empty hidden folder", "two label maps swapped", "a box less"):
        name, plant, what = PLANTED[planted]
        plant(copied(name, data.relative_to(tmp_path).as_posix()))
        found[name] = what
    claims = [word for _, _, claim in STUDENTS.values() for word in ("--claim", claim)]
    done = suite("reproduce", *claims, "--profile", "smoke", "--device", "cpu", "--jobs", "2")
    assert done.returncode == 1, done.stderr
    records = {record.recipe["data"]["name"]: record for record in suite.records.values()}
    assert records.keys() == found.keys()
    for name, what in found.items():
        assert (records[name].status, records[name].metrics) == ("blocked", {})
        assert re.search(what, str(records[name].error))


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[EmbeddedDataset, Path, str]:
    """A data set of one image, not built yet, its folder and its fingerprint."""

    def build(folder: Path) -> None:
        (folder / "0").mkdir()
        (folder / "0" / "image.ppm").write_bytes(b"as it was built")

    build_at = tmp_path / "expected"
    build_at.mkdir()
    build(build_at)
    return EmbeddedDataset(build, (StoredClass("0"),)), tmp_path / "data" / "tiny", fingerprint(build_at)


def test_what_lies_beside_the_files_makes_another_fingerprint(tiny):
    prepare, folder, expected = tiny
    folder.parent.mkdir()
    assert prepare(folder, expected) == expected
    for plant, undo in (
        (lambda path: path.mkdir(), lambda path: path.rmdir()),
        (lambda path: path.symlink_to("0"), lambda path: path.unlink()),
        (os.mkfifo, lambda path: path.unlink()),
    ):
        plant(folder / "more")
        assert fingerprint(folder) != expected
        undo(folder / "more")
        assert fingerprint(folder) == expected


def test_without_the_hashes_of_the_build_the_fingerprint_still_refuses(tiny):
    prepare, folder, expected = tiny
    folder.parent.mkdir()
    prepare(folder, expected)
    for content in (None, b"", b"[]", b'{"fingerprint": "of others", "files": {}}'):
        hashes = folder.with_name("tiny.files.json")
        hashes.unlink() if content is None else hashes.write_bytes(content)
        (folder / "0" / "image.ppm").write_bytes(b"as somebody left")
        with pytest.raises(
            WrongFingerprintError, match=r"tiny: other data \(fingerprint .* delete the folder"
        ):
            prepare(folder, expected)
        (folder / "0" / "image.ppm").write_bytes(b"as it was built")
        assert prepare(folder, expected) == expected
