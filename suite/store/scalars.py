"""The scalars that trainings leave, in a file beside the record (`suite.store.companions`)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

from suite.contract import Scalars
from suite.store.companions import Companion

SCALARS: Final = Companion("scalars", Scalars, 4 * 2**20, "curves")
"""A file takes about a hundredth of the allowed size."""

scalars_file = SCALARS.file
write_scalars = SCALARS.write
read_scalars = SCALARS.read

_TENTHS = (0.05, 0.5, 0.95)
"""The midpoints of the first, the middle and the last tenth of a training, as fractions of it."""

Shares = tuple[float, float, float]
"""Over the first, the middle and the last tenth of a training."""


def shares_of(lines: Sequence[Scalars], losses: Collection[str]) -> dict[str, Shares]:
    """The share of the total loss that some of its terms have early, midway and late in a training.

    A share is the term over the total, both summed over the iterations of a tenth; 0 if the total is 0. A
    line belongs to the tenth that contains the midpoint of its own iterations; if none belongs to a tenth,
    the nearest line is used.

    Args:
        lines: the logged series of the training.
        losses: names of the terms.

    Returns:
        Term -> its shares; empty if nothing was logged.
    """
    tenths = [_around(lines, middle) for middle in _TENTHS] if lines else []
    return {name: _shares(name, tenths) for name in losses} if tenths else {}


def _around(lines: Sequence[Scalars], middle: float) -> list[tuple[Scalars, int]]:
    """The lines with their midpoint in the tenth around `middle`, each with how many iterations it covers."""
    ends = [0, *(line.iteration for line in lines)]
    length = ends[-1]
    spans = [(line, start, end) for line, start, end in zip(lines, ends[:-1], ends[1:], strict=True)]

    def off(span: tuple[Scalars, int, int]) -> float:
        return abs((span[1] + span[2]) / 2 - middle * length)

    inside = [span for span in spans if off(span) <= 0.05 * length] or [min(spans, key=off)]
    return [(line, end - start) for line, start, end in inside]


def _shares(name: str, tenths: Sequence[Sequence[tuple[Scalars, int]]]) -> Shares:
    first, middle, last = (
        _ratio(
            math.fsum(line.losses.get(name, 0.0) * steps for line, steps in tenth),
            math.fsum(line.loss * steps for line, steps in tenth),
        )
        for tenth in tenths
    )
    return first, middle, last


def _ratio(term: float, total: float) -> float:
    return float(f"{term / total:.6g}") if total else 0.0
