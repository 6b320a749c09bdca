"""Digit pairs: 100 classes, the numbers 00 to 99 in handwritten digits, in image-folder layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from suite.contract import StoredClass
from tasks.embedded.glyphs import (
    Dice,
    Glyphs,
    Placement,
    Split,
    blend,
    draw,
    load_glyphs,
)
from tasks.embedded.store import EmbeddedDataset, write_ppm

SIZE = 32
"""Height and width of an image in pixels."""

IMAGES_PER_CLASS: dict[Split, int] = {"train": 320, "val": 30, "test": 40}

_BELOW, _ABOVE = 3, 4
"""Opacity of the clutter below the digits and above them, in eighths."""


def _clutter(image: npt.NDArray[np.int64], glyphs: Glyphs, dice: Dice, opacity: int) -> npt.NDArray[np.int64]:
    """Lays one to three pieces of other digits along the upper and lower border of an image."""
    for _ in range(dice.between(1, 3)):
        size = dice.between(8, 16)
        place = Placement(
            left=dice.between(-8, SIZE - 4),
            top=dice.choose([dice.between(-12, -6), dice.between(SIZE - 10, SIZE - 4)]),
            width=size,
            height=size,
            slant=dice.between(-60, 60),
        )
        scrap = glyphs.ink[dice.between(0, len(glyphs.ink) - 1)]
        colour = [dice.between(60, 200) for _ in range(3)]
        image = blend(image, draw(scrap, place, (SIZE, SIZE)) * opacity // 8, colour)
    return image


def compose(number: int, glyphs: Glyphs, dice: Dice) -> bytes:
    """Draws one image of the class `number`.

    Two handwritten digits, each with its own size, slant, position and colour, lie between pieces of
    other digits (clutter), under noise.

    Args:
        number: 0 to 99.
        glyphs: the handwriting to draw from.
        dice: the random stream of this image.

    Returns:
        `SIZE * SIZE * 3` bytes, RGB, row by row.
    """
    paper = [dice.between(0, 80) for _ in range(3)]
    image: npt.NDArray[np.int64] = np.empty((SIZE, SIZE, 3), dtype=np.int64)
    image[:] = paper
    image = _clutter(image, glyphs, dice, _BELOW)
    for position, digit in enumerate(divmod(number, 10)):
        width = dice.between(14, 17)
        place = Placement(
            left=position * 15 + dice.between(-1, 1),
            top=dice.between(4, 8),
            width=width,
            height=dice.between(18, 22),
            slant=dice.between(-20, 20),
        )
        colour = [dice.between(130, 255) for _ in range(3)]
        ink = glyphs.ink[dice.choose(glyphs.by_digit[digit])]
        image = blend(image, draw(ink, place, (SIZE, SIZE)), colour)
    image = _clutter(image, glyphs, dice, _ABOVE)
    image += dice.noise(image.shape, 32)
    return np.clip(image, 0, 255).astype(np.uint8).tobytes()


class DigitPairs(EmbeddedDataset):
    """The data set of digit pairs."""

    class_list = tuple(StoredClass(f"{number:02d}") for number in range(100))

    def build(self, folder: Path) -> None:
        """Writes `train/`, `val/` and `test/` into `folder`, each with one folder per class."""
        for split, count in IMAGES_PER_CLASS.items():
            glyphs = load_glyphs(split)
            for number in range(100):
                target = folder / split / f"{number:02d}"
                target.mkdir(parents=True)
                for index in range(count):
                    pixels = compose(number, glyphs, Dice("digit-pairs", split, number, index))
                    write_ppm(target / f"{index:03d}.ppm", pixels, SIZE, SIZE)


prepare = DigitPairs()
"""Builds the data set unless it exists; data configs name this object."""
