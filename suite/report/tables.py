"""The published tables, with our numbers beside theirs and the verdicts on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from suite.published.claims import Claim, Paper, Table
from suite.published.metrics import load_metrics
from suite.published.names import MetricName
from suite.published.priors import find_prior
from suite.report.cells import (
    NOTHING,
    Row,
    claim_cell,
    claimed_cell,
    entries,
    gain_cell,
    gain_verdict_cell,
    interval,
    many,
    pair_cell,
    percent,
    reproduced_cell,
    runs_cell,
    signed,
    spread,
    verdict_cell,
)
from suite.report.figures.sweep import sweep_figures
from suite.report.layout import NOTES, Grid, Line, Section
from suite.report.sweeps import sweep_note
from suite.verdicts import NOT_COMPARABLE

HEADINGS: Final = (
    "claim",
    "method",
    "teacher → student",
    "teacher measured",
    "metric",
    "claimed",
    "reproduced",
    "difference",
    "95 % interval",
    "verdict",
    "gain claimed",
    "gain reproduced (90 % interval)",
    "gain verdict",
    NOTES,
)
_ROW_HEADINGS: Final = ("claim", "method", "teacher → student", "runs")

_AS_PRINTED: Final = "Columns as printed; each cell is claimed / reproduced ± sd over the seeds:"
_VERDICTS: Final = "Verdicts:"
_FURTHER: Final = "Further metrics, measured but without a noise prior to judge their numbers"

ELSEWHERE: Final = "Claims by others on the same pairs"
_ELSEWHERE_REMARK: Final = (
    "Source: documents by others; 'python -m suite show CLAIM' names them. The claimed gain is over the "
    "student alone of the same document."
)

Printed = dict[str, dict[MetricName, str | None]]
"""Claim -> metric -> the number as one table prints it; None if it prints only the gain."""


class PublishedTables:
    """Turns the rows of one paper into sections, collecting footnotes in the order of their first use.

    Attributes:
        shared_departures: departures that every finished row has; no footnote repeats them.
    """

    def __init__(self, paper: Paper, rows: Sequence[Row]) -> None:
        self._paper = paper
        self._rows = [row for row in rows if row["origin"] == "claim"]
        self._numbers: dict[str, int] = {}
        self._discrepancies = {
            item.id: f"{item.title}. {item.text} Sources: {'; '.join(item.sources)}."
            for item in paper.discrepancies
        }
        finished = [set(entries(row["departures"])) for row in self._rows if row["n"]]
        self.shared_departures = tuple(sorted(set.intersection(*finished))) if finished else ()

    def sections(self, illustrated: bool = False) -> Iterator[Section]:
        """One section per published table that prints a claim, then one for claims that only others print.

        Args:
            illustrated: whether to include figures of the sweeps.
        """
        for table in self._paper.tables:
            printed = printed_in(self._paper.claims, table)
            rows = [row for row in self._rows if row["metric"] in printed.get(row["claim"], ())]
            if rows:
                more = "" if table.complete else "; the table has more rows than are known here"
                yield Section(
                    title=table_title(table),
                    grids=tuple(self._grids(rows, printed)),
                    remark=f"Source: {table.source}{more}.",
                    figures=tuple(sweep_figures(headline_rows(rows), table.id)) if illustrated else (),
                    published=True,
                )
        elsewhere = printed_elsewhere(self._paper)
        if rows := [row for row in self._rows if row["claim"] in elsewhere]:
            grids = tuple(self._grids(rows, elsewhere))
            yield Section(ELSEWHERE, grids, _ELSEWHERE_REMARK, published=True)

    def footnotes(self) -> tuple[str, ...]:
        """The texts that the lines refer to; complete only after the sections have been made."""
        return tuple(self._numbers)

    def _grids(self, rows: Sequence[Row], printed: Printed) -> Iterator[Grid]:
        several = any(len(numbers) > 1 for numbers in printed.values())
        if several:
            yield _as_printed(rows, printed)
        main = headline_rows(rows)
        title = _VERDICTS if several else ""
        yield Grid(HEADINGS, tuple(self._line(row) for row in main), title, note=sweep_note(main))
        shown = {(row["claim"], row["metric"]) for row in main}
        further = [row for row in rows if row["n"] and (row["claim"], row["metric"]) not in shown]
        if further:
            yield Grid(HEADINGS, tuple(self._line(row) for row in further), _FURTHER, folded=True)

    def _line(self, row: Row) -> Line:
        return Line(
            cells=(
                claim_cell(row["claim"]),
                row["method"] or NOTHING,
                pair_cell(row),
                percent(row["teacher_measured"]),
                row["metric"],
                claimed_cell(row),
                reproduced_cell(row),
                signed(row["difference"]),
                interval(row["lower"], row["upper"]),
                verdict_cell(row),
                signed(row["claimed_gain"], row["decimals"]),
                gain_cell(row),
                gain_verdict_cell(row),
            ),
            notes=self.notes_of(row),
        )

    def notes_of(self, row: Row) -> tuple[int, ...]:
        """The numbers of the footnotes of a row."""
        return tuple(self._numbers.setdefault(text, len(self._numbers) + 1) for text in self._notes(row))

    def _notes(self, row: Row) -> Iterator[str]:
        # Reasons that hold for a whole report are given once at its top.
        if row["reason"] and row["verdict"] != NOT_COMPARABLE:
            yield _sentence(row["reason"])
        if row["gain_reason"] and row["gain_reason"] != row["reason"]:
            yield _sentence(row["gain_reason"])
        for text in entries(row["departures"]):
            if text not in self.shared_departures:
                yield f"Departure: {text}"
        if row["skipped"]:
            yield f"Skipped when loading the data: {', '.join(entries(row['skipped']))}."
        for identifier in entries(row["discrepancies"]):
            yield f"Discrepancy: {self._discrepancies[identifier]}"
        if row["older_records"]:
            measured = f": {'; '.join(entries(row['older']))}" if row["older"] else ""
            yield (
                f"Not counted in this row: {many(row['older_records'], 'finished run')} of an earlier "
                f"recipe, data or version{measured}."
            )
        if row["repetitions"]:
            yield f"Not in the mean: {many(row['repetitions'], 'repeated run')}."


def printed_in(claims: Iterable[Claim], table: Table) -> Printed:
    """The numbers of the claims that a table prints, in the order of the claims."""
    found: Printed = {}
    for claim in claims:
        for source in claim.sources:
            if source.table == table.id:
                numbers = found.setdefault(claim.id, dict.fromkeys(source.gains))
                numbers.update(source.printed)
    return found


def printed_elsewhere(paper: Paper) -> Printed:
    """The numbers of the claims that no table of the paper prints."""
    own = {table.id for table in paper.tables}
    return {
        claim.id: {name: str(metric) for name, metric in claim.metrics.items()}
        for claim in paper.claims
        if own.isdisjoint(source.table for source in claim.sources)
    }


def _as_printed(rows: Sequence[Row], printed: Printed) -> Grid:
    """A published table in its original layout: one line per claim, one column per metric."""
    columns = [name for name in load_metrics() if any(name in numbers for numbers in printed.values())]
    by_claim: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_claim.setdefault(row["claim"], {})[row["metric"]] = row
    return Grid(
        headings=(*_ROW_HEADINGS, *columns),
        lines=tuple(_printed_line(measured, columns, printed[claim]) for claim, measured in by_claim.items()),
        title=_AS_PRINTED,
    )


def _printed_line(
    measured: dict[str, Row], columns: Sequence[MetricName], numbers: Mapping[MetricName, str | None]
) -> Line:
    first = next(iter(measured.values()))
    cells = [
        _side_by_side(numbers[name], measured[name]) if name in measured else NOTHING for name in columns
    ]
    subject = (claim_cell(first["claim"]), first["method"] or NOTHING, pair_cell(first))
    return Line((*subject, runs_cell(first), *cells))


def _side_by_side(printed: str | None, row: Row) -> str:
    if row["status"] == "quoted":
        return printed or NOTHING
    return f"{printed or NOTHING} / {spread(row['reproduced'], row['sd'])}"


def headline_rows(rows: Sequence[Row]) -> list[Row]:
    """The headline rows of a table: the first metric of each claim, and metrics with a noise prior."""
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["claim"], row["metric"])
    return [
        row
        for row in rows
        if row["metric"] == first[row["claim"]] or find_prior(row["dataset"], row["metric"]) is not None
    ]


def table_title(table: Table) -> str:
    """The heading of a published table: its number and its title."""
    if table.number is None:
        return table.title
    where = f"Table {table.number}" if table.number.isdigit() else table.number.capitalize()
    return f"{where}: {table.title}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")
