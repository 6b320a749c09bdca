"""Bringing what publishers offer into the layouts that are read, from small archives and folders."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from suite.datasets import prepare, verify
from suite.datasets.cityscapes import Polygons, draw_label_map
from suite.errors import SuiteError


def tell_nobody(done, total):
    pass


def contents(folder):
    """SHA-256 -> path of every image; two of the same content would be one."""
    return {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.relative_to(folder).as_posix()
        for path in folder.rglob("*.JPEG")
    }


@pytest.fixture
def unsorted(small, layouts):
    """ImageNet with all validation images directly in `val/`, and the unpacked development kit."""
    dataset, root = small("imagenet")
    right = contents(root / "val")
    for path in sorted((root / "val").glob("*/*")):
        path.rename(root / "val" / path.name)
    for folder in (root / "val").glob("n*"):
        folder.rmdir()
    for name, content in layouts.devkit_files().items():
        layouts.write(root / "ILSVRC2012_devkit_t12" / "data" / name, content)
    return dataset, root, right


def test_validation_images_go_to_the_folders_that_the_kit_names(unsorted):
    dataset, root, right = unsorted
    said = prepare("imagenet", dataset, root, tell_nobody)
    assert contents(root / "val") == right
    assert said == ["6 images in val/ moved to the folders of their classes"]
    assert verify(dataset, root).faults == []


def test_an_interrupted_sorting_goes_on_and_loses_nothing(unsorted):
    dataset, root, right = unsorted

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("imagenet", dataset, root, interrupt)
    assert contents(root / "val").keys() == right.keys()
    assert prepare("imagenet", dataset, root, tell_nobody)[0].startswith("3 images")
    assert contents(root / "val") == right
    assert prepare("imagenet", dataset, root, tell_nobody)[0].startswith("0 images")


def test_an_image_in_the_folder_of_another_class_is_moved_too(unsorted, layouts):
    dataset, root, right = unsorted
    wrong = root / "val" / layouts.CLASSES[1] / layouts.val_name(1)
    wrong.parent.mkdir()
    (root / "val" / layouts.val_name(1)).rename(wrong)
    prepare("imagenet", dataset, root, tell_nobody)
    assert contents(root / "val") == right


def test_an_image_that_is_there_twice_is_refused_before_anything_moves(unsorted, layouts):
    dataset, root, _ = unsorted
    (root / "val" / "copies").mkdir()
    shutil.copy(root / "val" / layouts.val_name(2), root / "val" / "copies")
    before = sorted(root.rglob("*.JPEG"))
    with pytest.raises(SuiteError, match="are the same image; move one of them away"):
        prepare("imagenet", dataset, root, tell_nobody)
    assert sorted(root.rglob("*.JPEG")) == before


def test_an_image_without_a_class_is_refused_before_anything_moves(unsorted, layouts):
    dataset, root, _ = unsorted
    layouts.write(root / "val" / layouts.val_name(7), layouts.picture(7))
    before = sorted(root.rglob("*.JPEG"))
    with pytest.raises(SuiteError, match=r"val_00000007\.JPEG: validation images are numbered 1 to 6"):
        prepare("imagenet", dataset, root, tell_nobody)
    assert sorted(root.rglob("*.JPEG")) == before


def test_a_kit_of_other_images_is_refused(unsorted, layouts):
    dataset, root, _ = unsorted
    truth = root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n2\n")
    with pytest.raises(SuiteError, match="ground truth of 2 images instead of 6"):
        prepare("imagenet", dataset, root, tell_nobody)
    # Number 4 is no class, but a group of classes.
    truth.write_text("4\n" * 6)
    with pytest.raises(SuiteError, match=r"not the development kit of ILSVRC 2012 \(KeyError: 4\)"):
        prepare("imagenet", dataset, root, tell_nobody)
    truth.unlink()
    with pytest.raises(SuiteError, match=r"not the development kit of ILSVRC 2012 \(FileNotFoundError"):
        prepare("imagenet", dataset, root, tell_nobody)


@pytest.fixture
def archived(small, layouts):
    """ImageNet as its three archives; the facts have their checksums."""
    dataset, root = small("imagenet")
    right = contents(root)
    kit = {f"ILSVRC2012_devkit_t12/data/{name}": file for name, file in layouts.devkit_files().items()}
    val = {path.name: path.read_bytes() for path in sorted((root / "val").glob("*/*"))}
    train = {
        f"{folder.name}.tar": layouts.tar({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
        for folder in sorted((root / "train").iterdir())
    }
    archives = {"devkit": layouts.tar(kit, "w:gz"), "val": layouts.tar(val), "train": layouts.tar(train)}
    facts = {}
    for part, content in archives.items():
        name = dataset.archives[part].file
        (root / name).write_bytes(content)
        facts[part] = {"file": name, "md5": layouts.md5(content)}
    for part in ("train", "val"):
        shutil.rmtree(root / part)
    return layouts.change(dataset, archives=facts), root, right


def test_the_three_archives_become_the_published_layout(archived):
    dataset, root, right = archived
    prepare("imagenet", dataset, root, tell_nobody)
    assert contents(root) == right
    assert verify(dataset, root).faults == []


def test_unpacking_goes_on_where_it_was_and_overwrites_nothing(archived):
    dataset, root, right = archived

    def interrupt(done, total):
        if total == 8 and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("imagenet", dataset, root, interrupt)
    there = {path: path.stat().st_mtime_ns for path in root.rglob("*.JPEG")}
    assert len(there) == 6 + 4
    said = prepare("imagenet", dataset, root, tell_nobody)
    assert said[-1] == f"4 images of {dataset.archives['train'].file} unpacked to train/"
    assert contents(root) == right
    assert {path: path.stat().st_mtime_ns for path in there} == there


def test_a_file_that_is_not_the_one_in_the_archive_is_left_alone(archived, layouts):
    dataset, root, _ = archived
    mine = layouts.write(root / "train" / layouts.CLASSES[0] / "image_0.JPEG", b"mine")
    with pytest.raises(SuiteError, match=r"image_0\.JPEG is not the one in .*; move it away"):
        prepare("imagenet", dataset, root, tell_nobody)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("part", ["devkit", "val", "train"])
def test_a_damaged_archive_is_refused(archived, part):
    dataset, root, _ = archived
    path = root / dataset.archives[part].file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SuiteError, match=rf"{path.name}: MD5 .* instead of the publisher's"):
        prepare("imagenet", dataset, root, tell_nobody)


def test_what_is_missing_is_named(archived):
    dataset, root, _ = archived
    (root / dataset.archives["val"].file).unlink()
    with pytest.raises(SuiteError, match=r"no validation image in .* and no ILSVRC2012_img_val\.tar"):
        prepare("imagenet", dataset, root, tell_nobody)
    (root / dataset.archives["devkit"].file).unlink()
    with pytest.raises(SuiteError, match=r"no ILSVRC2012_devkit_t12\.tar\.gz in .*image-net\.org"):
        prepare("imagenet", dataset, root, tell_nobody)
    shutil.rmtree(root)
    with pytest.raises(SuiteError, match=r"ImageNet-1k is not at .*no such folder"):
        prepare("imagenet", dataset, root, tell_nobody)


def _member(name, kind=tarfile.REGTYPE, content=b"", link=""):
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, len(content), link
    return member, content


def _packed(*members, mode="w"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for member, inside in members:
            archive.addfile(member, io.BytesIO(inside))
    return content.getvalue()


def _declared(content, size):
    """The same archive with a first member that says that it has another size."""
    header = tarfile.TarInfo.frombuf(content[:512], "utf-8", "strict")
    header.size = size
    return header.tobuf() + content[512:]


VAL_1 = "ILSVRC2012_val_00000001.JPEG"

ODD_VAL = {
    "a link": (_packed(_member(VAL_1, tarfile.SYMTYPE, link="/etc/passwd")), f"{VAL_1} is not a file"),
    "a link to itself": (_packed(_member(VAL_1, tarfile.LNKTYPE, link=VAL_1)), f"{VAL_1} is not a file"),
    "a device": (_packed(_member(VAL_1, tarfile.CHRTYPE)), f"{VAL_1} is not a file"),
    "a pipe": (_packed(_member(VAL_1, tarfile.FIFOTYPE)), f"{VAL_1} is not a file"),
    "a foreign file": (
        _packed(_member("../../readme", content=b"x")),
        "readme: validation images are numbered",
    ),
    "one twice": (
        _packed(_member(VAL_1, content=b"x"), _member(VAL_1, content=b"y")),
        f"{VAL_1} is in there twice",
    ),
    "a bomb": (_declared(_packed(_member(VAL_1, content=b"x")), 10**12), "1,000,000,000,000 bytes"),
    "a compressed bomb": (gzip.compress(bytes(10**7)), "cannot be read"),
    "cut off": (_packed(_member(VAL_1, content=b"x" * 5000))[:2000], "cannot be read"),
    "no archive": (b"<html>not found</html>" * 40, "cannot be read"),
}


@pytest.mark.parametrize("odd", ODD_VAL)
def test_an_odd_archive_of_validation_images_is_refused_and_leaves_no_half(archived, layouts, odd):
    dataset, root, _ = archived
    content, what = ODD_VAL[odd]
    _refuse(dataset, root, layouts, "val", content, what)


TENCH = "n01440764"

ODD_TRAIN = {
    "no archives": ({f"{TENCH}.tar": b"x" * 2000}, rf"{TENCH}\.tar cannot be read"),
    "an unknown class": ({"n99999999.tar": _packed()}, r"n99999999\.tar is not an archive of another class"),
    "a way out": (
        {f"{TENCH}.tar": _packed(_member("../../..", content=b"x"))},
        r"\.\. is none of the 8 images",
    ),
    "an absolute way": (
        {f"{TENCH}.tar": _packed(_member("/etc/passwd", content=b"x"))},
        "passwd is none of the 8",
    ),
    "a hidden file": (
        {f"{TENCH}.tar": _packed(_member(".x.JPEG", content=b"x"))},
        r"\.x\.JPEG is none of the 8",
    ),
    "a link": (
        {f"{TENCH}.tar": _packed(_member("1.JPEG", tarfile.SYMTYPE, link="/etc/passwd"))},
        r"1\.JPEG is not a file",
    ),
    "one twice": (
        {f"{TENCH}.tar": _packed(_member("1.JPEG", content=b"x"), _member("1.JPEG", content=b"x"))},
        r"1\.JPEG is in there twice",
    ),
    "too many": (
        {f"{TENCH}.tar": _packed(*(_member(f"{number}.JPEG", content=b"x") for number in range(9)))},
        r"8\.JPEG is none of the 8 images",
    ),
    "a compressed class": ({f"{TENCH}.tar": gzip.compress(bytes(10**7))}, rf"{TENCH}\.tar cannot be read"),
}


@pytest.mark.parametrize("odd", ODD_TRAIN)
def test_an_odd_archive_of_training_images_is_refused_and_leaves_no_half(archived, layouts, odd):
    dataset, root, _ = archived
    files, what = ODD_TRAIN[odd]
    _refuse(dataset, root, layouts, "train", layouts.tar(files), what)


def _refuse(dataset, root, layouts, part, content, what):
    """Offers an archive whose checksum fits: one line says what is wrong, and nothing lies elsewhere."""
    before = {path for path in root.parent.rglob("*") if not path.is_relative_to(root)}
    archives = {name: entry.model_dump() for name, entry in dataset.archives.items()}
    archives[part]["md5"] = layouts.md5(content)
    (root / archives[part]["file"]).write_bytes(content)
    with pytest.raises(SuiteError, match=rf"{archives[part]['file']}.*{what}|^{what}") as error:
        prepare("imagenet", layouts.change(dataset, archives=archives), root, tell_nobody)
    assert "\n" not in str(error.value)
    assert {path for path in root.parent.rglob("*") if not path.is_relative_to(root)} == before
    assert list(root.rglob("*unfinished*")) == []
    assert not any(path.is_symlink() for path in root.rglob("*"))


ODD_KITS = {
    "a class that is a path": ("WNID", "../../../elsewhere"),
    "a class of another year": ("WNID", "n99999999"),
}


@pytest.mark.parametrize("odd", ODD_KITS)
def test_a_kit_with_other_classes_moves_nothing(unsorted, layouts, odd, monkeypatch):
    dataset, root, _ = unsorted
    monkeypatch.setattr(layouts, "CLASSES", (ODD_KITS[odd][1], *layouts.CLASSES[1:]))
    meta = root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    meta.write_bytes(layouts.devkit_files()["meta.mat"])
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(SuiteError, match=rf"'{ODD_KITS[odd][1]}' is not a class of ImageNet-1k"):
        prepare("imagenet", dataset, root, tell_nobody)
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0" + bytes(200), bytes(128), b"\x89HDF\r\n" * 50])
def test_a_damaged_table_of_the_kit_is_refused(unsorted, content):
    dataset, root, _ = unsorted
    (root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").write_bytes(content)
    with pytest.raises(SuiteError, match="not the development kit of ILSVRC 2012") as error:
        prepare("imagenet", dataset, root, tell_nobody)
    assert "\n" not in str(error.value)


@pytest.fixture
def streets(tmp_path, layouts):
    """Cityscapes without label maps."""
    root = tmp_path / "datasets" / "cityscapes"
    layouts.make_streets(root)
    return layouts.facts_of_cityscapes(), root


def test_label_maps_are_drawn_for_every_photo(streets):
    dataset, root = streets
    assert prepare("cityscapes", dataset, root, tell_nobody) == ["5 label maps drawn"]
    assert verify(dataset, root).faults == []
    path = root / "gtFine" / "train" / "ulm" / "ulm_000001_000019_gtFine_labelTrainIds.png"
    numbers = np.asarray(Image.open(path))
    assert (numbers[:10] == 255).all()
    assert (numbers[10:21, 10:22] == 13).all()
    assert (numbers[21:] == 0).all()
    assert (numbers == 13).sum() == 11 * 12


def test_drawing_goes_on_where_it_was_and_overwrites_nothing(streets):
    dataset, root = streets

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("cityscapes", dataset, root, interrupt)
    drawn = {path: path.stat().st_mtime_ns for path in root.rglob("*labelTrainIds.png")}
    assert prepare("cityscapes", dataset, root, tell_nobody) == ["3 label maps drawn"]
    assert len(drawn) == 2
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn


def test_polygons_are_drawn_over_each_other_by_the_rules_of_the_publisher(layouts, tmp_path):
    rectangle = layouts.rectangle
    scene = layouts.polygons(
        rectangle("sky", 0, 0, 63, 31),
        rectangle("car", 0, 0, 9, 9),
        rectangle("license plate", 2, 2, 4, 4),
        rectangle("persongroup", 20, 0, 29, 9),
        rectangle("polegroup", 40, 0, 49, 9),
        rectangle("bus", 50, 20, 59, 29, deleted=1),
        rectangle("truck", 5, 5, 9, 9, deleted=0),
    )
    labels = layouts.facts_of_cityscapes().labels
    numbers = np.asarray(draw_label_map(Polygons.model_validate_json(scene), labels, tmp_path))
    expected = np.full((32, 64), 10)
    expected[:10, :10] = 13
    expected[5:10, 5:10] = 14
    expected[:10, 20:30] = 11
    expected[:10, 40:50] = 255
    assert (numbers == expected).all()


def _of_polygon(polygon: str) -> str:
    return f'{{"imgWidth": 64, "imgHeight": 32, "objects": [{{"label": "car", "polygon": {polygon}}}]}}'


ODD_POLYGONS = {
    "cut off": ('{"imgWidth": 64', "EOF while parsing"),
    "empty": ("", "EOF while parsing"),
    "no text": (b"\xff\xfe{}", "expected value"),
    "a list": ("[]", "should be an object"),
    "a number": ("7", "should be an object"),
    "nested deeply": ("[" * 100_000, "recursion limit"),
    "a key missing": ('{"imgWidth": 64, "objects": []}', "imgHeight: Field required"),
    "no objects but a text": ('{"imgWidth": 64, "imgHeight": 32, "objects": "cars"}', "objects: .* array"),
    "a width of words": ('{"imgWidth": "64", "imgHeight": 32, "objects": []}', "imgWidth: .* integer"),
    "a width of nothing": ('{"imgWidth": -1, "imgHeight": 32, "objects": []}', "imgWidth: .* greater than 0"),
    "a width of 5,000 digits": (
        '{"imgWidth": %s, "imgHeight": 32, "objects": []}' % ("9" * 5000),
        "imgWidth|range",
    ),
    "a photo of a terabyte": (
        '{"imgWidth": 1000000, "imgHeight": 1000000, "objects": []}',
        "imgWidth: .* less",
    ),
    "no corner": (_of_polygon("[]"), "polygon: List should have at least 2"),
    "a corner of three numbers": (_of_polygon("[[1, 2, 3], [4, 5, 6]]"), r"polygon\.0: .* at most 2"),
    "a corner that is no number": (_of_polygon("[[NaN, 2], [4, 5]]"), r"polygon\.0\.0: .* finite"),
    "an endless corner": (_of_polygon("[[1e999, 2], [4, 5]]"), r"polygon\.0\.0: .* finite"),
    "a corner far away": (_of_polygon("[[1e300, 2], [4, 5]]"), "corner of a 'car' is far outside"),
    "a label that is a list": (_of_polygon("[[1, 2], [4, 5]]").replace('"car"', "[]"), "label: .* string"),
    "an unknown label": (_of_polygon("[[1, 2], [4, 5]]").replace("car", "unicorn"), "no label 'unicorn'"),
}


@pytest.mark.parametrize("odd", ODD_POLYGONS)
def test_odd_polygons_are_refused_in_one_line_and_leave_no_map(streets, odd):
    content, what = ODD_POLYGONS[odd]
    dataset, root = streets
    path = next(root.glob("gtFine/train/ulm/*000000*polygons.json"))
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SuiteError, match=rf"{path.name}: .*({what}).*unpack (it|the file) again$") as error:
        prepare("cityscapes", dataset, root, tell_nobody)
    assert "\n" not in str(error.value)
    assert list(root.rglob("*labelTrainIds*")) == []


def test_a_pipe_in_place_of_polygons_is_not_waited_for(streets):
    dataset, root = streets
    path = next(root.glob("gtFine/train/ulm/*000000*polygons.json"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SuiteError, match=rf"{path.name} is not a polygon file"):
        prepare("cityscapes", dataset, root, tell_nobody)


def test_a_map_that_cannot_be_written_leaves_nothing(streets, monkeypatch):
    dataset, root = streets

    def half(image, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space left"):
        prepare("cityscapes", dataset, root, tell_nobody)
    assert list(root.rglob("*labelTrainIds*")) == []


def test_photos_without_polygons_are_refused_before_anything_is_drawn(streets):
    dataset, root = streets
    next(root.glob("gtFine/val/lindau/*000001*polygons.json")).unlink()
    with pytest.raises(SuiteError, match=r"lindau_000001_000019_gtFine_polygons\.json is missing"):
        prepare("cityscapes", dataset, root, tell_nobody)
    shutil.rmtree(root / "leftImg8bit" / "val")
    with pytest.raises(SuiteError, match=r"no \*_leftImg8bit\.png in .*cityscapes-dataset\.com"):
        prepare("cityscapes", dataset, root, tell_nobody)
    assert list(root.rglob("*labelTrainIds*")) == []


@pytest.fixture
def cifar_archive(tmp_path, layouts):
    """CIFAR-100 as its archive; the facts have its checksum."""
    root = tmp_path / "datasets" / "cifar100"
    dataset = layouts.facts_of_cifar()
    layouts.write(root / "cifar-100-python.tar.gz", layouts.tar(layouts.cifar_files()))
    return dataset, root


def test_the_archive_of_cifar_becomes_the_published_layout(cifar_archive):
    dataset, root = cifar_archive
    assert prepare("cifar-100", dataset, root, tell_nobody) == ["3 files unpacked"]
    assert verify(dataset, root).faults == []
    (root / "cifar-100-python.tar.gz").unlink()
    (root / "cifar-100-python" / "meta").rename(root / "meta")
    with pytest.raises(SuiteError, match=r"no cifar-100-python\.tar\.gz in"):
        prepare("cifar-100", dataset, root, tell_nobody)
    (root / "meta").rename(root / "cifar-100-python" / "meta")
    assert prepare("cifar-100", dataset, root, tell_nobody) == ["0 files unpacked"]


def test_another_archive_of_cifar_is_refused_and_leaves_nothing(cifar_archive):
    dataset, root = cifar_archive
    with open(root / "cifar-100-python.tar.gz", "ab") as file:
        file.write(b"more")
    with pytest.raises(SuiteError, match=r"cifar-100-python\.tar\.gz: MD5 .* instead of the publisher's"):
        prepare("cifar-100", dataset, root, tell_nobody)
    assert [path.name for path in root.iterdir()] == ["cifar-100-python.tar.gz"]


def test_an_archive_of_cifar_that_lacks_a_file_is_refused_before_anything_is_unpacked(cifar_archive, layouts):
    dataset, root = cifar_archive
    files = layouts.cifar_files()
    first = next(part.file for part in dataset.pickles)
    content = layouts.tar({first: files[first]})
    layouts.write(root / "cifar-100-python.tar.gz", content)
    archives = {"python": {"file": "cifar-100-python.tar.gz", "md5": layouts.md5(content)}}
    offered = layouts.change(dataset, archives=archives)
    reported: list[int] = []
    with pytest.raises(SuiteError, match=r"cifar-100-python\.tar\.gz has no cifar-100-python/"):
        prepare("cifar-100", offered, root, lambda done, total: reported.append(done))
    assert reported == []
    assert [path.name for path in root.iterdir()] == ["cifar-100-python.tar.gz"]


def test_a_pickle_that_is_not_the_published_one_does_not_get_its_name(cifar_archive, layouts):
    dataset, root = cifar_archive
    other = layouts.tar({**layouts.cifar_files(), "cifar-100-python/test": b"something else"})
    layouts.write(root / "cifar-100-python.tar.gz", other)
    archives = {"python": {"file": "cifar-100-python.tar.gz", "md5": layouts.md5(other)}}
    with pytest.raises(SuiteError, match="cifar-100-python/test is not the published file"):
        prepare("cifar-100", layouts.change(dataset, archives=archives), root, tell_nobody)
    assert [path.name for path in (root / "cifar-100-python").iterdir()] == ["train"]


def test_a_changed_pickle_is_refused_and_left_alone(cifar_archive, layouts):
    dataset, root = cifar_archive
    mine = layouts.write(root / "cifar-100-python" / "test", b"mine")
    with pytest.raises(SuiteError, match=r"test: MD5 .* instead of the publisher's"):
        prepare("cifar-100", dataset, root, tell_nobody)
    assert mine.read_bytes() == b"mine"


def test_coco_needs_nothing_but_to_be_there(small, tmp_path):
    dataset, root = small("coco")
    assert prepare("coco", dataset, root, tell_nobody)[0].startswith("nothing to prepare")
    with pytest.raises(SuiteError, match="COCO 2017 is not at"):
        prepare("coco", dataset, tmp_path / "none", tell_nobody)
