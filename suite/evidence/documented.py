"""Regenerates the lists of columns in docs/frames.md: ``python -m suite.evidence.documented``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from suite.evidence import frame, observations
from suite.evidence.columns import Columns, as_markdown
from suite.generated import with_block
from suite.paths import ROOT

DOCUMENT: Final = ROOT / "docs" / "frames.md"

FRAMES: Final[dict[str, Columns]] = {"long frame": observations.COLUMNS, "judged frame": frame.COLUMNS}
"""Name of the marks in the document -> the columns between them."""


def documented(text: str) -> str:
    """The document with the current columns between its marks.

    Args:
        text: text of the document.

    Raises:
        ValueError: a mark is missing.
    """
    for name, columns in FRAMES.items():
        text = with_block(text, name, as_markdown(columns))
    return text


def main(document: Path = DOCUMENT) -> None:
    """Writes the columns into the document."""
    document.write_text(documented(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
