"""Names made of what papers and records say, for files, anchors and ids."""

from __future__ import annotations

import re

LONGEST = 60
"""Letters of a name that titles and claims are made into."""


def slugged(text: str, otherwise: str, longest: int | None = None) -> str:
    """A text in small letters, digits and hyphens: never empty, and never a path.

    Args:
        text: whatever it is.
        otherwise: its name where it has neither letter nor digit.
        longest: letters; all unless given.
    """
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:longest].rstrip("-") or otherwise
