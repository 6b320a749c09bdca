"""Handwritten digits as raw material: who wrote them, and how they are drawn onto a canvas.

Everything here is integer arithmetic on raw random words, so that every machine and every NumPy
draws the same bytes: floating-point sums and library-level random methods promise no such thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

Split = Literal["train", "val", "test"]

HANDS: Mapping[Split, slice] = {"train": slice(0, 966), "val": slice(1104, 1240), "test": slice(1380, 1797)}
"""Rows of scikit-learn's digits that a split uses: seven writers for training, one for choosing learning
rates and epochs, three for testing.

The 1,797 digits are the test part of the UCI set "Optical Recognition of Handwritten Digits": 13
writers, stored one after the other, about 138 digits each. One writer's worth of rows between two
splits is left out, so that no writer is in both.
"""

_ONE = 1 << 12
"""The number one in the fixed-point arithmetic of `draw`."""


@dataclass(frozen=True)
class Glyphs:
    """Digits of one split.

    Attributes:
        ink: `N x 8 x 8`, int64, 0 (paper) to 16 (full ink).
        by_digit: for each digit 0 to 9, the row numbers of `ink` that show it.
    """

    ink: npt.NDArray[np.int64]
    by_digit: tuple[npt.NDArray[np.int64], ...]


def load_glyphs(split: Split) -> Glyphs:
    """Loads the handwritten digits of `split`; different splits come from different writers."""
    digits = load_digits()
    rows = HANDS[split]
    ink = digits.images[rows].astype(np.int64)
    labels = digits.target[rows]
    return Glyphs(ink, tuple(np.flatnonzero(labels == digit) for digit in range(10)))


class Dice:
    """Random integers from the raw words of PCG64, a stream NumPy promises to keep."""

    def __init__(self, *key: str | int) -> None:
        """Seeds the stream by a hash of `key`, so that streams of different keys are independent."""
        digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
        self._words = np.random.PCG64(int.from_bytes(digest[:16], "little"))

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int(self._words.random_raw()) % (high - low + 1)

    def choose(self, options: Sequence[int] | npt.NDArray[np.int64]) -> int:
        """One of `options`."""
        return int(options[self.between(0, len(options) - 1)])

    def noise(self, shape: tuple[int, ...], amplitude: int) -> npt.NDArray[np.int64]:
        """Integers from `-amplitude` to `amplitude` in an array of `shape`."""
        count = int(np.prod(shape))
        words = self._words.random_raw((count + 7) // 8)
        octets = words.view(np.uint8)[:count].astype(np.int64)
        return (octets * (2 * amplitude + 1) // 256 - amplitude).reshape(shape)


@dataclass(frozen=True)
class Placement:
    """Where and how a glyph lies on the canvas.

    Attributes:
        left, top: corner of the box in pixels; may lie outside the canvas.
        width, height: size of the box in pixels.
        slant: horizontal shear in percent of the height.
    """

    left: int
    top: int
    width: int
    height: int
    slant: int = 0


def draw(ink: npt.NDArray[np.int64], place: Placement, canvas: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Coverage of one glyph on an empty canvas.

    Args:
        ink: `8 x 8`, 0 to 16.
        place: box and slant.
        canvas: height and width in pixels.

    Returns:
        `height x width`, int64, 0 (nothing) to 255 (full ink), bilinear between the 8 x 8 cells.
    """
    down = np.arange(canvas[0], dtype=np.int64)[:, None] - place.top
    across = np.arange(canvas[1], dtype=np.int64) - place.left
    sheared = across * 100 - place.slant * (place.height // 2 - down)
    x = (sheared * 2 + 100) * 8 * _ONE // (200 * place.width) - _ONE // 2
    y = (down * 2 + 1) * 8 * _ONE // (2 * place.height) - _ONE // 2
    padded = np.pad(ink, 2).ravel()
    x0 = np.clip(x // _ONE, -2, 8)
    y0 = np.clip(y // _ONE, -2, 8)
    fx = np.clip(x - x0 * _ONE, 0, _ONE)
    fy = np.clip(y - y0 * _ONE, 0, _ONE)
    cell = (y0 + 2) * 12 + x0 + 2
    corner = [padded.take(cell + step) for step in (0, 1, 12, 13)]
    upper = corner[0] * (_ONE - fx) + corner[1] * fx
    lower = corner[2] * (_ONE - fx) + corner[3] * fx
    coverage: npt.NDArray[np.int64] = (upper * (_ONE - fy) + lower * fy) * 255 // (16 * _ONE * _ONE)
    return coverage


def blend(
    image: npt.NDArray[np.int64], coverage: npt.NDArray[np.int64], colour: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Paints `colour` over an image where `coverage` says so.

    Args:
        image: `H x W x 3`, 0 to 255.
        coverage: `H x W`, 0 to 255.
        colour: red, green, blue.

    Returns:
        `H x W x 3`, int64.
    """
    share = coverage[..., None]
    return (image * (255 - share) + np.asarray(colour, dtype=np.int64) * share) // 255
