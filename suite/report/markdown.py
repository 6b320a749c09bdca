"""Renders reports as Markdown (GitHub's dialect: tables and footnotes)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from suite.report.layout import NOTES, Grid, Page, plain

_MARKUP: Final = re.compile(r"[\\`|\[\]]")
"""Characters that end a table cell, or begin code, a link, an image or a footnote."""


def to_markdown(page: Page) -> str:
    """Renders a page as Markdown, ending with one newline."""
    return "\n".join(_blocks(page)).rstrip("\n") + "\n"


def table(grid: Grid) -> str:
    """Only the table of a grid, without its title or a final line break."""
    return "\n".join(_table(grid)).rstrip("\n")


def _blocks(page: Page) -> Iterator[str]:
    yield f"# {_text(page.title)}\n"
    for paragraph in page.paragraphs:
        yield f"{paragraph}\n"
    yield from (f"- {sentence}" for sentence in page.caption)
    yield ""
    yield "To regenerate, run one of\n"
    yield "```\n" + "\n".join(page.commands) + "\n```\n"
    if page.shared_departures:
        yield "Departures from the published protocols, shared by all rows:\n"
        yield from (f"- {_text(text)}" for text in page.shared_departures)
        yield ""
    for section in page.sections:
        yield f"## {_text(section.title)}\n"
        if section.remark:
            yield f"{_text(section.remark)}\n"
        for grid in section.grids:
            yield from _folded(grid) if grid.folded else _open(grid)
    yield from (f"[^{number}]: {_text(text)}" for number, text in enumerate(page.footnotes, start=1))


def _open(grid: Grid) -> Iterator[str]:
    if grid.title:
        yield f"{_text(grid.title)}\n"
    yield from _table_and_note(grid)


def _folded(grid: Grid) -> Iterator[str]:
    # The empty line after the summary makes the table inside Markdown.
    yield f"<details><summary>{_text(grid.title)}</summary>\n"
    yield from _table_and_note(grid)
    yield "</details>\n"


def _table_and_note(grid: Grid) -> Iterator[str]:
    yield from _table(grid)
    if grid.note:
        yield f"{_text(grid.note)}\n"


def _table(grid: Grid) -> Iterator[str]:
    yield f"| {' | '.join(grid.headings)} |"
    yield "|" + " --- |" * len(grid.headings)
    for line in grid.lines:
        cells = [_text(cell) for cell in line.cells]
        if grid.headings[-1] == NOTES:
            cells.append(" ".join(f"[^{number}]" for number in line.notes))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _text(text: str) -> str:
    """Text that is safe in a table cell: one line, with Markdown and HTML syntax escaped."""
    return _MARKUP.sub(r"\\\g<0>", plain(" ".join(text.split()))).replace("<", "&lt;")
