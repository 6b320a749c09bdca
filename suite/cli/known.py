"""``show --paper``: what is known about a paper, as text or as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.evidence.frame import build_frame, rows_of
from suite.paths import REFERENCE, records_dir
from suite.published.addresses import on_arxiv, on_github
from suite.published.claims import Paper
from suite.published.literature import load_literature
from suite.report.cells import NOTHING, Row
from suite.report.known import Fact, answer, facts, trained
from suite.report.layout import Line
from suite.report.reruns import reruns
from suite.store.summaries import read_summaries

PUBLISHED, EMBEDDED = "paper", "mini"
"""The profiles whose measurements are reported."""

Paragraph = tuple[str, int]
"""A text, and the indentation of its second and later lines."""


@dataclass(frozen=True)
class Known:
    """What is known about a paper.

    Attributes:
        paper: the published numbers.
        answer: whether it can be reproduced, as far as is known.
        facts: the evidence for that.
    """

    paper: Paper
    answer: str
    facts: tuple[Fact, ...]


def what_is_known(paper: Paper) -> Known:
    """Collects what is published about a paper, and what the user's own and the reference records show.

    Raises:
        SuiteError: a record cannot be read.
    """
    literature = load_literature()
    rows = {
        (whose, profile): rows_of(build_frame([paper], records, profile))
        for whose, records in ((whose, read_summaries(folder)) for whose, folder in _stores().items())
        for profile in (PUBLISHED, EMBEDDED)
    }
    return Known(
        paper,
        answer(reruns(paper, literature), _told(rows, EMBEDDED), _told(rows, PUBLISHED)),
        (
            *facts(paper, literature),
            *(
                trained(found, embedded=profile == EMBEDDED, whose=whose)
                for (whose, profile), found in rows.items()
            ),
        ),
    )


def as_json(known: Known) -> str:
    """The same as JSON: the paper, ``answer``, and ``facts`` with the entries that each of them counts."""
    paper = known.paper
    content = {
        **{name: getattr(paper, name) for name in ("id", "title", "venue", "arxiv", "code")},
        "answer": known.answer,
        "facts": [
            {"topic": fact.topic, "sentence": fact.sentence, "entries": _entries(fact)}
            for fact in known.facts
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def as_text(known: Known, everything: bool) -> Iterator[Paragraph]:
    """The answer and the facts behind it, as text.

    Args:
        known: what is known.
        everything: whether the counted entries are listed too.
    """
    paper = known.paper
    yield f"{paper.id}: {paper.title} ({paper.venue})", 0
    for address in (*map(on_arxiv, paper.arxiv), on_github(paper.code)):
        yield f"  {address}", 2
    yield "", 0
    yield known.answer, 0
    for fact in known.facts:
        yield "", 0
        yield fact.topic, 0
        yield f"  {fact.sentence}", 2
        for line in fact.grid.lines if fact.grid and everything else ():
            yield f"  - {_in_line(line)}", 4
    yield "", 0
    if not everything:
        yield "--all lists contradictions, re-runs, settings and gaps one by one.", 0
    yield f"'python -m suite list --paper {paper.id}' lists the rows.", 0


def _stores() -> dict[str, Path]:
    """Name of a record store -> its folder."""
    reference, own = REFERENCE / "records", records_dir()
    stores = {"Reference runs": reference} if reference.is_dir() else {}
    return stores if own.resolve() == reference.resolve() else {"Your runs": own} | stores


def _told(rows: Mapping[tuple[str, str], Sequence[Row]], profile: str) -> Sequence[Row]:
    """The rows of a profile that the answer is about: of the first store that has a measurement."""
    found = [own for (_, name), own in rows.items() if name == profile]
    return next((own for own in found if any(row["reproduced"] is not None for row in own)), found[0])


def _entries(fact: Fact) -> list[dict[str, str]]:
    if fact.grid is None:
        return []
    return [dict(zip(fact.grid.headings, line.cells, strict=True)) for line in fact.grid.lines]


def _in_line(line: Line) -> str:
    name, *more = (cell for cell in line.cells if cell not in ("", NOTHING))
    return f"{name}: {'; '.join(more)}" if more else name
