"""Plots a sweep: the claimed and the measured number of each setting, in the order of the paper."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from suite.published.metrics import find_metric
from suite.report.cells import (
    NOTHING,
    Row,
    claimed_cell,
    measured_values,
    pair_cell,
    percent,
    reproduced_cell,
)
from suite.report.figures.style import (
    CLAIMED,
    INK,
    MEASURED,
    SOFT,
    WIDTH,
    Key,
    Sheet,
    dots,
    draw,
    intervals,
    labelled_rows,
    numbers,
    padded,
    slug,
    ticks_between,
)
from suite.report.layout import Figure
from suite.report.sweeps import LEAST, sweep_agreement, sweeps_of

HEADINGS: Final = ("claim", "setting", "claimed", "reproduced", "90 % interval of the mean")

_TOP: Final = 62.0
_ROW: Final = 20.0
_BOTTOM: Final = 30.0
_BETWEEN: Final = 36.0
_LEAST_LEFT: Final = 190.0

_Ends = list[tuple[float, float] | None]


def sweep_figures(rows: Iterable[Row], table: str) -> Iterator[Figure]:
    """Draws the sweeps of a published table that were measured.

    Args:
        rows: the headline rows of the table.
        table: its id.
    """
    drawn = (sweep_figure(sweep, table) for sweep in sweeps_of(rows))
    yield from (figure for figure in drawn if figure)


def sweep_figure(sweep: Sequence[Row], table: str) -> Figure | None:
    """Draws a sweep (`suite.report.sweeps.sweeps_of`).

    Args:
        sweep: rows of the frame, in the order of the paper.
        table: id of the published table, for the name.

    Returns:
        The figure; None if fewer than two settings were measured.
    """
    if len(measured_values(sweep)) < LEAST:
        return None
    first = sweep[0]
    metric = find_metric(first["metric"])
    return draw(
        slug("sweep", table, first["teacher"] or "", first["student"], first["metric"]),
        f"{metric.title[0].upper()}{metric.title[1:]} of {pair_cell(first)} by setting",
        f"{len(sweep)} settings in the paper's order, claimed on the left and measured on the right, "
        f"each with its own scale; the dashed line is the student alone. Order: {sweep_agreement(sweep)}.",
        (WIDTH, _TOP + _ROW * len(sweep) + _BOTTOM),
        functools.partial(_paint, sweep=sweep),
        numbers(HEADINGS, [_line(row) for row in sweep]),
    )


def _line(row: Row) -> tuple[str, ...]:
    ends = [row["mean_lower"], row["mean_upper"]]
    return (
        row["claim"],
        row["method"] or NOTHING,
        claimed_cell(row),
        reproduced_cell(row),
        NOTHING if None in ends else f"{percent(ends[0])} to {percent(ends[1])}",
    )


def _paint(sheet: Sheet, sweep: Sequence[Row]) -> None:
    left = labelled_rows(sheet, [(row["method"] or NOTHING,) for row in sweep], _TOP, _ROW, 320)
    left = max(left, _LEAST_LEFT)
    side = (WIDTH - left - _BETWEEN - 16) / 2
    measured = measured_values(sweep)
    sheet.legend(
        0,
        12,
        [
            Key("claimed", CLAIMED, "D"),
            Key("our mean, 90 % interval", MEASURED, "o", line="-"),
            Key("student alone", INK, line="--"),
        ],
    )
    _paint_side(sheet, left, side, "claimed", [row["claimed"] for row in sweep], [None] * len(sweep), sweep)
    ends: _Ends = [
        None if row["mean_lower"] is None else (row["mean_lower"], row["mean_upper"]) for row in sweep
    ]
    ours = [measured.get(row["claim"]) for row in sweep]
    _paint_side(sheet, left + side + _BETWEEN, side, "measured", ours, ends, sweep)


def _paint_side(
    sheet: Sheet,
    left: float,
    width: float,
    title: str,
    values: Sequence[float | None],
    ends: _Ends,
    sweep: Sequence[Row],
) -> None:
    claimed = title == "claimed"
    alone = sweep[0]["student_claimed" if claimed else "student_mean"]
    shown = [value for value in (*values, alone) if value is not None]
    shown += [end for pair in ends if pair for end in pair]
    low, high = padded(shown, least=0.2)
    bottom = sheet.height - _BOTTOM
    axes = sheet.panel((left, _TOP, left + width, bottom), (low, high), (bottom, _TOP))
    sheet.columns(axes, ticks_between(low, high, 5))
    sheet.text(left, _TOP - 16, title, bold=True)
    if alone is not None:
        axes.axvline(alone, color=INK, linewidth=1, linestyle="--")
    rows = [_TOP + _ROW * (index + 0.5) for index in range(len(values))]
    colour = CLAIMED if claimed else MEASURED
    places = [(value, y) for value, y in zip(values, rows, strict=True) if value is not None]
    axes.plot(*zip(*places, strict=True), color=colour, alpha=SOFT, linewidth=1)
    intervals(axes, [(*pair, y) for pair, y in zip(ends, rows, strict=True) if pair], colour)
    dots(axes, places, "D" if claimed else "o", colour, size=6.5)
