"""Cells of CSV files that no spreadsheet takes for a formula.

A spreadsheet evaluates a cell that begins with an equals sign, a sign or an at sign, whoever wrote it. An
apostrophe in front makes it text, in the way that OWASP recommends ("CSV Injection"). Numbers stay numbers.
"""

from __future__ import annotations

import re
from typing import Final

_FORMULA: Final = re.compile(r"[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a cell begins that a spreadsheet may evaluate; the wide forms do so in some languages."""

_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


def harmless(cell: object) -> object:
    """A cell as it may be written: text that begins like a formula gets an apostrophe in front.

    Args:
        cell: text, or anything else that a CSV writer takes, which stays as it is.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
