"""A handful of images in the layouts, at the sizes and with the classes of the published data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from suite.datasets import read_published, verify


def noise(seed: int, width: int, height: int) -> Image.Image:
    """Coarse colours: noise of single pixels would take megabytes as a file."""
    cells = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR)


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_imagenet(root: Path, train: int, val: int) -> None:
    """Folders of 1,000 classes, most of them empty; photos of 500 x 375 pixels."""
    classes = read_published()["imagenet"].classes
    for part, count in (("train", train), ("val", val)):
        for name in classes:
            (root / part / name).mkdir(parents=True)
        for number in range(count):
            save(noise(number, 500, 375), root / part / classes[number % 7] / f"{part}_{number}.JPEG")


def make_coco(root: Path, train: int, val: int) -> None:
    """Photos of 640 x 480 pixels, each with a large person and a small bicycle."""
    published = read_published()["coco"].categories
    categories = [{"id": number, "name": name} for number, name in published.items()]
    for part, count in (("train2017", train), ("val2017", val)):
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        for number in range(count):
            name = f"{number:012d}.jpg"
            save(noise(number, 640, 480), root / part / name)
            images.append({"id": number, "file_name": name, "width": 640, "height": 480})
            for kind, (left, top, width, height) in enumerate([(40, 60, 200, 300), (300, 200, 24, 20)]):
                right, bottom = left + width, top + height
                objects.append(
                    {
                        "id": len(objects) + 1,
                        "image_id": number,
                        "category_id": kind + 1,
                        "bbox": [left, top, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                        "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                    }
                )
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


def make_cityscapes(root: Path, train: int, val: int) -> None:
    """Photos of 2048 x 1024 pixels with label maps: a road below, a car, and the rest not scored."""
    for part, town, count in (("train", "aachen", train), ("val", "lindau", val)):
        for number in range(count):
            stem = f"{part}/{town}/{town}_{number:06d}_000019"
            save(noise(number, 2048, 1024), root / "leftImg8bit" / f"{stem}_leftImg8bit.png")
            labels = np.full((1024, 2048), 255, np.uint8)
            labels[512:] = 0
            labels[400:640, 300 + number : 900] = 13
            save(Image.fromarray(labels), root / "gtFine" / f"{stem}_gtFine_labelTrainIds.png")


MAKERS = {"imagenet": make_imagenet, "coco": make_coco, "cityscapes": make_cityscapes}


def make(name: str, folder: Path, train: int, val: int) -> str:
    """Makes a data set below a folder.

    Returns:
        Its fingerprint, as `data.fingerprint` takes it.
    """
    dataset = read_published()[name]
    root = folder / dataset.folder
    MAKERS[name](root, train, val)
    return verify(dataset, root).fingerprint
