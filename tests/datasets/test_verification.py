"""Verifying small data sets in the published layouts: what is found, what is remembered."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from suite.datasets import listing, read_published, verify
from suite.datasets.verification import presence, presence_at
from suite.errors import SuiteError

NAMES = ("imagenet", "coco", "cityscapes", "cifar-100")


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_as_published_is_read_once(small, name):
    dataset, root = small(name)
    first = verify(dataset, root)
    assert first.faults == []
    assert first.read == first.files > 0
    second = verify(dataset, root)
    assert (second.read, second.changes) == (0, {})
    assert (second.fingerprint, second.checks) == (first.fingerprint, first.checks)


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_is_the_same_wherever_the_data_lie(small, tmp_path, name):
    dataset, root = small(name)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(root, elsewhere, copy_function=shutil.copyfile)
    (elsewhere / "readme.txt").write_text("no part of the data")
    copy = verify(dataset, elsewhere)
    assert copy.read == copy.files
    assert copy.fingerprint == verify(dataset, root).fingerprint


def test_a_file_that_was_only_touched_is_the_same_data(small):
    dataset, root = small("coco")
    before = verify(dataset, root)
    os.utime(root / "val2017" / "000000000001.jpg", ns=(1, 1))
    after = verify(dataset, root)
    assert (after.read, after.changes, after.fingerprint) == (1, {}, before.fingerprint)


def test_a_changed_file_of_the_same_size_is_noticed(small):
    dataset, root = small("coco")
    before = verify(dataset, root)
    path = root / "val2017" / "000000000001.jpg"
    content, status = bytearray(path.read_bytes()), path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    # A clock that ticks slowly would give the file the time that it had.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = verify(dataset, root)
    assert (after.changes, after.read) == ({"changed": ["val2017/000000000001.jpg"]}, 1)
    assert after.fingerprint != before.fingerprint


def _swap(first, second):
    """Two files change places, with all that the system knows of them."""
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def _replace(path):
    """Another file of the same size, with the times of the one before."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _equal_sizes(*paths):
    """Makes files alike in size and times: what is behind the end of an image is not read."""
    largest = max(path.stat().st_size for path in paths)
    for path in paths:
        path.write_bytes(path.read_bytes().ljust(largest, b"\0"))
        os.utime(path, ns=(10**18, 10**18))
    return paths


MAPS = [f"gtFine/train/ulm/ulm_{number:06d}_000019_gtFine_labelTrainIds.png" for number in range(2)]
OF_TWO_CLASSES = ["train/n01440764/image_0.JPEG", "train/n01443537/image_1.JPEG"]

PLANTED: dict[str, tuple[str, list[str], Callable[..., None], str]] = {
    "two label maps swapped": ("cityscapes", MAPS, _swap, MAPS[0]),
    "two images of different classes swapped": (
        "imagenet",
        OF_TWO_CLASSES,
        _swap,
        OF_TWO_CLASSES[0],
    ),
    "an image replaced by one of its size": ("coco", ["val2017/000000000001.jpg"], _replace, "val2017/0000"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_sizes_and_set_back_times_do_not_show_is_caught_by_name(small, planted):
    name, files, plant, first = PLANTED[planted]
    dataset, root = small(name)
    if name == "cityscapes":
        # The small label maps are all the same.
        Image.new("L", (64, 32), 3).save(root / MAPS[0])
    paths = _equal_sizes(*(root / file for file in files))
    before = verify(dataset, root)
    assert before.faults == []
    plant(*paths)
    for _ in range(2):
        found = verify(dataset, root)
        (fault,) = found.faults
        assert (fault.what, fault.found) == ("contents", f"{len(files)} not: {files[0]} changed")
        with pytest.raises(SuiteError, match=rf"contents: .*{first}.* changed; restore them, or .*--accept"):
            found.refuse_faults()
        assert presence_at(dataset, root) == "unverified"
    # Put back, they are the same data; what somebody has looked at may be accepted.
    plant(*paths)
    restored = verify(dataset, root)
    assert (restored.faults, restored.fingerprint) == ([], before.fingerprint)
    plant(*paths)
    verify(dataset, root)
    accepted = verify(dataset, root, accept=True)
    assert (accepted.faults, accepted.fingerprint) == ([], found.fingerprint)
    assert verify(dataset, root).faults == []
    plant(*paths)
    assert [fault.what for fault in verify(dataset, root).faults] == ["contents"]


def test_a_box_less_is_caught_by_file(small):
    dataset, root = small("coco")
    _edit(root / VAL, lambda content: content["annotations"].pop())
    with pytest.raises(SuiteError, match=r"instances_val2017\.json: objects: expected 3, found 2"):
        verify(dataset, root).refuse_faults()
    with pytest.raises(SuiteError, match=r"instances_val2017\.json: objects: expected 3, found 2"):
        verify(dataset, root, accept=True).refuse_faults()


def test_an_interrupted_reading_does_not_forget_what_was_accepted(small, monkeypatch):
    dataset, root = small("imagenet")
    verify(dataset, root)
    monkeypatch.setattr(listing, "_FILES_AT_ONCE", 1)
    for path in root.rglob("*.JPEG"):
        path.touch()
    _replace(root / IMAGE)

    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(dataset, root, interrupt)
    found = verify(dataset, root)
    assert [fault.found for fault in found.faults] == [f"1 not: {IMAGE} changed"]
    # Of the five that were read before, the one that has changed is read again.
    assert found.files - 5 <= found.read <= found.files - 4


def test_a_link_into_its_own_folder_is_refused(small):
    dataset, root = small("imagenet")
    (root / "train" / "n01440764" / "again").symlink_to(root / "train")
    with pytest.raises(SuiteError, match=r"n01440764/again is a link to a folder that contains it"):
        verify(dataset, root)


def test_data_may_lie_behind_links(small, tmp_path):
    dataset, root = small("imagenet")
    before = verify(dataset, root)
    elsewhere = tmp_path / "elsewhere"
    (root / "train").rename(elsewhere)
    (root / "train").symlink_to(elsewhere)
    assert verify(dataset, root).fingerprint == before.fingerprint


def test_two_at_once_read_everything_once(small):
    dataset, root = small("imagenet")
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: verify(dataset, root), range(2))
    assert sorted([first.read, second.read]) == [0, first.files]
    assert first.fingerprint == second.fingerprint


def test_an_added_and_a_missing_file_are_noticed(small, layouts):
    dataset, root = small("coco")
    before = verify(dataset, root)
    layouts.write(root / "train2017" / "000000000099.jpg", layouts.picture(99))
    (root / "val2017" / "000000000001.jpg").unlink()
    after = verify(dataset, root)
    assert after.changes == {
        "added": ["train2017/000000000099.jpg"],
        "missing": ["val2017/000000000001.jpg"],
    }
    assert after.fingerprint != before.fingerprint
    assert {check.what for check in after.faults} >= {"train2017: images", "val2017: images"}
    (root / "train2017" / "000000000099.jpg").unlink()
    layouts.write(root / "val2017" / "000000000001.jpg", layouts.picture(1, width=41, height=33))
    fixed = verify(dataset, root)
    assert (fixed.faults, fixed.fingerprint, fixed.read) == ([], before.fingerprint, 1)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _edit(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


IMAGE = "train/n01440764/image_0.JPEG"
VAL = "annotations/instances_val2017.json"
MAP = "gtFine/val/lindau/lindau_000001_000019_gtFine_labelTrainIds.png"

DAMAGES = {
    "an image is missing": ("imagenet", lambda root: (root / IMAGE).unlink(), "train: images"),
    "an image is cut off": ("imagenet", lambda root: _cut(root / IMAGE), "train: readable"),
    "an image leads nowhere": (
        "imagenet",
        lambda root: ((root / IMAGE).unlink(), (root / IMAGE).symlink_to("nowhere")),
        "train: readable",
    ),
    "a class folder is empty": (
        "imagenet",
        lambda root: (root / "val" / "n00000001").mkdir(),
        "val: folders",
    ),
    "a hidden class folder": (
        "imagenet",
        lambda root: (root / "val" / ".ipynb_checkpoints").mkdir(),
        "val: folders",
    ),
    "a hidden class folder in place of an empty one": (
        "imagenet",
        lambda root: (root / "val" / "n01440764").rename(root / "val" / ".n01440764"),
        "val: classes",
    ),
    "a class of another year": (
        "imagenet",
        lambda root: [
            (root / part / "n01440764").rename(root / part / "n09999999") for part in ("train", "val")
        ],
        "train: classes",
    ),
    "a hidden town": (
        "cityscapes",
        lambda root: (root / "leftImg8bit/val/.ipynb_checkpoints").mkdir(),
        "leftImg8bit/val: folders",
    ),
    "an image is a pipe": (
        "imagenet",
        lambda root: _pipe(root / IMAGE),
        "train: readable",
    ),
    "classes are called otherwise": (
        "imagenet",
        lambda root: (root / "val" / "n01440764").rename(root / "val" / "tench"),
        "val: names of folders",
    ),
    "train and val have other classes": (
        "imagenet",
        lambda root: (root / "val" / "n01440764").rename(root / "val" / "n09999999"),
        "val: folders",
    ),
    "an image of another class": (
        "imagenet",
        lambda root: (root / IMAGE).rename(root / "train" / "n01443537" / "image_0.JPEG"),
        "train: images a folder",
    ),
    "a file that the data class would take": (
        "imagenet",
        lambda root: shutil.copy(root / IMAGE, root / "train" / "n01440764" / "copy.png"),
        "train: files",
    ),
    "images one folder too deep": (
        "imagenet",
        lambda root: (
            (root / "train/n01440764/images").mkdir(),
            (root / IMAGE).rename(root / "train/n01440764/images/image_0.JPEG"),
        ),
        "train: places",
    ),
    "a list that mmpretrain would read instead": (
        "imagenet",
        lambda root: ((root / "meta").mkdir(), (root / "meta" / "val.txt").touch()),
        "meta/val.txt",
    ),
    "a photo of COCO is missing": (
        "coco",
        lambda root: (root / "val2017/000000000001.jpg").unlink(),
        "instances_val2017.json: images",
    ),
    "a photo of COCO has another size": (
        "coco",
        lambda root: Image.new("RGB", (7, 9)).save(root / "val2017/000000000001.jpg"),
        "instances_val2017.json: widths and heights",
    ),
    "a photo is not listed": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["images"].pop()),
        "val2017: listed",
    ),
    "a photo is listed twice": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["images"].append(content["images"][0])),
        "instances_val2017.json: repeated ids",
    ),
    "an object is missing": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["annotations"].pop()),
        "instances_val2017.json: objects",
    ),
    "an object of no photo": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["annotations"][0].update(image_id=77)),
        "instances_val2017.json: images of objects",
    ),
    "an object of no category": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["annotations"][0].update(category_id=77)),
        "instances_val2017.json: categories of objects",
    ),
    "an object with half a box": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["annotations"][0].update(bbox=[1, 2])),
        "instances_val2017.json: boxes and masks",
    ),
    "an object without a mask": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["annotations"][0].update(segmentation=[])),
        "instances_val2017.json: boxes and masks",
    ),
    "a category is missing": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["categories"].pop()),
        "instances_val2017.json: categories",
    ),
    "categories have changed places": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["categories"].reverse()),
        "instances_val2017.json: categories",
    ),
    "a category is called otherwise": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["categories"][0].update(name="human")),
        "instances_val2017.json: categories",
    ),
    "a box that is no number": (
        "coco",
        lambda root: _edit(
            root / VAL, lambda content: content["annotations"][0].update(bbox=[1, 2, 3, 10**400])
        ),
        "instances_val2017.json: boxes and masks",
    ),
    "annotations nested deeply": (
        "coco",
        lambda root: (root / VAL).write_text('{"images": ' + "[" * 100_000),
        "instances_val2017.json: format",
    ),
    "a photo whose name is a list": (
        "coco",
        lambda root: _edit(root / VAL, lambda content: content["images"][0].update(file_name=[])),
        "instances_val2017.json: format",
    ),
    "annotations are cut off": ("coco", lambda root: _cut(root / VAL), "instances_val2017.json: format"),
    "annotations are something else": (
        "coco",
        lambda root: (root / VAL).write_text('{"images": 7}'),
        "instances_val2017.json: format",
    ),
    "a photo of another resolution": (
        "cityscapes",
        lambda root: Image.new("RGB", (32, 16)).save(next(root.glob("leftImg8bit/val/lindau/*000001*"))),
        "leftImg8bit/val: pixels",
    ),
    "a label map is missing": ("cityscapes", lambda root: (root / MAP).unlink(), "gtFine/val: label maps"),
    "a label map is cut off": ("cityscapes", lambda root: _cut(root / MAP), "gtFine/val: readable"),
    "a label map of ids, not of train ids": (
        "cityscapes",
        lambda root: Image.new("L", (64, 32), 26).save(root / MAP),
        "gtFine/val: readable",
    ),
    "a label map in colours": (
        "cityscapes",
        lambda root: Image.new("RGB", (64, 32)).save(root / MAP),
        "gtFine/val: readable",
    ),
    "a label map of another size": (
        "cityscapes",
        lambda root: Image.new("L", (32, 32)).save(root / MAP),
        "gtFine/val: pixels",
    ),
    "a town is missing": (
        "cityscapes",
        lambda root: shutil.rmtree(root / "leftImg8bit/train/zurich"),
        "leftImg8bit/train: folders",
    ),
    "annotations are a pipe": ("coco", lambda root: _pipe(root / VAL), f"{VAL}: readable"),
    "a pickle is a pipe": (
        "cifar-100",
        lambda root: _pipe(root / "cifar-100-python/test"),
        "cifar-100-python/test: readable",
    ),
    "a pickle has changed": (
        "cifar-100",
        lambda root: _cut(root / "cifar-100-python/test"),
        "cifar-100-python/test: MD5",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_named(small, damage):
    name, do, what = DAMAGES[damage]
    dataset, root = small(name)
    do(root)
    found = verify(dataset, root)
    assert what in {check.what for check in found.faults}
    with pytest.raises(SuiteError, match=rf"^{dataset.title} at .* is not as published: .*; fix that"):
        found.refuse_faults()
    again = verify(dataset, root)
    unreadable = damage.endswith(("leads nowhere", "is a pipe", "are a pipe"))
    assert (again.read, again.faults) == (int(unreadable), found.faults)
    assert presence_at(dataset, root) == "unverified"


def test_a_pickle_that_would_run_code_is_refused_and_not_opened(small, tmp_path):
    dataset, root = small("cifar-100")

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was-run"),)

    (root / "cifar-100-python" / "train").write_bytes(pickle.dumps(Malicious()))
    assert [check.what for check in verify(dataset, root).faults] == ["cifar-100-python/train: MD5"]
    assert not (tmp_path / "was-run").exists()


def test_an_interrupted_verification_goes_on_where_it_was(small, monkeypatch):
    dataset, root = small("imagenet")
    monkeypatch.setattr(listing, "_FILES_AT_ONCE", 1)

    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(dataset, root, interrupt)
    assert presence_at(dataset, root) == "unverified"
    found = verify(dataset, root)
    assert (found.faults, found.read, found.changes) == ([], found.files - 5, {})


def test_half_of_a_memory_is_none(small, work):
    dataset, root = small("coco")
    before = verify(dataset, root)
    (path,) = (path for path in (work / "verified").iterdir() if path.suffix == "")
    whole = path.read_bytes()
    for length in (0, 40, len(whole) - 20):
        path.write_bytes(whole[:length])
        os.utime(root / "val2017" / "000000000001.jpg", ns=(length, length))
        found = verify(dataset, root)
        assert (found.fingerprint, found.read) == (before.fingerprint, before.files)


def test_other_facts_are_verified_anew(small, layouts):
    dataset, root = small("coco")
    assert verify(dataset, root).faults == []
    parts = [part.model_dump() | {"count": 9} for part in dataset.images]
    found = verify(layouts.change(dataset, images=parts), root)
    assert [check.what for check in found.faults] == ["train2017: images", "val2017: images"]
    assert verify(layouts.change(dataset, obtained="elsewhere"), root).faults == []


def test_presence_says_what_is_on_file(small, monkeypatch, tmp_path):
    dataset, root = small("imagenet")
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "datasets"))
    assert presence_at(dataset, tmp_path / "other") == "absent"
    assert presence_at(dataset, root) == "unverified"
    assert (presence("imagenet"), presence("coco")) == ("unverified", "absent")
    verify(dataset, root)
    assert presence_at(dataset, root) == "verified"
    # What was verified with other counts is not the published data set.
    assert presence("imagenet") == "unverified"
    (root / "meta").mkdir()
    (root / "meta" / "val.txt").touch()
    assert presence_at(dataset, root) == "unverified"
    shutil.rmtree(root / "val")
    assert presence_at(dataset, root) == "absent"


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_data_set_is_named_with_source_place_and_size(tmp_path, name):
    dataset = read_published()[name]
    with pytest.raises(SuiteError) as error:
        verify(dataset, tmp_path / dataset.folder)
    text = str(error.value)
    assert text.startswith(f"{dataset.title} is not at {tmp_path / dataset.folder} (no such folder)")
    for part in (dataset.obtained, f"{dataset.gigabytes:g} GB", "SUITE_DATA"):
        assert part in text


def test_what_is_missing_of_a_data_set_is_named(small):
    dataset, root = small("cityscapes")
    for path in root.glob("gtFine/val/*/*labelTrainIds.png"):
        path.unlink()
    with pytest.raises(
        SuiteError, match=r"gtFine/val/\*_gtFine_labelTrainIds\.png missing.* data prepare citys"
    ):
        verify(dataset, root)
    shutil.rmtree(root / "leftImg8bit" / "train")
    with pytest.raises(SuiteError, match=r"\(leftImg8bit/train, gtFine/val/"):
        verify(dataset, root)
