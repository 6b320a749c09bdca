r"""Exports every table of a page for use in a paper: one file per table, to be included with ``\input``.

The tables need only the package booktabs. Text is escaped character by character, so that no command, comment
or cell separator can come from a record or a claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from suite.report.exports import Files, Material
from suite.report.exports.names import Unique
from suite.report.layout import NOTES, Grid, Line, Page, plain

_ESCAPED: Final = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "{}$&#_%"},
        # Braces keep it from being read as an argument or as the star of a preceding command.
        **{letter: f"{{{letter}}}" for letter in "[]*"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\char34{}",
        "\u2014": "{---}",
        "\u2013": "{--}",
        "\u2192": r"$\rightarrow$",
        "\u00b1": r"$\pm$",
        "\u00d7": r"$\times$",
        "\u2265": r"$\geq$",
        "\u2264": r"$\leq$",
    }
)
"""Character -> its replacement; LaTeX prints every other character unchanged."""

_JOINED: Final = re.compile(r"(?<=[-'`,])(?=[-'`,])")
"""Between characters that many fonts would join into a ligature."""

_MINUS: Final = re.compile(r"(?<!\S)-(?=\d)|(?<=\()-(?=\d)")
"""The sign of a number, which is printed as a minus and not as a hyphen."""

_NUMERIC: Final = re.compile(r"[\s\d.,%+()\u00b1\u2014/-]*|.*\(n = \d+\)")
"""Cells of a column that is aligned right."""


def files(material: Material) -> Files:
    """One file per table of the page, in ``<report>-latex/``, named after its section or figure."""
    name = Unique()
    return {
        f"{material.report.name}-latex/{name(title)}.tex": tabular(title, grid, page.footnotes).encode()
        for page in [material.report.page]
        for title, grid in _grids(page)
    }


def _grids(page: Page) -> Iterator[tuple[str, Grid]]:
    for section in page.sections:
        for figure in section.figures:
            yield figure.title, figure.table
        for grid in section.grids:
            yield section.title, grid


def tabular(title: str, grid: Grid, footnotes: Sequence[str] = ()) -> str:
    """A table as a ``tabular``, with the footnotes of its lines below it.

    Args:
        title: of the section; a comment at the head of the file, with the title of the table.
        grid: the table.
        footnotes: of the page; footnote n is entry n - 1.
    """
    return "\n".join([*_comments(title, grid), *_table(grid), *_notes(grid, footnotes)]) + "\n"


def _comments(title: str, grid: Grid) -> Iterator[str]:
    yield r"% \usepackage{booktabs}"
    # A comment ends at the end of its line, and `escaped` leaves no line break.
    yield from (f"% {escaped(text)}" for text in (title, grid.title) if text)


def _table(grid: Grid) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{@{{}}{_alignment(grid)}@{{}}}}"
    yield r"\toprule"
    yield _row(escaped(heading) for heading in grid.headings)
    yield r"\midrule"
    yield from (_row(_cells(grid, line)) for line in grid.lines)
    yield r"\bottomrule"
    yield r"\end{tabular}"
    if grid.note:
        yield rf"\par\smallskip {escaped(grid.note)}"


def _alignment(grid: Grid) -> str:
    """One letter per column: aligned right if all its cells are numbers, else left."""
    columns = [
        [line.cells[number] for line in grid.lines if number < len(line.cells)]
        for number in range(len(grid.headings))
    ]
    return "".join("r" if cells and all(map(_NUMERIC.fullmatch, cells)) else "l" for cells in columns)


def _cells(grid: Grid, line: Line) -> Iterator[str]:
    yield from (escaped(cell) for cell in line.cells)
    if grid.headings[-1] == NOTES:
        yield rf"\textsuperscript{{{', '.join(map(str, sorted(line.notes)))}}}" if line.notes else ""


def _row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _notes(grid: Grid, footnotes: Sequence[str]) -> Iterator[str]:
    if grid.headings[-1] != NOTES:
        return
    for number in sorted({number for line in grid.lines for number in line.notes}):
        yield rf"\par\textsuperscript{{{number}}} {escaped(footnotes[number - 1])}"


def escaped(text: str) -> str:
    """Text that LaTeX prints literally: one line, without a command, a comment or a separator."""
    line = plain(" ".join(text.split()))
    return r"$-$".join(_printed(part) for part in _MINUS.split(line))


def _printed(text: str) -> str:
    """Text with its special characters replaced and its ligatures broken, but for dashes, which are some."""
    return "{}".join(piece.translate(_ESCAPED) for piece in _JOINED.split(text))
