"""Makes file names from texts of papers and records."""

from __future__ import annotations

from suite.report.slugs import LONGEST, slugged


def slug(text: str) -> str:
    """A text as part of a file name."""
    return slugged(text, "unnamed", LONGEST)


class Unique:
    """Gives out each name once: the second one for the same text is ``text-2``."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, text: str) -> str:
        """The slug of a text, followed by a number if it was given out before."""
        name = base = slug(text)
        number = 1
        while name in self._given:
            number += 1
            name = f"{base}-{number}"
        self._given.add(name)
        return name
