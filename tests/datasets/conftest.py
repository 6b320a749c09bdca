"""Small data sets in the layouts of the published ones, and the shipped facts with their small counts."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from suite.datasets import PublishedDataset, read_published

CLASSES = ("n01440764", "n01443537", "n01484850")
VAL_TRUTH = (2, 0, 1, 1, 0, 2)
"""Class of validation image 1, 2, ..."""


@pytest.fixture(autouse=True)
def _no_papers_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their losses, which import PyTorch, would be there with every data set that is loaded."""
    monkeypatch.delenv("SUITE_PAPERS", raising=False)


@pytest.fixture
def layouts() -> ModuleType:
    """This file: what makes the parts of the small data sets."""
    return sys.modules[__name__]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder of its own for each test."""
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


def picture(seed: int, width: int = 16, height: int = 12, kind: str = "JPEG") -> bytes:
    """An image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format=kind)
    return content.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def change(dataset: PublishedDataset, **changes: Any) -> PublishedDataset:
    """The facts with others in their place, validated like those of the file."""
    return PublishedDataset.model_validate({**dataset.model_dump(), **changes})


def facts_of_imagenet() -> PublishedDataset:
    shipped = read_published()["imagenet"]
    train, val = (part.model_dump() for part in shipped.images)
    train |= {"count": 8, "groups": {**train["groups"], "count": 3, "smallest": 2, "largest": 3}}
    val |= {"count": 6, "groups": {**val["groups"], "count": 3, "smallest": 2, "largest": 2}}
    return change(shipped, images=[train, val], classes=CLASSES)


def make_imagenet(root: Path) -> None:
    for number in range(8):
        write(root / "train" / CLASSES[number % 3] / f"image_{number}.JPEG", picture(number))
    for number, label in enumerate(VAL_TRUTH, start=1):
        write(root / "val" / CLASSES[label] / val_name(number), picture(100 + number))


def devkit_files() -> dict[str, bytes]:
    """`data/` of a development kit: classes in another order than that of their names, and one parent."""
    rows = [(1, CLASSES[2], 0), (2, CLASSES[0], 0), (3, CLASSES[1], 0), (4, "n00000001", 3)]
    fields = [("ILSVRC2012_ID", "f8"), ("WNID", object), ("words", object), ("num_children", "f8")]
    synsets = np.array([(number, name, f"word {number}", kids) for number, name, kids in rows], fields)
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets[:, np.newaxis]})
    number_of = {name: number for number, name, _ in rows}
    truth = "".join(f"{number_of[CLASSES[label]]}\n" for label in VAL_TRUTH)
    return {"meta.mat": meta.getvalue(), "ILSVRC2012_validation_ground_truth.txt": truth.encode()}


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for name, file in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(file)
            archive.addfile(member, io.BytesIO(file))
    return content.getvalue()


def facts_of_coco() -> PublishedDataset:
    shipped = read_published()["coco"]
    images = [
        part.model_dump() | {"count": count} for part, count in zip(shipped.images, (4, 2), strict=True)
    ]
    small = ({"annotated": 3, "objects": 4}, {"annotated": 2, "objects": 3})
    rows = [part.model_dump() | counts for part, counts in zip(shipped.instances, small, strict=True)]
    return change(shipped, images=images, instances=rows, categories={1: "person", 2: "bicycle"})


def make_coco(root: Path) -> None:
    for part, count, objects_of in (("train2017", 4, (0, 0, 1, 2)), ("val2017", 2, (0, 1, 1))):
        images, rows = [], []
        for number in range(count):
            name = f"{number:012d}.jpg"
            write(root / part / name, picture(number, width=40 + number, height=33))
            images.append({"id": number, "file_name": name, "width": 40 + number, "height": 33})
        for number, image in enumerate(objects_of):
            box = {"bbox": [1.0, 2.0, 8.0, 9.0], "area": 72.0, "iscrowd": 0, "category_id": 1 + number % 2}
            mask = [[1.0, 2.0, 9.0, 2.0, 9.0, 11.0, 1.0, 11.0]]
            rows.append({"id": number, "image_id": image, "segmentation": mask, **box})
        categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
        content = {"images": images, "annotations": rows, "categories": categories}
        write(root / f"annotations/instances_{part}.json", json.dumps(content).encode())


TOWNS = {"train": {"ulm": 2, "zurich": 1}, "val": {"lindau": 2}}


def facts_of_cityscapes() -> PublishedDataset:
    shipped = read_published()["cityscapes"]
    images = [
        part.model_dump()
        | {"count": sum(towns.values()), "size": {"width": 64, "height": 32}}
        | {"groups": {"count": len(towns), "smallest": min(towns.values()), "largest": max(towns.values())}}
        for part, towns in zip(shipped.images, TOWNS.values(), strict=True)
    ]
    return change(shipped, images=images)


def rectangle(label: str, left: int, top: int, right: int, bottom: int, **more: Any) -> dict[str, Any]:
    """A polygon as Cityscapes writes it; the last column and row are inside."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners, **more}


def polygons(*objects: dict[str, Any]) -> bytes:
    return json.dumps({"imgWidth": 64, "imgHeight": 32, "objects": objects}).encode()


def make_streets(root: Path) -> None:
    """Photos and polygons as the publisher offers them, without label maps."""
    for split, towns in TOWNS.items():
        for town, count in towns.items():
            for number in range(count):
                stem = f"{split}/{town}/{town}_{number:06d}_000019"
                write(root / "leftImg8bit" / f"{stem}_leftImg8bit.png", picture(number, 64, 32, "PNG"))
                scene = polygons(rectangle("road", 0, 16, 63, 31), rectangle("car", 10, 10, 20 + number, 20))
                write(root / "gtFine" / f"{stem}_gtFine_polygons.json", scene)


def make_cityscapes(root: Path) -> None:
    make_streets(root)
    for path in sorted(root.glob("gtFine/*/*/*_gtFine_polygons.json")):
        numbers = np.full((32, 64), 255, np.uint8)
        numbers[16:] = 0
        numbers[10:21, 10:21] = 13
        name = path.name.replace("polygons.json", "labelTrainIds.png")
        Image.fromarray(numbers).save(path.with_name(name))


def cifar_files(train: int = 6, test: int = 3) -> dict[str, bytes]:
    """The pickles of CIFAR-100, with a handful of images, each of its own class."""
    content: dict[str, Any] = {}
    for part, count in (("train", train), ("test", test)):
        data = np.random.default_rng(count).integers(0, 256, (count, 3072), np.uint8)
        labels = {"fine_labels": list(range(count)), "coarse_labels": [0] * count}
        content[part] = {"data": data, "filenames": ["x.png"] * count, **labels}
    content["meta"] = {"fine_label_names": [f"class {number}" for number in range(100)]}
    return {f"cifar-100-python/{name}": pickle.dumps(part, protocol=2) for name, part in content.items()}


def facts_of_cifar() -> PublishedDataset:
    files = cifar_files()
    archive = {"file": "cifar-100-python.tar.gz", "md5": md5(tar(files))}
    return change(
        read_published()["cifar-100"],
        pickles=[{"file": name, "md5": md5(content)} for name, content in files.items()],
        archives={"python": archive},
    )


def make_cifar(root: Path) -> None:
    for name, content in cifar_files().items():
        write(root / name, content)


MAKERS: dict[str, tuple[Callable[[], PublishedDataset], Callable[[Path], None]]] = {
    "imagenet": (facts_of_imagenet, make_imagenet),
    "coco": (facts_of_coco, make_coco),
    "cityscapes": (facts_of_cityscapes, make_cityscapes),
    "cifar-100": (facts_of_cifar, make_cifar),
}


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], tuple[PublishedDataset, Path]]:
    """Makes a small data set: its facts and its folder."""

    def make(name: str) -> tuple[PublishedDataset, Path]:
        facts, build = MAKERS[name]
        dataset = facts()
        root = tmp_path / "datasets" / dataset.folder
        build(root)
        return dataset, root

    return make
