"""Names of files made of what papers and records say."""

from __future__ import annotations

from suite.report.slugs import LONGEST, slugged


def slug(text: str) -> str:
    """A text as a part of a file's name."""
    return slugged(text, "unnamed", LONGEST)


class Unique:
    """Gives each name once: the second one of the same words is ``words-2``."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, text: str) -> str:
        """The slug of a text, with a number behind it where it has been given before."""
        name = base = slug(text)
        number = 1
        while name in self._given:
            number += 1
            name = f"{base}-{number}"
        self._given.add(name)
        return name
