"""Makes names for files, anchors and ids from texts of papers and records."""

from __future__ import annotations

import re

LONGEST = 60
"""Most letters of a name that is made from a title or a claim."""


def slugged(text: str, otherwise: str, longest: int | None = None) -> str:
    """A text as lower-case letters, digits and hyphens: never empty, and never a path.

    Args:
        text: any text.
        otherwise: the result if the text has neither letter nor digit.
        longest: most letters; None for no limit.
    """
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:longest].rstrip("-") or otherwise
