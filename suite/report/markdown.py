"""A report as Markdown (GitHub's dialect: tables and footnotes)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from suite.report.page import DETAIL_HEADINGS, HEADINGS, OTHERS_HEADINGS, Line, Page


def to_markdown(page: Page) -> str:
    """Sets a page as Markdown; ends with one newline."""
    return "\n".join(_blocks(page)).rstrip("\n") + "\n"


def _blocks(page: Page) -> Iterator[str]:
    yield f"# {_text(page.title)}\n"
    for paragraph in page.paragraphs:
        yield f"{paragraph}\n"
    yield f"**{' '.join(page.caption)}**\n"
    yield "Made by either of\n"
    yield "```\n" + "\n".join(page.commands) + "\n```\n"
    if page.shared_departures:
        yield "Departures from the published protocols that every row shares:\n"
        yield from (f"- {_text(text)}" for text in page.shared_departures)
        yield ""
    for section in page.sections:
        yield f"## {_text(section.title)}\n"
        yield f"Source: {_text(section.remark)}.\n"
        yield from _table((*HEADINGS, "notes"), section.lines, noted=True)
        if section.further:
            yield "<details><summary>Further metrics, measured and not judged</summary>\n"
            yield from _table((*HEADINGS, "notes"), section.further, noted=True)
            yield "</details>\n"
    if page.details:
        yield "## Deviations and undecided rows\n"
        yield from _table(DETAIL_HEADINGS, page.details)
    if page.others:
        yield "## Numbers of others\n"
        yield f"<details><summary>{len(page.others)} rows, quoted and never judged</summary>\n"
        yield from _table(OTHERS_HEADINGS, page.others)
        yield "</details>\n"
    if page.environment:
        yield "## Environment of the runs\n"
        yield from _table(("what", "values"), [Line(fact) for fact in page.environment])
    yield from (f"[^{number}]: {_text(text)}" for number, text in enumerate(page.footnotes, start=1))


def _table(headings: Sequence[str], lines: Iterable[Line], noted: bool = False) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + " --- |" * len(headings)
    for line in lines:
        cells = [_text(cell) for cell in line.cells]
        if noted:
            cells.append(" ".join(f"[^{number}]" for number in line.notes))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _text(text: str) -> str:
    """Text that can stand in a table cell: one line, nothing that Markdown or HTML would take for its own."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
