"""Plots the share of each claimed gain that is retained when the method is re-trained on published data."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Final

from suite.report.cells import NOTHING, Row, gain_cell, gain_verdict_cell, main_rows, many, pair_cell, signed
from suite.report.figures.style import (
    FAINT,
    INK,
    MEASURED,
    SMALL,
    WIDTH,
    Key,
    Sheet,
    dots,
    draw,
    intervals,
    labelled_rows,
    numbers,
    padded,
    ticks_between,
)
from suite.report.layout import Figure
from suite.verdicts import GAIN_LARGER, GAIN_REPRODUCED, GAIN_SMALLER

HEADINGS: Final = (
    *("claim", "method", "teacher → student", "metric", "gain claimed", "our gain (90 % interval)"),
    *("share kept", "90 % interval", "verdict"),
)

_DECIDED: Final = frozenset({GAIN_REPRODUCED, GAIN_SMALLER, GAIN_LARGER})
_TOP: Final = 44.0
_ROW: Final = 17.0
_BOTTOM: Final = 44.0


def retained_figure(rows: Iterable[Row], name: str = "gain-kept") -> Figure | None:
    """Draws the share of each claimed gain that our runs retain.

    Args:
        rows: of the frame; claims with a comparable gain are drawn, by their main metrics.
        name: of the figure.

    Returns:
        The figure; None if no gain is comparable, as on embedded data.
    """
    shown = [row for row in main_rows(rows) if row["retained"] is not None]
    if not shown:
        return None
    whole = sum(row["retained"] >= 1 for row in shown)
    return draw(
        name,
        "Share of the claimed gain that was retained",
        f"{many(len(shown), 'gain')} on the published data, each as a share of the claimed gain with its "
        f"90 % interval; {whole} at least as large as claimed.",
        (WIDTH, _TOP + _ROW * len(shown) + _BOTTOM),
        functools.partial(_paint, rows=shown),
        numbers(HEADINGS, [_line(row) for row in shown]),
    )


def _ends(row: Row) -> tuple[float, float]:
    """The interval in percent of the claimed gain; the share itself if there is none."""
    ends = [row["retained"] if row[end] is None else row[end] for end in ("retained_lower", "retained_upper")]
    return 100 * ends[0], 100 * ends[1]


def _line(row: Row) -> tuple[str, ...]:
    lower, upper = _ends(row)
    return (
        row["claim"],
        row["method"] or NOTHING,
        pair_cell(row),
        row["metric"],
        signed(row["claimed_gain"], row["decimals"]),
        gain_cell(row),
        f"{row['retained']:.0%}",
        NOTHING if row["retained_lower"] is None else f"{lower:.0f} % to {upper:.0f} %",
        gain_verdict_cell(row),
    )


def _paint(sheet: Sheet, rows: Sequence[Row]) -> None:
    left = labelled_rows(sheet, [(row["method"] or NOTHING, pair_cell(row)) for row in rows], _TOP, _ROW)
    right, bottom = WIDTH - 60.0, sheet.height - _BOTTOM
    ends = [_ends(row) for row in rows]
    low, high = padded([0.0, 100.0, *(end for pair in ends for end in pair)])
    axes = sheet.panel((left, _TOP, right, bottom), (low, high), (bottom, _TOP))
    sheet.columns(axes, ticks_between(low, high))
    axes.axvspan(0, 100, color=INK, alpha=FAINT, linewidth=0)
    for edge in (0, 100):
        axes.axvline(edge, color=INK, linewidth=1)
    middles = [_TOP + _ROW * (index + 0.5) for index in range(len(rows))]
    undecided = [row["gain_verdict"] not in _DECIDED for row in rows]
    kept = [100 * row["retained"] for row in rows]
    rings = [share if open_ else None for share, open_ in zip(kept, undecided, strict=True)]
    intervals(axes, [(*pair, y) for pair, y in zip(ends, middles, strict=True)], MEASURED, rings)
    for hollow in (False, True):
        places = [
            (share, y) for share, y, open_ in zip(kept, middles, undecided, strict=True) if open_ == hollow
        ]
        dots(axes, places, "o", MEASURED, hollow, size=6.5)
    for row, y in zip(rows, middles, strict=True):
        sheet.text(WIDTH, y, f"{row['retained']:.0%}", "right", SMALL)
    sheet.text((left + right) / 2, bottom + 28, "percent of the claimed gain", "center", SMALL)
    sheet.legend(
        0,
        12,
        [
            Key("our gain, 90 % interval", MEASURED, "o", line="-"),
            Key("our gain, undecided", MEASURED, "o", hollow=True),
            Key("less than claimed", INK, band=True),
        ],
    )
