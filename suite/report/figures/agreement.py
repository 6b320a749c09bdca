"""Plots measured against claimed numbers, with the diagonal on which both are equal."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from suite.published.metrics import find_metric
from suite.published.priors import practical_margin
from suite.report.cells import (
    NOTHING,
    Row,
    claimed_cell,
    interval,
    main_rows,
    many,
    pair_cell,
    reproduced_cell,
    verdict_cell,
)
from suite.report.figures.style import (
    CLAIMED,
    FAINT,
    INK,
    MEASURED,
    SMALL,
    SOFT,
    WIDTH,
    Key,
    Sheet,
    dots,
    draw,
    numbers,
    padded,
    ticks_between,
)
from suite.report.layout import Figure
from suite.verdicts import DEVIATES_HIGH, DEVIATES_LOW, REPRODUCED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADINGS: Final = (
    *("no.", "claim", "method", "teacher → student", "metric", "claimed", "reproduced", "95 % interval"),
    "verdict",
)

_SIDE: Final = 340.0
_BETWEEN: Final = 110.0
_LEFT: Final = 56.0
_TOP: Final = 62.0
_BELOW: Final = 78.0
_APART: Final = 11.0

_MARKS: Final = {
    REPRODUCED: ("o", MEASURED, False),
    DEVIATES_LOW: ("v", CLAIMED, False),
    DEVIATES_HIGH: ("^", CLAIMED, False),
}
_UNDECIDED: Final = ("o", MEASURED, True)

_Numbered = tuple[int, Row]


def agreement_figure(rows: Iterable[Row], name: str = "claimed-against-measured") -> Figure | None:
    """Draws the results of runs on published data against the claims, one panel per metric.

    Args:
        rows: of the frame; comparable claims are drawn, by their main metrics.
        name: of the figure.

    Returns:
        The figure; None if no number is comparable, as on embedded data.
    """
    drawn = [row for row in main_rows(rows) if row["difference"] is not None]
    if not drawn:
        return None
    panels: dict[str, list[_Numbered]] = {}
    for number, row in enumerate(drawn, start=1):
        panels.setdefault(row["metric"], []).append((number, row))
    height = _TOP + len(_lines_of(panels)) * (_SIDE + _BELOW)
    same = sum(row["verdict"] == REPRODUCED for row in drawn)
    return draw(
        name,
        "Claimed versus measured",
        f"{many(len(drawn), 'number')} on the published data, each with the interval for one more run: "
        f"{same} reproduced. On the diagonal, claimed and measured are equal; the band is the practical "
        "margin. Triangles are deviations, numbered as in the table.",
        (WIDTH, height),
        functools.partial(_paint, panels=panels),
        numbers(HEADINGS, [_line(number, row) for number, row in enumerate(drawn, start=1)]),
    )


def _lines_of(panels: dict[str, list[_Numbered]]) -> list[list[str]]:
    """The metrics, two per line."""
    metrics = list(panels)
    return [metrics[start : start + 2] for start in range(0, len(metrics), 2)]


def _line(number: int, row: Row) -> tuple[str, ...]:
    return (
        str(number),
        row["claim"],
        row["method"] or NOTHING,
        pair_cell(row),
        row["metric"],
        claimed_cell(row),
        reproduced_cell(row),
        interval(row["lower"], row["upper"]),
        verdict_cell(row),
    )


def _paint(sheet: Sheet, panels: dict[str, list[_Numbered]]) -> None:
    sheet.legend(
        0,
        12,
        [
            Key("reproduced", MEASURED, "o"),
            Key("undecided or not judged", MEASURED, "o", hollow=True),
            Key("deviates, lower", CLAIMED, "v"),
            Key("deviates, higher", CLAIMED, "^"),
            Key("interval for one more run", INK, line="-"),
            Key("practical margin", INK, band=True),
        ],
    )
    for line, metrics in enumerate(_lines_of(panels)):
        for column, metric in enumerate(metrics):
            left = _LEFT + column * (_SIDE + _BETWEEN)
            _paint_panel(sheet, (left, _TOP + line * (_SIDE + _BELOW)), metric, panels[metric])


def _paint_panel(sheet: Sheet, corner: tuple[float, float], metric: str, drawn: Sequence[_Numbered]) -> None:
    (left, top), rows = corner, [row for _, row in drawn]
    both = padded([value for row in rows for value in _extent(row)])
    axes = sheet.panel((left, top, left + _SIDE, top + _SIDE), both, both)
    ticks = ticks_between(*both)
    sheet.columns(axes, ticks)
    sheet.rows(axes, ticks)
    kind = find_metric(metric)
    sheet.text(left, top - 14, f"{kind.title}, {kind.unit}", bold=True)
    sheet.text(left + _SIDE / 2, top + _SIDE + 30, "claimed", "center", SMALL)
    sheet.text(left + 5, top + 8, "measured", size=SMALL)
    margin = max(practical_margin(row["dataset"], metric) for row in rows)
    low, high = both
    axes.fill_between([low, high], [low - margin, high - margin], [low + margin, high + margin], color=INK)
    axes.collections[-1].set(alpha=FAINT, linewidth=0)
    axes.plot(both, both, color=INK, linewidth=0.8)
    _paint_rows(axes, rows)
    _number(sheet, axes, (left, top), drawn)


def _extent(row: Row) -> Iterator[float]:
    yield from (row["claimed"], row["reproduced"])
    yield from (row[end] for end in ("lower", "upper") if row[end] is not None)


def _paint_rows(axes: Axes, rows: Sequence[Row]) -> None:
    ends = [
        (row["claimed"], y)
        for row in rows
        if row["lower"] is not None
        for y in (row["lower"], row["upper"], float("nan"))
    ]
    if ends:
        axes.plot(*zip(*ends, strict=True), color=INK, alpha=SOFT, linewidth=1)
    for kind in dict.fromkeys((*_MARKS.values(), _UNDECIDED)):
        places = [
            (row["claimed"], row["reproduced"])
            for row in rows
            if _MARKS.get(row["verdict"], _UNDECIDED) == kind
        ]
        dots(axes, places, *kind, size=6.5)


def _number(sheet: Sheet, axes: Axes, corner: tuple[float, float], drawn: Sequence[_Numbered]) -> None:
    """Writes the numbers of deviating rows beside their marks, without overlaps."""
    low, high = axes.get_xlim()
    scale = _SIDE / (high - low)
    deviating = [(number, row) for number, row in drawn if row["verdict"] in (DEVIATES_LOW, DEVIATES_HIGH)]
    taken: list[tuple[float, float]] = []
    for number, row in sorted(deviating, key=lambda entry: (-entry[1]["reproduced"], entry[0])):
        # Away from the diagonal, where most marks are.
        side = 1 if row["verdict"] == DEVIATES_LOW else -1
        x = corner[0] + (row["claimed"] - low) * scale + 7 * side
        y = corner[1] + (high - row["reproduced"]) * scale
        while any(abs(x - other) < 2 * _APART and abs(y - beside) < _APART for other, beside in taken):
            y += 1
        taken.append((x, y))
        sheet.text(x, y, str(number), "left" if side > 0 else "right", SMALL)
