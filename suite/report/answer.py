"""The answer to a command: the judged rows of a selection, short enough for a terminal.

Every number comes from the frame (`suite.evidence.frame`), and every cell has the same text as on the pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from suite.report.cells import (
    NOTHING,
    Row,
    claimed_cell,
    gain_verdict_cell,
    interval,
    many,
    percent,
    signed,
    verdict_cell,
)
from suite.report.layout import Cell
from suite.report.tables import headline_rows
from suite.verdicts import NOT_COMPARABLE

HEADINGS: Final = ("claim", "claimed", "measured", "difference", "verdict", "n")

LEGEND: Final = (
    "Measured is the mean over n seeds. Below each number is the range where one more run would fall in 95 "
    "of 100 cases; below each gain over the student alone is its 90 % interval."
)

Asked = Collection[tuple[str, str | None]]
"""Claims with the overrides that make a variant of them; None for the unchanged recipe."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish.

    Attributes:
        run: the run in words.
        run_id: its id.
        why: one line.
        log: the file of its output; None if there is no log here.
    """

    run: str
    run_id: str
    why: str
    log: Path | None

    def as_json(self) -> dict[str, Any]:
        """The failure as plain data."""
        return {
            "run": self.run,
            "run_id": self.run_id,
            "why": self.why,
            "log": None if self.log is None else str(self.log),
        }


@dataclass(frozen=True)
class AnswerLine:
    """One judged number, or one judged gain.

    Attributes:
        claim: id of the claim; empty if the previous line has the same one.
        variant: the overrides that make a variant of it; empty for the claim's own recipe.
        what: the metric, or the gain in it.
        claimed: as printed.
        measured: the mean over the seeds, or why there is none.
        bounds: its interval; empty if there is none.
        difference: measured minus claimed; empty if they cannot be compared.
        verdict: in words, with its tone; empty if nothing is judged.
        word: the verdict alone, without its strength and its mark.
        n: number of seeds.
    """

    claim: str
    variant: str
    what: str
    claimed: str
    measured: str
    bounds: str
    difference: str
    verdict: Cell
    word: str
    n: str


def asked_rows(rows: Sequence[Row], asked: Asked | None) -> list[Row]:
    """The headline rows of what was asked for: first claims, then variants, in the order of the frame.

    Args:
        rows: all rows of a paper.
        asked: what was asked for; None for every claim and variant with a record.
    """
    found: list[Row] = []
    for origin in ("claim", "variant"):
        of_origin = [row for row in rows if row["origin"] == origin]
        found += [row for row in headline_rows(of_origin) if _is_asked(row, asked)]
    return found


def _is_asked(row: Row, asked: Asked | None) -> bool:
    if asked is None:
        return row["status"] not in ("not run", "quoted")
    return (row["claim"], row["variant"]) in asked


def answer_lines(rows: Sequence[Row]) -> list[AnswerLine]:
    """The lines of the table: for each row its number, its gain, or both if both can be judged."""
    lines: list[AnswerLine] = []
    before: tuple[str, str] | None = None
    for row in rows:
        for line in _lines_of(row):
            subject = (line.claim, line.variant)
            lines.append(line if subject != before else replace(line, claim="", variant=""))
            before = subject
    return lines


def _lines_of(row: Row) -> list[AnswerLine]:
    # What blocks the number also blocks the gain, and is shown once.
    gains = row["gain"] is not None or row["gain_verdict"] not in (None, row["verdict"])
    comparable = row["verdict"] != NOT_COMPARABLE
    number = [] if gains and not comparable else [_number_line(row)]
    return number + ([_gain_line(row)] if gains else [])


def _number_line(row: Row) -> AnswerLine:
    without = "not reported" if row["status"] == "finished" else row["status"]
    measured = without if row["reproduced"] is None else percent(row["reproduced"])
    return AnswerLine(
        claim=row["claim"],
        variant=row["variant"] or "",
        what=row["metric"],
        claimed=_or_empty(claimed_cell(row)),
        measured=measured,
        bounds=_or_empty(interval(row["lower"], row["upper"])),
        difference=_or_empty(signed(row["difference"])),
        verdict=_judged(verdict_cell(row)),
        word=row["verdict"] or _or_empty(verdict_cell(row)),
        n=_count(row),
    )


def _gain_line(row: Row) -> AnswerLine:
    return AnswerLine(
        claim=row["claim"],
        variant=row["variant"] or "",
        what=f"gain in {row['metric']}",
        claimed=_or_empty(signed(row["claimed_gain"], row["decimals"])),
        measured=_or_empty(signed(row["gain"])),
        bounds=_or_empty(interval(row["gain_lower"], row["gain_upper"], sign="+")),
        difference="",
        verdict=_judged(gain_verdict_cell(row)),
        word=row["gain_verdict"] or _or_empty(gain_verdict_cell(row)),
        n=_count(row),
    )


def _count(row: Row) -> str:
    return "" if row["n"] is None else str(row["n"])


def _judged(cell: Cell) -> Cell:
    return Cell("") if cell == NOTHING else cell


def _or_empty(cell: str) -> str:
    return "" if cell == NOTHING else cell


def count_not_run(rows: Sequence[Row]) -> int:
    """How many judged claims of a paper have no record yet."""
    return len({row["claim"] for row in rows if row["origin"] == "claim" and row["status"] == "not run"})


def in_one_sentence(rows: Sequence[Row], not_run: int = 0) -> str:
    """How many claims have an answer, the verdicts on them, and how many others were not run.

    Args:
        rows: from `asked_rows`.
        not_run: how many claims are missing from the rows because they were not run.
    """
    claims = len({(row["claim"], row["variant"]) for row in rows})
    verdicts = Counter(line.word or line.measured for row in rows for line in _lines_of(row))
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    answered = f"{many(claims, 'claim')}: {counts}" if rows else "None of its claims was run"
    return f"{answered}; {not_run} not run." if rows and not_run else f"{answered}."
