"""Writes generated text into documents between marks, so that a reader can tell it from what people wrote."""

from __future__ import annotations


def with_block(document: str, name: str, block: str) -> str:
    """A document with `block` between the marks of this name.

    Args:
        document: its text.
        name: name of the marks.
        block: the new text between them.

    Raises:
        ValueError: a mark is missing, or occurs twice.
    """
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    before, rest = document.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{block}\n{end}{after}"
