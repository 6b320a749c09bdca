"""Variants in a report: claims run with other settings, shown beside the claim and never in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from suite.report.cells import (
    NOTHING,
    Row,
    claim_cell,
    gain_cell,
    gain_verdict_cell,
    percent,
    reproduced_cell,
    verdict_cell,
)
from suite.report.layout import Grid, Line, Section

HEADINGS: Final = (
    "claim",
    "overrides",
    "metric",
    "claim reproduced",
    "variant reproduced",
    "student alone",
    "verdict",
    "gain (90 % interval)",
    "gain verdict",
    "status",
    "why",
)

_REMARK: Final = (
    "Each variant is the claim's recipe with the overrides shown. It is compared with the claim's own row, "
    "which it does not change."
)


def variant_sections(rows: Sequence[Row]) -> Iterator[Section]:
    """The section of the variants that were run, if any."""
    own = {(row["claim"], row["metric"]): row for row in rows if row["origin"] == "claim"}
    lines = tuple(_line(row, own[row["claim"], row["metric"]]) for row in rows if row["origin"] == "variant")
    if lines:
        yield Section("Variants", (Grid(HEADINGS, lines),), _REMARK)


def _line(row: Row, claim: Row) -> Line:
    return Line(
        (
            claim_cell(row["claim"]),
            row["variant"],
            row["metric"],
            reproduced_cell(claim),
            reproduced_cell(row),
            percent(row["student_mean"]),
            verdict_cell(row),
            gain_cell(row),
            gain_verdict_cell(row),
            row["status"],
            "; ".join(dict.fromkeys(text for text in (row["reason"], row["gain_reason"]) if text)) or NOTHING,
        )
    )
