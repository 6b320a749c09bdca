"""The answer at the end of ``reproduce`` and ``report``: formatted for a terminal, or as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from suite.cli.screen import Screen, folded, plain_table
from suite.paths import work_dir
from suite.published.claims import Paper
from suite.report import Report
from suite.report.answer import (
    HEADINGS,
    LEGEND,
    AnswerLine,
    Asked,
    Failure,
    answer_lines,
    asked_rows,
    count_not_run,
    in_one_sentence,
)
from suite.report.cells import Row
from suite.report.layout import Tone

_COLOURS: Final[dict[Tone | None, str]] = {"good": "green", "bad": "red", "open": "yellow"}
"""Tone of a verdict -> its colour; the verdict itself is printed too."""

_WIDTHS: Final = {"claimed": 7, "measured": 16, "difference": 10, "verdict": 16, "n": 3}
_LONGEST_CLAIM: Final = 45

MOST_LOGS: Final = 8
"""Largest number of logs that are listed one by one."""


@dataclass(frozen=True)
class Answer:
    """What the records say about the selected claims of one paper.

    Attributes:
        paper: the paper.
        profile: the profile of the runs.
        rows: the selected rows of the frame.
        pages: the files with the whole report.
        not_run: number of claims without a record, if only those with one are shown.
    """

    paper: Paper
    profile: str
    rows: list[Row]
    pages: list[Path]
    not_run: int = 0

    @classmethod
    def of(
        cls, paper: Paper, profile: str, report: Report, pages: Sequence[Path], asked: Asked | None
    ) -> Answer:
        """Creates the answer for the selected rows of a report; see `suite.report.answer.asked_rows`."""
        rows = report.rows
        not_run = count_not_run(rows) if asked is None else 0
        return cls(paper, profile, asked_rows(rows, asked), list(pages), not_run)

    def as_json(self) -> dict[str, Any]:
        """The answer as plain data; the keys of a row are the columns of `suite.evidence.frame.COLUMNS`."""
        return {
            "paper": self.paper.id,
            "profile": self.profile,
            "rows": self.rows,
            "pages": [str(page) for page in self.pages],
        }


def as_json(answers: Sequence[Answer], failures: Sequence[Failure]) -> str:
    """The answers and the failures as JSON."""
    content = {
        "answers": [answer.as_json() for answer in answers],
        "failures": [failure.as_json() for failure in failures],
    }
    return json.dumps(content, indent=1)


def print_answers(
    out: Screen,
    answers: Sequence[Answer],
    failures: Sequence[Failure],
    logs: Sequence[tuple[str, Path]] = (),
) -> None:
    """Prints the tables, what failed and why, and where the pages and logs are.

    Args:
        out: the terminal.
        answers: one per paper and profile.
        failures: the runs that did not finish.
        logs: labels of runs with their logs; if there are many, or none, a line says how to find them.
    """
    for answer in answers:
        _print_answer(out, answer)
    if failures:
        out.say("\nWhat failed:")
    for failure in failures:
        out.say(f"  {failure.run}: {failure.why}")
        if failure.log is not None:
            out.say(f"    log: {out.path(failure.log)}")
    out.say()
    for answer in answers:
        if answer.pages:
            out.say(f"Page: {', '.join(map(out.path, answer.pages))}")
    if 0 < len(logs) <= MOST_LOGS:
        out.say("\n".join(["Logs:", *(f"  {run}: {out.path(log)}" for run, log in logs)]))
    elif answers:
        runs = out.path(work_dir() / "runs")
        out.say(f"Logs: {runs}/RUN/log.txt; 'python -m suite plan' lists the id of every RUN")


def _print_answer(out: Screen, answer: Answer) -> None:
    paper = answer.paper
    out.say(f"\n{paper.id.upper()}: {paper.title} ({paper.venue}), profile {answer.profile}")
    if answer.rows:
        out.print(_table(answer_lines(answer.rows), out.width))
        out.say(LEGEND)
    out.say(in_one_sentence(answer.rows, answer.not_run))


def _table(lines: Sequence[AnswerLine], width: int) -> Table:
    """The table; empty columns are left out, and their width goes to the claims."""
    rows = [_cells(line) for line in lines]
    shown = [heading for heading in HEADINGS if heading == "claim" or any(row[heading] for row in rows)]
    fixed = [_WIDTHS[heading] for heading in shown if heading != "claim"]
    room = max(20, min(_LONGEST_CLAIM, width - sum(fixed) - len(fixed)))
    table = plain_table(*shown, right=("claimed", "difference", "n"), widths=[room, *fixed])
    table.padding = (0, 1, 0, 0)
    for line, row in zip(lines, rows, strict=True):
        verdict = Text(line.verdict, style=_COLOURS.get(line.verdict.tone, ""))
        cells = row | {"claim": _subject(line, room), "verdict": verdict}
        table.add_row(*(cells[heading] for heading in shown))
    return table


def _cells(line: AnswerLine) -> dict[str, Any]:
    return {
        "claimed": line.claimed,
        "measured": "\n".join(filter(None, (line.measured, line.bounds))),
        "difference": line.difference,
        "verdict": line.verdict,
        "n": line.n,
    }


def _subject(line: AnswerLine, room: int) -> str:
    """The subject of a line: the claim (unless the line before names it), its variant, and the metric."""
    variant = f"with {line.variant}" if line.variant else ""
    claim = folded(line.claim, room) if line.claim else ""
    return "\n".join(filter(None, (claim, variant, f"  {line.what}")))
