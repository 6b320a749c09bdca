"""The output of verbs: fits a terminal, and is not wrapped in a file or a pipe."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from suite.cli.output import terminal_width, wrapped
from suite.errors import printable

WIDE: Final = 240
"""Columns for tables in a file or a pipe, where no terminal limits the width."""

HEIGHT: Final = 25
"""Lines; nothing that is printed depends on it."""

ROOMY: Final = 120
"""Columns from which the wide layout of a table is used."""


class Screen(Console):
    """The console of a verb: prints text without markup, and only wraps it on a terminal.

    Names may come from other people's files, so characters that control a terminal are shown as escapes.

    Attributes:
        on_terminal: whether standard output is a terminal.
    """

    def __init__(self) -> None:
        """Uses standard output as it is now."""
        self.on_terminal = sys.stdout.isatty()
        width = terminal_width() if self.on_terminal else WIDE
        # rich ignores the width of a dumb terminal (TERM=dumb) unless a height is given too.
        super().__init__(highlight=False, markup=False, emoji=False, width=width, height=HEIGHT)

    @property
    def is_narrow(self) -> bool:
        """Whether tables have to use their narrow layout."""
        return self.width < ROOMY

    def render_str(self, text: str, **options: Any) -> Text:
        """Text with escapes in place of characters that control a terminal."""
        return super().render_str(_escaped(text), **options)

    def say(self, text: str = "") -> None:
        """Prints paragraphs: on a terminal wrapped between words, elsewhere each on one line.

        Args:
            text: one paragraph per line; one that begins with blanks is indented as a whole, and its wrapped
                lines by two more.
        """
        for line in _escaped(text).split("\n"):
            indent = " " * (len(line) - len(line.lstrip()))
            hanging = f"{indent}  " if indent else ""
            lines = wrapped(line.strip(), self.width, indent, hanging) if self.on_terminal else []
            for part in lines or [line]:
                self.print(Text(part), soft_wrap=True)

    def path(self, path: Path) -> str:
        """A path as it is printed: on a terminal relative to the current folder, if it is inside it."""
        whole, here = os.path.abspath(path), os.getcwd()
        if self.on_terminal and whole.startswith(here + os.sep):
            return os.path.relpath(whole, here)
        return str(path)

    def command(self, text: str, command: str) -> None:
        """Prints a command in one piece; on a terminal below the text, with escaped line breaks for a shell.

        Args:
            text: what it is for.
            command: the command.
        """
        if not self.on_terminal:
            self.say(f"{text} {command}")
            return
        self.say(text)
        lines = [" "]
        for word in map(shlex.quote, shlex.split(command)):
            if lines[-1].strip() and len(lines[-1]) + len(word) + 3 > self.width:
                lines.append("     ")
            lines[-1] += f" {word}"
        self.print(Text(" \\\n".join(lines)), soft_wrap=True)


def folded(name: str, width: int) -> str:
    """Breaks a name after hyphens and slashes into lines of at most `width` characters.

    Args:
        name: such as the id of a claim.
        width: characters per line; a part without hyphens and slashes may be longer.
    """
    lines = [""]
    for part in re.findall(r"[^-/]*[-/]|[^-/]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def plain_table(*headings: str, right: Iterable[str] = (), widths: Sequence[int | None] = ()) -> Table:
    """A table without rules, whose cells wrap and are never truncated.

    Args:
        headings: headings of its columns.
        right: headings of the columns that are aligned right.
        widths: fixed widths of its columns; None for a width that fits the content.
    """
    table = Table(box=None, pad_edge=False)
    numbers = set(right)
    for position, heading in enumerate(headings):
        width = widths[position] if position < len(widths) else None
        justify: Any = "right" if heading in numbers else "left"
        table.add_column(heading, overflow="fold", justify=justify, width=width)
    return table


def _escaped(text: str) -> str:
    return "\n".join(printable(line, longest=len(line) * 10 + 20) for line in text.split("\n"))
