"""Plots training curves: the task loss with and without a method, and the method's share of the loss."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from suite.contract import Arm, Scalars
from suite.report.cells import ARM_WORDS, NOTHING, many
from suite.report.figures.style import (
    CLAIMED,
    FAINT,
    INK,
    MEASURED,
    SMALL,
    TEACHER,
    WIDTH,
    Key,
    Sheet,
    draw,
    numbers,
    slug,
    ticks_between,
    width_of,
)
from suite.report.layout import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS: Final = 40
"""Most points of a curve: the mean over each fortieth of a training."""

Series = Mapping[Arm, Sequence[Sequence[Scalars]]]
"""Arm -> the series of the training with each seed."""

_LOOKS: Final[dict[Arm, tuple[str, str]]] = {
    "teacher": (TEACHER, "--"),
    "student": (INK, ":"),
    "distilled": (MEASURED, "-"),
}
_SHARES: Final = ((CLAIMED, "-"), (TEACHER, "--"), (MEASURED, "-."), (INK, ":"))

_LEFT: Final = 52.0
_SIDE: Final = 330.0
_BETWEEN: Final = 100.0
_TOP: Final = 62.0
_HEIGHT: Final = 190.0
_BOTTOM: Final = 46.0


@dataclass(frozen=True)
class _Curve:
    """One quantity over a training.

    Attributes:
        name: in words.
        look: colour and line style.
        iterations: of its points.
        means: over the seeds.
        lows: minimum over the seeds.
        highs: maximum over the seeds.
        seeds: how many there are.
    """

    name: str
    look: tuple[str, str]
    iterations: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    seeds: int


def curves_figure(claim: str, title: str, series: Series) -> Figure | None:
    """Draws the task loss and the method's share of the total loss over the trainings of a claim.

    The task loss is the sum of the terms that all arms have; the terms that only the distilled student has
    are the method's.

    Args:
        claim: id of the claim.
        title: the claim in words.
        series: of its trainings.

    Returns:
        The figure; None if the distilled student has no series.
    """
    series = {arm: kept for arm, runs in series.items() if (kept := [run for run in runs if run])}
    if "distilled" not in series:
        return None
    shared, own = _terms(series)
    losses = [_curve(ARM_WORDS[arm], _LOOKS[arm], series[arm], shared) for arm in _LOOKS if arm in series]
    shares = [
        _curve(_in_words(name), _SHARES[index % len(_SHARES)], series["distilled"], [name], share=True)
        for index, name in enumerate(own)
    ]
    seeds = many(len(series["distilled"]), "seed")
    beside = "; on the right the share of the total loss of each term of the method" if shares else ""
    return draw(
        slug("curves", claim),
        f"{title}: training curves",
        f"On the left the task loss, mean and range over {seeds}{beside}.",
        (WIDTH, _TOP + _HEIGHT + _BOTTOM),
        functools.partial(_paint, losses=losses, shares=shares),
        numbers(("curve", "seeds", "first", "middle", "last"), [_line(c) for c in (*losses, *shares)]),
    )


def _terms(series: Series) -> tuple[list[str], list[str]]:
    """The terms that all arms have, and those that only the distilled student has."""
    found = {
        arm: dict.fromkeys(name for run in runs for line in run for name in line.losses)
        for arm, runs in series.items()
    }
    others = [names for arm, names in found.items() if arm != "distilled"]
    shared = [name for name in found["distilled"] if all(name in names for names in others)]
    own = [name for name in found["distilled"] if others and name not in shared]
    return shared, own


def _in_words(term: str) -> str:
    return term.removeprefix("loss_").replace("_", " ")


def _curve(
    name: str,
    look: tuple[str, str],
    runs: Sequence[Sequence[Scalars]],
    terms: Sequence[str],
    share: bool = False,
) -> _Curve:
    """A sum of loss terms (without terms, the total loss) in equal parts of the training, over all seeds."""
    last = max(run[-1].iteration for run in runs)
    thinned = [_thinned(run, last, terms, share) for run in runs]
    parts = sorted(set.intersection(*(set(points) for points in thinned)))
    at = [[points[part] for points in thinned] for part in parts]
    return _Curve(
        name,
        look,
        tuple((part + 0.5) * last / POINTS for part in parts),
        tuple(math.fsum(values) / len(values) for values in at),
        tuple(map(min, at)),
        tuple(map(max, at)),
        len(runs),
    )


def _thinned(run: Sequence[Scalars], last: int, terms: Sequence[str], share: bool) -> dict[int, float]:
    """Part of the training -> mean over its iterations of a sum of terms, or of their share of the loss."""
    sums: dict[int, list[float]] = {}
    before = 0
    for line in run:
        steps, before = line.iteration - before, line.iteration
        part = min(int((line.iteration - steps / 2) * POINTS / last), POINTS - 1)
        value = math.fsum(line.losses.get(name, 0.0) for name in terms) if terms else line.loss
        total = sums.setdefault(part, [0.0, 0.0, 0.0])
        for index, amount in enumerate((value, line.loss, 1.0)):
            total[index] += amount * steps
    below = 1 if share else 2
    means = {part: total[0] / total[below] for part, total in sums.items() if total[below]}
    return {part: mean for part, mean in means.items() if math.isfinite(mean)}


def _line(curve: _Curve) -> tuple[str, ...]:
    means = curve.means
    shown = [f"{means[index]:.4g}" for index in (0, len(means) // 2, -1)] if means else [NOTHING] * 3
    return (curve.name, str(curve.seeds), *shown)


def _paint(sheet: Sheet, losses: Sequence[_Curve], shares: Sequence[_Curve]) -> None:
    _paint_panel(sheet, _LEFT, "task loss", losses)
    if any(curve.means for curve in shares):
        _paint_panel(sheet, _LEFT + _SIDE + _BETWEEN, "share of the total loss", shares)


def _paint_panel(sheet: Sheet, left: float, title: str, curves: Sequence[_Curve]) -> None:
    curves = [curve for curve in curves if curve.means]
    if not curves:
        return
    last = max(curve.iterations[-1] for curve in curves)
    low = min(0.0, *(value for curve in curves for value in curve.lows))
    high = max(value for curve in curves for value in curve.highs) * 1.04 or 1.0
    axes = sheet.panel((left, _TOP, left + _SIDE, _TOP + _HEIGHT), (0, last), (low, high))
    sheet.columns(axes, ticks_between(0, last, 5))
    sheet.rows(axes, ticks_between(low, high, 5))
    sheet.text(left, _TOP - 44, title, bold=True)
    sheet.text(left + _SIDE / 2, _TOP + _HEIGHT + 30, "iteration", "center", SMALL)
    _explain(sheet, left, curves)
    for curve in curves:
        _paint_curve(axes, curve)


def _explain(sheet: Sheet, left: float, curves: Sequence[_Curve]) -> None:
    """Writes a legend, in several lines if necessary."""
    x, y = left, _TOP - 26
    for curve in curves:
        width = 41 + width_of(curve.name, SMALL)
        if x > left and x + width > left + _SIDE + _BETWEEN:
            x, y = left, y + 14
        sheet.legend(x, y, [Key(curve.name, curve.look[0], line=curve.look[1])])
        x += width


def _paint_curve(axes: Axes, curve: _Curve) -> None:
    colour, style = curve.look
    if curve.seeds > 1:
        axes.fill_between(
            curve.iterations, curve.lows, curve.highs, color=colour, alpha=2 * FAINT, linewidth=0
        )
    axes.plot(curve.iterations, curve.means, style, color=colour, linewidth=1.6)
