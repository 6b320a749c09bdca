"""The published tables as the site shows them: each claim once, with every table that prints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from suite.published.claims import Claim, Paper, Table
from suite.report.addresses import sources_of
from suite.report.cells import (
    NOTHING,
    Row,
    claim_cell,
    claimed_cell,
    gain_verdict_cell,
    interval,
    measured_cell,
    pair_cell,
    percent,
    signed,
    spread,
    tone_of,
    verdict_cell,
)
from suite.report.layout import NOTES, Cell, Grid, Line, Section
from suite.report.site.blocks import Chapter
from suite.report.tables import (
    ELSEWHERE,
    PublishedTables,
    headline_rows,
    printed_elsewhere,
    printed_in,
    table_title,
)

HEADINGS: Final = (
    "verdict",
    "claim",
    "method",
    "teacher → student",
    "metric",
    "claimed",
    "measured",
    "n",
    "difference",
    "95 % interval",
    "gain claimed",
    "gain measured",
    "90 % interval",
    "gain verdict",
    "teacher measured",
    "student alone",
    "role",
    "printed in",
)


def lead_verdict(row: Row) -> Cell:
    """The leading verdict of a row: on its number if that is judged, or else on its gain.

    If nothing was measured, it is the status.
    """
    if row["status"] in ("not run", "quoted"):
        return Cell(row["status"])
    judged = tone_of(row["verdict"]) is not None or not row["gain_verdict"]
    cell = verdict_cell(row) if judged else gain_verdict_cell(row)
    return Cell(row["status"]) if cell == NOTHING else cell


def table_chapters(
    paper: Paper, rows: Sequence[Row], sections: Iterable[Section], notes: PublishedTables
) -> Iterator[Chapter]:
    """One chapter per published table that prints a claim, then one for claims that only others print.

    Args:
        paper: the paper.
        rows: all its rows.
        sections: of its report; figures, sources and notes below tables are taken from them.
        notes: numbers the footnotes in the order of their first use.
    """
    by_title = {section.title: section for section in sections if section.published}
    claims = {claim.id: claim for claim in paper.claims}
    own = {table.id: table for table in paper.tables}
    by_claim: dict[str, list[Row]] = {}
    for row in headline_rows([row for row in rows if row["origin"] == "claim"]):
        by_claim.setdefault(row["claim"], []).append(row)
    placed: set[str] = set()
    by_table = [(table_title(table), printed_in(paper.claims, table)) for table in paper.tables]
    for title, printed in [*by_table, (ELSEWHERE, printed_elsewhere(paper))]:
        if title not in by_title:
            continue
        here = [name for name in printed if name not in placed and name in by_claim]
        placed.update(here)
        lines = tuple(_line(row, claims[name], own, notes) for name in here for row in by_claim[name])
        yield _chapter(by_title[title], lines, [name for name in printed if name not in here])


def _chapter(section: Section, lines: tuple[Line, ...], above: Sequence[str]) -> Chapter:
    said = tuple(grid.note for grid in section.grids if grid.note)
    again = f"Also printed here, and shown in the table above that prints it first: {', '.join(above)}."
    return Chapter(
        section.title,
        paragraphs=(section.remark, *((again,) if above else ()), *said),
        figures=section.figures,
        grids=(without_empty_columns(Grid((*HEADINGS, NOTES), lines)),) if lines else (),
        chosen=True,
    )


def _line(row: Row, claim: Claim, tables: dict[str, Table], notes: PublishedTables) -> Line:
    sources = sources_of(row["claim"])
    lead, gain = lead_verdict(row), gain_verdict_cell(row)

    return Line(
        (
            lead,
            claim_cell(row["claim"]),
            row["method"] or NOTHING,
            pair_cell(row),
            row["metric"],
            Cell(claimed_cell(row), link=sources),
            measured_cell(row, spread(row["reproduced"], row["sd"])),
            NOTHING if row["n"] is None else str(row["n"]),
            signed(row["difference"]),
            interval(row["lower"], row["upper"]),
            signed(row["claimed_gain"], row["decimals"]),
            measured_cell(row, signed(row["gain"])),
            interval(row["gain_lower"], row["gain_upper"], sign="+"),
            NOTHING if gain == lead else gain,
            measured_cell(row, percent(row["teacher_measured"])),
            measured_cell(row, percent(row["student_mean"])),
            row["role"],
            Cell(_printed_in(claim, tables), link=sources),
        ),
        notes.notes_of(row),
    )


def _printed_in(claim: Claim, tables: dict[str, Table]) -> str:
    return ", ".join(dict.fromkeys(where_short(source.table, tables) for source in claim.sources))


def where_short(table: str, tables: dict[str, Table]) -> str:
    """A short name of a table: its number, `README` or its title; its id if it is no table of the paper."""
    found = tables.get(table)
    if found is None:
        return table
    if found.number is None:
        return "README" if found.kind == "repo_table" else found.title
    return f"Table {found.number}" if found.number.isdigit() else found.number


def without_empty_columns(grid: Grid) -> Grid:
    """A table without the columns that are empty in every row; the first column is kept."""
    noted = grid.headings[-1:] == (NOTES,)
    headings = grid.headings[:-1] if noted else grid.headings
    kept = [
        column
        for column in range(len(headings))
        if column == 0 or any(line.cells[column] != NOTHING for line in grid.lines)
    ]
    shown = [headings[column] for column in kept]
    if noted and any(line.notes for line in grid.lines):
        shown.append(NOTES)
    lines = tuple(Line(tuple(line.cells[column] for column in kept), line.notes) for line in grid.lines)
    return replace(grid, headings=tuple(shown), lines=lines)
