"""Digit scenes: handwritten digits of all sizes scattered over paper, in COCO's layout, with masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from suite.contract import StoredClass
from tasks.embedded.canvas import Canvas, bounds, cut_out
from tasks.embedded.glyphs import Dice, Glyphs, Split, load_glyphs
from tasks.embedded.store import EmbeddedDataset, write_png

SIZE = 256
"""Height and width of an image in pixels."""

IMAGES: dict[Split, int] = {"train": 640, "val": 200, "test": 400}

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Names of the categories 1 to 10."""

_CATEGORIES = tuple(StoredClass(name, number) for number, name in enumerate(CLASSES, start=1))

_EMPTY_EVERY = 50
"""One image in so many shows no digit at all; in COCO about one in a hundred shows no object."""

_LEAST_VISIBLE = 64
"""Number of visible pixels below which a covered digit counts as clutter."""

_SMALL, _MEDIUM, _LARGE = (32, 60), (66, 128), (196, 236)
"""Heights in pixels that make masks of COCO's small (below 32²), medium and large (above 96²) areas."""


def _heights(dice: Dice) -> list[int]:
    """Draws the heights of the five to nine digits of an image, tallest first; some may find no place."""
    count = dice.between(5, 9)
    ranges = [_LARGE] if dice.between(0, 99) < 75 else []
    while len(ranges) < count:
        ranges.append(_SMALL if dice.between(0, 99) < 45 else _MEDIUM)
    return sorted((dice.between(*limits) for limits in ranges), reverse=True)


def compose(glyphs: Glyphs, dice: Dice, empty: bool = False) -> Canvas:
    """Draws one scene.

    Args:
        glyphs: the handwriting to draw from.
        dice: the random stream of this image.
        empty: draw only paper and clutter.
    """
    canvas = Canvas(SIZE, SIZE, dice)
    canvas.clutter(glyphs, dice.between(2, 6))
    for height in [] if empty else _heights(dice):
        digit = dice.between(0, 9)
        ink = glyphs.ink[dice.choose(glyphs.by_digit[digit])]
        width = height * dice.between(70, 95) // 100
        canvas.put(digit, cut_out(ink, width, height, dice.between(-20, 20)))
    return canvas


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Encodes a mask as COCO does without polygons: as uncompressed run lengths.

    Args:
        mask: `H x W`.

    Returns:
        `size`: height and width; `counts`: lengths of the runs down the columns, left to right, the
        first of them of pixels outside the mask.
    """
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = [0, 0] if flat[0] else [0]
    counts = np.diff(np.concatenate((starts, ends, [flat.size])))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def annotate(canvas: Canvas) -> list[dict[str, Any]]:
    """Annotates the visible part of each digit, in COCO's keys but for the two ids that depend on the file.

    Returns:
        For each digit of which enough is visible: `category_id`, `bbox` (left, top, width, height,
        tight around the visible pixels), `area` (their number), `segmentation`, `iscrowd`.
    """
    annotations: list[dict[str, Any]] = []
    for index, digit in enumerate(canvas.digits):
        mask = canvas.owner == index
        area = int(mask.sum())
        if area < _LEAST_VISIBLE:
            continue
        box = bounds(mask)
        annotations.append(
            {
                "category_id": digit + 1,
                "bbox": [box.left, box.top, box.right - box.left, box.bottom - box.top],
                "area": area,
                "segmentation": run_lengths(mask),
                "iscrowd": 0,
            }
        )
    return annotations


def _build_split(folder: Path, split: Split) -> None:
    """Writes the images and the annotation file of one split."""
    glyphs = load_glyphs(split)
    (folder / split).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, IMAGES[split] + 1):
        canvas = compose(glyphs, Dice("digit-scenes", split, number), empty=number % _EMPTY_EVERY == 0)
        name = f"{number:06d}.png"
        write_png(folder / split / name, canvas.rgb())
        images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        for annotation in annotate(canvas):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
    content = {
        "info": {"description": f"digit-scenes, {split}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": stored, "name": name} for name, stored in _CATEGORIES],
    }
    text = json.dumps(content, separators=(",", ":"))
    (folder / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")


class DigitScenes(EmbeddedDataset):
    """The data set of digit scenes."""

    class_list = _CATEGORIES

    def build(self, folder: Path) -> None:
        """Writes `train/`, `val/`, `test/` and `annotations/` into `folder`."""
        (folder / "annotations").mkdir()
        for split in IMAGES:
            _build_split(folder, split)


prepare = DigitScenes()
"""Builds the data set unless it exists; data configs name this object."""
