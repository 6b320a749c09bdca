"""Escapes cells of CSV files that a spreadsheet would take for a formula.

A spreadsheet evaluates a cell that begins with an equals, plus, minus or at sign, whoever wrote it. A leading
apostrophe makes it text, as OWASP recommends ("CSV Injection"). Numbers stay numbers.
"""

from __future__ import annotations

import re
from typing import Final

_FORMULA: Final = re.compile(r"[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""Beginning of a cell that a spreadsheet may evaluate; in some locales the full-width signs count too."""

_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


def harmless(cell: object) -> object:
    """Puts an apostrophe in front of text that begins like a formula.

    Args:
        cell: text, or anything else that a CSV writer takes, which is returned unchanged.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
