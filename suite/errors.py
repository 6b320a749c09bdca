"""Errors that a user can fix, each one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 300
"""Most characters of a name or a value on a terminal; anything longer is cut in the middle."""

_CUT = " ... "


class SuiteError(Exception):
    """Wrong usage or input. The command line prints the message and exits with status 2.

    The message is one line: the value at fault, where it is, and the remedy.
    """

    exit_status = 2


def one_line(text: object) -> str:
    """The text of an error, or of anything else, with all white space collapsed to single blanks."""
    return " ".join(str(text).split())


def printable(text: object, longest: int = LONGEST) -> str:
    r"""Makes text from a file, an argument or an error safe to print on one line of a terminal.

    Control characters, escape sequences, line breaks, marks that change the writing direction and lone
    surrogates are shown as Python escapes (``\x1b``, ``\n``, ``\u202e``), so that a text can neither move the
    cursor nor pass for two lines. Longer texts are cut in the middle, since a message begins with the place
    and ends with the remedy.

    Args:
        text: anything; its `str` is used.
        longest: most characters of the result, at least 20.
    """
    raw = str(text)
    if len(raw) <= longest and raw.isprintable():
        return raw
    if len(raw) > 2 * longest:
        # No need to escape what is cut anyway.
        raw = f"{raw[:longest]}{raw[-longest:]}"
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in raw)
    if len(line) <= longest:
        return line
    ending = longest // 3
    return f"{line[: longest - ending - len(_CUT)]}{_CUT}{line[-ending:]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Names the closest known words, or lists the known ones.

    Args:
        word: what was given.
        known: the words that would have been right.

    Returns:
        A sentence without a full stop, such as ``did you mean 'mgd'? (fgd, mgd, nkd)``.
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    if close:
        return f"did you mean {' or '.join(repr(name) for name in close)}?" + (
            f" (known: {shown})" if len(names) <= 12 else ""
        )
    return f"known: {shown}"
