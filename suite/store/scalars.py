"""The scalars that trainings leave, in a file beside the record (`suite.store.companions`)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

from suite.contract import Scalars
from suite.store.companions import Companion

SCALARS: Final = Companion("scalars", Scalars, 4 * 2**20, "curves")
"""A file takes about a hundredth of what it may."""

scalars_file = SCALARS.file
write_scalars = SCALARS.write
read_scalars = SCALARS.read

_TENTHS = (0.05, 0.5, 0.95)
"""Where the first, the middle and the last tenth of a training have their middles."""

Shares = tuple[float, float, float]
"""Over the first, the middle and the last tenth of a training."""


def shares_of(lines: Sequence[Scalars], losses: Collection[str]) -> dict[str, Shares]:
    """What share of the total loss some of its terms have as a training goes on.

    A share is the term over the total, both summed over the iterations of a tenth; zero where the total is.
    A line counts where its own middle lies; where none lies in a tenth, the one nearest to it counts.

    Args:
        lines: the series of the training.
        losses: the terms.
    """
    tenths = [_around(lines, middle) for middle in _TENTHS] if lines else []
    return {name: _shares(name, tenths) for name in losses} if tenths else {}


def _around(lines: Sequence[Scalars], middle: float) -> list[tuple[Scalars, int]]:
    """The lines that have their middle in a tenth, each with how many iterations it stands for."""
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
