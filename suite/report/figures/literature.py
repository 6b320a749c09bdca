"""Plots one pair across the literature: every published number of a teacher and a student, and ours."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from suite.published.literature import Provenance
from suite.published.metrics import find_metric
from suite.published.pairs import STUDENT_ALONE, TEACHER_ALONE, Pair, Value
from suite.report.cells import NOTHING, Row, many
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
    dots,
    draw,
    labelled_rows,
    numbers,
    padded,
    slug,
    ticks_between,
)
from suite.report.layout import Figure

HEADINGS: Final = ("method", "value", "whose run", "source")

LEAST: Final = 2
"""Fewest methods on a pair; a single one has no comparison."""

_MARKS: Final[dict[Provenance, tuple[str, str, bool]]] = {
    "own": ("D", CLAIMED, False),
    "quoted": ("D", CLAIMED, True),
    "re-run": ("s", TEACHER, False),
    "unstated": ("s", TEACHER, True),
}
_IN_WORDS: Final[dict[Provenance, str]] = {
    "own": "the authors' own",
    "quoted": "quoted from elsewhere",
    "re-run": "run by others",
    "unstated": "quoted or run, not stated",
}
_TOP: Final = 40.0
_ROW: Final = 17.0
_BOTTOM: Final = 44.0


@dataclass(frozen=True)
class _Method:
    """One line: a method, or a model alone.

    Attributes:
        name: of the method.
        values: its published values, each with its number.
        ours: rows of the frame that measured it on the published data.
    """

    name: str
    values: Sequence[tuple[float, Value]]
    ours: Sequence[Row]

    @property
    def place(self) -> tuple[bool, bool, float, str]:
        """Sort key: student alone first, then methods by their medians, then teacher alone."""
        median = statistics.median(number for number, _ in self.values)
        return self.name == TEACHER_ALONE, self.name != STUDENT_ALONE, median, self.name

    @property
    def extent(self) -> list[float]:
        ends = [row[end] for row in self.ours for end in ("reproduced", "lower", "upper")]
        return [number for number, _ in self.values] + [end for end in ends if end is not None]

    @property
    def in_short(self) -> str:
        printed = sorted((number, value.printed or "") for number, value in self.values)
        low, high = printed[0][1], printed[-1][1]
        return low if low == high else f"{low} to {high}"


def pair_figure(pair: Pair, metric: str, values: Iterable[Value], rows: Iterable[Row] = ()) -> Figure | None:
    """Draws every published number of a pair.

    Args:
        pair: the pair.
        metric: the metric to draw.
        values: from `suite.published.pairs.values_of`.
        rows: of the frame; claims on the pair that were measured on the published data are drawn.

    Returns:
        The figure; None if numbers of fewer than `LEAST` methods were published.
    """
    methods = _methods(metric, values, rows)
    if sum(method.name not in (STUDENT_ALONE, TEACHER_ALONE) for method in methods) < LEAST:
        return None
    kind = find_metric(metric)
    count = sum(len(method.values) for method in methods)
    sources = {value.source for method in methods for _, value in method.values}
    who = f"{pair.student} from {pair.teacher}" if pair.teacher else f"{pair.student} without a teacher"
    ours = " A blue band is the interval for one more run of ours." if any(m.ours for m in methods) else ""
    return draw(
        slug("pair", pair.teacher, pair.student, pair.dataset, metric),
        f"{who} on {pair.dataset}: {kind.title} in the literature",
        f"{many(count, 'published number')} from {many(len(sources), 'source')}, in {kind.unit}, by the "
        f"origin of each.{ours}",
        (WIDTH, _TOP + _ROW * len(methods) + _BOTTOM),
        functools.partial(_paint, methods=methods, unit=f"{kind.title}, {kind.unit}"),
        numbers(HEADINGS, [line for method in methods for line in _lines(method)]),
    )


def _methods(metric: str, values: Iterable[Value], rows: Iterable[Row]) -> list[_Method]:
    by_name: dict[str, list[tuple[float, Value]]] = {}
    for value in values:
        if value.metric == metric and value.printed is not None:
            by_name.setdefault(value.method, []).append((float(value.printed), value))
    measured = [
        row
        for row in rows
        if (row["origin"], row["metric"]) == ("claim", metric) and row["difference"] is not None
    ]
    methods = []
    for name, own in by_name.items():
        claims = {value.claim for _, value in own}
        methods.append(_Method(name, own, [row for row in measured if row["claim"] in claims]))
    return sorted(methods, key=lambda method: method.place)


def _lines(method: _Method) -> list[tuple[str, ...]]:
    published: list[tuple[str, ...]] = [
        (method.name, value.printed or NOTHING, _IN_WORDS[value.provenance], value.source)
        for _, value in method.values
    ]
    return published + [
        (method.name, f"{row['reproduced']:.2f}", f"ours, {many(row['n'], 'seed')}", "our records")
        for row in method.ours
    ]


def _paint(sheet: Sheet, methods: Sequence[_Method], unit: str) -> None:
    left = labelled_rows(sheet, [(method.name,) for method in methods], _TOP, _ROW, 330)
    right, bottom = WIDTH - 110.0, sheet.height - _BOTTOM
    low, high = padded([value for method in methods for value in method.extent], least=0.1)
    axes = sheet.panel((left, _TOP, right, bottom), (low, high), (bottom, _TOP))
    sheet.columns(axes, ticks_between(low, high, 8))
    sheet.text((left + right) / 2, bottom + 28, unit, "center", SMALL)
    middles = [_TOP + _ROW * (index + 0.5) for index in range(len(methods))]
    for method, y in zip(methods, middles, strict=True):
        sheet.text(WIDTH, y, method.in_short, "right", SMALL)
        if y > middles[0]:
            axes.axhline(y - _ROW / 2, color=INK, alpha=FAINT, linewidth=0.6)
        for row in method.ours:
            if row["lower"] is not None:
                band = [row["lower"], row["upper"]]
                axes.fill_between(band, y - 7, y + 7, color=MEASURED, alpha=3 * FAINT, linewidth=0)
    for provenance, look in _MARKS.items():
        places = [
            (number, y)
            for method, y in zip(methods, middles, strict=True)
            for number, value in method.values
            if value.provenance == provenance
        ]
        dots(axes, places, *look)
    ours = [(row["reproduced"], y) for method, y in zip(methods, middles, strict=True) for row in method.ours]
    dots(axes, ours, "o", MEASURED, size=6.5)
    _explain(sheet, methods)


def _explain(sheet: Sheet, methods: Sequence[_Method]) -> None:
    seen = {value.provenance for method in methods for _, value in method.values}
    keys = [Key(_IN_WORDS[kind], colour, shape, hollow) for kind, (shape, colour, hollow) in _MARKS.items()]
    shown = [key for key, kind in zip(keys, _MARKS, strict=True) if kind in seen]
    ours = [Key("ours", MEASURED, "o", band=True)] if any(method.ours for method in methods) else []
    sheet.legend(0, 12, shown + ours)
