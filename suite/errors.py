"""Errors that a user can fix: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SuiteError(Exception):
    """Wrong usage or input. The command line prints the message and ends with status 2.

    The message is one line: the value at fault, where it stands, and the remedy.
    """

    exit_status = 2


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Names the closest known words, or lists what there is.

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
