"""Composes a picture of scattered digits and records what each pixel shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.embedded.glyphs import Dice, Glyphs, Placement, blend, draw

SOLID = 96
"""Coverage from which a pixel belongs to a digit."""

_FAINT, _FULL = 56, 128
"""Between these coverages a pixel is neither clearly paper nor clearly ink."""

_ATTEMPTS = 30
"""Places tried for a digit before it is left out."""

_MIDDLE, _SHARPNESS = 136, 2
"""Coverage that becomes one half when stroke borders are sharpened, and how many times steeper they get.

Steep enough that a large digit is not blurred, and not so steep as to close loops that at 8 x 8 cells are
only a lighter spot.
"""


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels: columns `left` to `right`, rows `top` to `bottom`, ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Number of pixels."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Index of the pixels in an array of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def common(self, other: Box) -> int:
        """Number of pixels in both."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area


def bounds(mask: npt.NDArray[np.bool_]) -> Box:
    """The tight box around a mask of at least one pixel, `H x W`."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def cut_out(ink: npt.NDArray[np.int64], width: int, height: int, slant: int) -> npt.NDArray[np.int64]:
    """Draws a glyph with sharp borders; returns its coverage, cropped to where there is any.

    Args:
        ink: `8 x 8`, 0 to 16, with at least one cell of full ink.
        width: of the 8 x 8 cells together, in pixels.
        height: likewise.
        slant: horizontal shear in percent of the height.

    Returns:
        An array about as large as the glyph, 0 (nothing) to 255 (full ink).
    """
    # Ink reaches half a cell beyond the cells, and the slant moves it by half the height at most.
    beside = width // 8 + abs(slant) * height // 150 + 1
    above = height // 8 + 1
    place = Placement(beside, above, width, height, slant)
    soft = draw(ink, place, (height + 2 * above, width + 2 * beside))
    sharp = np.clip((soft - _MIDDLE) * _SHARPNESS + 128, 0, 255)
    return sharp[bounds(sharp > 0).pixels]


class Canvas:
    """A sheet of textured paper on which digits are placed, later ones over earlier ones.

    Attributes:
        image: `H x W x 3`, int64; noise may leave 0 to 255 until `rgb` clips it.
        owner: `H x W`, int64: index into `digits` of the digit a pixel shows, -1 for paper.
        uncertain: `H x W`, bool: the pixel lies on the border of a stroke.
        digits: what was put on the sheet, in order.
    """

    def __init__(self, height: int, width: int, dice: Dice) -> None:
        """Lays out paper: a bright colour that changes slowly from side to side."""
        self._size = (height, width)
        self._dice = dice
        self._boxes: list[Box] = []
        rows, columns = np.indices(self._size, dtype=np.int64)
        channels = []
        for _ in range(3):
            colour = dice.between(165, 240)
            rightwards, downwards = dice.between(-28, 28), dice.between(-28, 28)
            change = rightwards * (2 * columns - width) // (2 * width)
            channels.append(colour + change + downwards * (2 * rows - height) // (2 * height))
        self.image: npt.NDArray[np.int64] = np.stack(channels, axis=2)
        self.owner: npt.NDArray[np.int64] = np.full(self._size, -1, dtype=np.int64)
        self.uncertain: npt.NDArray[np.bool_] = np.zeros(self._size, dtype=bool)
        self.digits: list[int] = []

    def _ink_colour(self) -> list[int]:
        return [self._dice.between(0, 110) for _ in range(3)]

    def _paint(self, box: Box, coverage: npt.NDArray[np.int64], colour: Sequence[int]) -> None:
        self.image[box.pixels] = blend(self.image[box.pixels], coverage, colour)

    def clutter(self, glyphs: Glyphs, count: int) -> None:
        """Scatters faint scraps: quarters of glyphs, torn off and squeezed."""
        dice = self._dice
        for _ in range(count):
            ink = glyphs.ink[dice.between(0, len(glyphs.ink) - 1)]
            scrap = np.pad(ink[dice.choose([0, 4]) :, dice.choose([0, 4]) :][:4, :4], 2)
            width, height = dice.between(24, 64), dice.between(24, 64)
            place = Placement(0, 0, width, height, dice.between(-60, 60))
            faint = draw(scrap, place, (height, width)) * 3 // 8
            left = dice.between(0, self._size[1] - width)
            top = dice.between(0, self._size[0] - height)
            self._paint(Box(left, top, left + width, top + height), faint, self._ink_colour())

    def put(self, digit: int, coverage: npt.NDArray[np.int64]) -> bool:
        """Puts a digit where it overlaps no other by more than a fifth of the smaller box.

        Args:
            digit: 0 to 9.
            coverage: of the digit, from `cut_out`.

        Returns:
            Whether a place was found.
        """
        dice = self._dice
        height, width = coverage.shape
        if height > self._size[0] or width > self._size[1]:
            return False
        for _ in range(_ATTEMPTS):
            left = dice.between(0, self._size[1] - width)
            top = dice.between(0, self._size[0] - height)
            box = Box(left, top, left + width, top + height)
            if all(5 * box.common(other) <= min(box.area, other.area) for other in self._boxes):
                self._stick(digit, coverage, box)
                return True
        return False

    def _stick(self, digit: int, coverage: npt.NDArray[np.int64], box: Box) -> None:
        self._paint(box, coverage, self._ink_colour())
        self.owner[box.pixels][coverage >= SOLID] = len(self.digits)
        border = self.uncertain[box.pixels]
        border[coverage >= _FAINT] = False
        border[(coverage >= _FAINT) & (coverage < _FULL)] = True
        self.digits.append(digit)
        self._boxes.append(box)

    def rgb(self) -> npt.NDArray[np.uint8]:
        """The picture with the grain of the paper, `H x W x 3`."""
        grain = self._dice.noise(self.image.shape, 16)
        return np.clip(self.image + grain, 0, 255).astype(np.uint8)
