"""Plots the history of a row, night by night, with the interval expected for each point and the outliers."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from suite.evidence.labels import (
    PERFORMANCE,
    Expectation,
    Interval,
    Reading,
    Status,
    by_share,
    expectation_of,
    judged_points,
    readings,
)
from suite.evidence.points import Point
from suite.report.cells import NOTHING
from suite.report.figures.style import (
    CLAIMED,
    FAINT,
    INK,
    MEASURED,
    SOFT,
    WIDTH,
    Key,
    Sheet,
    dots,
    draw,
    numbers,
    padded,
    slug,
    ticks_between,
)
from suite.report.layout import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADINGS: Final = ("night", "value", "expected", "")

LEAST: Final = 2
"""Fewest points of a history; a single one is none."""

LATEST: Final = 90
"""Most points that are drawn, the latest ones."""

_LEFT: Final = 64.0
_TOP: Final = 40.0
_HEIGHT: Final = 150.0
_BOTTOM: Final = 36.0
_RIGHT: Final = WIDTH - 16.0


@dataclass(frozen=True)
class _Night:
    """One point of the history, compared with those before it."""

    point: Point
    value: float
    reading: Reading

    @property
    def outside(self) -> bool:
        return self.reading.outside > 0


def history_figure(points: Iterable[Point], status: Status) -> Figure | None:
    """Draws a metric of a row as measured night by night, up to the night for which it was judged.

    Args:
        points: the history, in any order.
        status: the status of the row and the metric (`suite.evidence.labels.judge`).

    Returns:
        The figure; None if there are fewer than two points.
    """
    row, metric = status.row, status.metric
    of_row = [point for point in points if point.row == row]
    own = [p for p in judged_points(of_row, metric) if status.last and p.night <= status.last]
    if len(own) < LEAST:
        return None
    expectation = by_share if metric in PERFORMANCE else expectation_of(row, metric, own[-1])
    # Points since a known change are not compared with those before it.
    split = len(own) - status.n
    nights = [night for part in (own[:split], own[split:]) for night in _read(part, metric, expectation)]
    shown = nights[-LATEST:]
    began = own[split].night if split else None
    outside = sum(night.outside for night in shown)
    return draw(
        slug("history", row.title, row.arm, metric),
        f"{row.title}: {metric}",
        f"The last {len(shown)} points; the band is the interval predicted from the points before: "
        f"{outside} outside.",
        (WIDTH, _TOP + _HEIGHT + _BOTTOM),
        functools.partial(_paint, nights=shown, began=began),
        numbers(HEADINGS, [_line(night) for night in shown]),
    )


def _read(points: Sequence[Point], metric: str, expectation: Expectation) -> list[_Night]:
    """Compares each point with those before it."""
    values = [float(getattr(point, metric if metric in PERFORMANCE else "value")) for point in points]
    found = readings(values, expectation)
    return [_Night(*night) for night in zip(points, values, found, strict=True)]


def _line(night: _Night) -> tuple[str, ...]:
    return (
        night.point.night.isoformat(),
        f"{night.value:.4g}",
        _in_words(night.reading.interval),
        "outside" if night.outside else "",
    )


def _in_words(expected: Interval | None) -> str:
    if expected is None:
        return NOTHING
    if math.isinf(expected.lower):
        return f"up to {expected.upper:.4g}"
    return f"{expected.lower:.4g} to {expected.upper:.4g}"


def _paint(sheet: Sheet, nights: Sequence[_Night], began: datetime.date | None) -> None:
    days = [night.point.night.toordinal() for night in nights]
    expected = [night.reading.interval for night in nights]
    ends = [end for interval in expected if interval for end in interval if math.isfinite(end)]
    low, high = padded([*(night.value for night in nights), *ends], least=0.05)
    first, last = min(days) - 0.5, max(days) + 0.5
    axes = sheet.panel((_LEFT, _TOP, _RIGHT, _TOP + _HEIGHT), (first, last), (low, high))
    sheet.rows(axes, ticks_between(low, high, 5))
    dated = _days(first, last)
    sheet.columns(axes, dated, labels=[datetime.date.fromordinal(day).isoformat() for day in dated])
    _paint_expected(axes, days, expected, low)
    axes.plot(days, [night.value for night in nights], color=MEASURED, alpha=SOFT, linewidth=1)
    for outside, look in ((False, ("o", MEASURED)), (True, ("^", CLAIMED))):
        places = [
            (day, night.value) for day, night in zip(days, nights, strict=True) if night.outside == outside
        ]
        dots(axes, places, *look, size=7 if outside else 4.5)
    changed = began is not None and first < began.toordinal() < last
    if began is not None and changed:
        axes.axvline(began.toordinal() - 0.5, color=INK, linewidth=1, linestyle="--")
    sheet.legend(
        0,
        12,
        [
            Key("as expected", MEASURED, "o"),
            Key("outside", CLAIMED, "^"),
            Key("predicted for one more run", INK, band=True),
            *([Key("a known change", INK, line="--")] if changed else []),
        ],
    )


def _paint_expected(
    axes: Axes, days: Sequence[int], expected: Sequence[Interval | None], lowest: float
) -> None:
    lower = [max(interval.lower, lowest) if interval else math.nan for interval in expected]
    upper = [interval.upper if interval else math.nan for interval in expected]
    axes.fill_between(days, lower, upper, step="mid", color=INK, alpha=2 * FAINT, linewidth=0)


def _days(first: float, last: float) -> list[int]:
    """A few days at equal distances."""
    step = max(1, math.ceil((last - first) / 7))
    return list(range(math.ceil(first), math.floor(last) + 1, step))
