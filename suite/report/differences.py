"""Formats differences between two sets of records: Markdown, CSV, and the cells of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Final

from suite.csv_cells import harmless
from suite.evidence.compared import Difference
from suite.report.cells import NOTHING, interval, many, percent, signed
from suite.report.layout import Grid, Line
from suite.report.markdown import table

HEADINGS: Final = ("row", "metric", "A", "B", "B - A", "90 % interval", "verdict of B over A")


def cells(row: Difference) -> tuple[str, ...]:
    """A difference as the cells below `HEADINGS`."""
    words = row.presence if row.presence != "both" else row.verdict or "not judged"
    return (
        row.row,
        row.metric,
        _mean(row.mean_a, row.n_a),
        _mean(row.mean_b, row.n_b),
        signed(row.difference),
        interval(row.lower, row.upper, sign="+"),
        f"{words} ({row.reason})" if row.reason else words,
    )


def _mean(mean: float | None, n: int) -> str:
    return NOTHING if mean is None else f"{percent(mean)} (n = {n})"


def summary(rows: Sequence[Difference]) -> str:
    """What was found, in one sentence."""
    both = [row for row in rows if row.presence == "both"]
    words = [f"{many(len(both), 'metric')} of rows in both: {sum(row.moved for row in both)} moved"]
    words += [
        f"{count} in {presence.removeprefix('only ')} only"
        for presence in ("only A", "only B")
        if (count := sum(row.presence == presence for row in rows))
    ]
    return f"{'; '.join(words)}."


def in_markdown(rows: Sequence[Difference], closing: str) -> str:
    """The rows as a Markdown table, followed by a sentence."""
    lines = tuple(Line(cells(row)) for row in rows)
    return (table(Grid(HEADINGS, lines)) + "\n\n" if lines else "") + f"{closing}\n"


def in_csv(rows: Sequence[Difference]) -> str:
    """The rows as CSV, with a column for each attribute of a `Difference` and `moved`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(field.name for field in fields(Difference)), "moved"])
    for row in rows:
        numbers = (f"{cell:.10g}" if isinstance(cell, float) else cell for cell in astuple(row))
        writer.writerow([*map(harmless, numbers), row.moved])
    return out.getvalue()
