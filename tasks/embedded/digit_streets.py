"""Digit streets: every pixel labelled as paper or one of ten digits, in the layout of Cityscapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from suite.contract import StoredClass
from tasks.embedded.canvas import Canvas, cut_out
from tasks.embedded.glyphs import Dice, Glyphs, Split, load_glyphs
from tasks.embedded.store import EmbeddedDataset, write_png

WIDTH, HEIGHT = 256, 128
"""Size of an image in pixels."""

IMAGES_PER_TOWN: dict[Split, dict[str, int]] = {
    "train": {"blotby": 160, "inkford": 160, "nibton": 160},
    "val": {"quillham": 120},
    "test": {"sandwell": 120, "vellum": 120},
}

CLASSES = ("paper", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Names of the labels 0 to 10."""

IGNORED = 255
"""Label of pixels that count neither in training nor in scoring: borders of strokes, and the bonnet."""


def compose(glyphs: Glyphs, dice: Dice, bonnet: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draws one image and its label map.

    Args:
        glyphs: the handwriting to draw from.
        dice: the random stream of this image.
        bonnet: rows at the lower border that show the car itself.

    Returns:
        The image, `HEIGHT x WIDTH x 3`, and the labels, `HEIGHT x WIDTH`: 0 to 10 or `IGNORED`.
    """
    canvas = Canvas(HEIGHT, WIDTH, dice)
    canvas.clutter(glyphs, dice.between(2, 5))
    for height in sorted((dice.between(56, 112) for _ in range(dice.between(4, 7))), reverse=True):
        digit = dice.between(0, 9)
        ink = glyphs.ink[dice.choose(glyphs.by_digit[digit])]
        width = height * dice.between(70, 95) // 100
        canvas.put(digit, cut_out(ink, width, height, dice.between(-20, 20)))
    canvas.image[-bonnet:] = [dice.between(40, 90) for _ in range(3)]
    # Owner -1, paper, has label 0; a digit has the label digit + 1.
    label_of_owner = np.array([*(digit + 1 for digit in canvas.digits), 0], dtype=np.uint8)
    labels = label_of_owner[canvas.owner]
    labels[canvas.uncertain] = IGNORED
    labels[-bonnet:] = IGNORED
    return canvas.rgb(), labels


def _build_town(folder: Path, split: Split, town: str) -> None:
    """Writes the images and the label maps of one town."""
    glyphs = load_glyphs(split)
    bonnet = Dice("digit-streets", town).between(8, 14)
    images, labels = (folder / kind / split / town for kind in ("leftImg8bit", "gtFine"))
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number in range(IMAGES_PER_TOWN[split][town]):
        image, label_map = compose(glyphs, Dice("digit-streets", town, number), bonnet)
        stem = f"{town}_{number:06d}_000019"
        write_png(images / f"{stem}_leftImg8bit.png", image)
        write_png(labels / f"{stem}_gtFine_labelTrainIds.png", label_map)


class DigitStreets(EmbeddedDataset):
    """The data set of digit streets."""

    class_list = tuple(StoredClass(name, number) for number, name in enumerate(CLASSES))

    def build(self, folder: Path) -> None:
        """Writes `leftImg8bit/` and `gtFine/` into `folder`, each with one folder per split and town."""
        for split, towns in IMAGES_PER_TOWN.items():
            for town in towns:
                _build_town(folder, split, town)


prepare = DigitStreets()
"""Builds the data set unless it exists; data configs name this object."""
