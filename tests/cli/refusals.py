"""What holds of every command line, however wrong: a known exit status, and one line that is fit to read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import NamedTuple

from suite.cli import main
from suite.errors import LONGEST

STATUSES = {0, 1, 2, 3, 130}


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    error: str


def outcome_of(words: Sequence[str]) -> Outcome:
    """Runs a verb in this process and checks what holds of all of them; an exception fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    error = err.getvalue()
    assert status in STATUSES, words
    if status == 2:
        assert error.startswith("suite: "), words
        assert error.count("\n") == 1, words
        assert error.endswith("\n"), words
        assert error[:-1].isprintable(), words
        assert len(error) <= len("suite: ") + 2 * LONGEST + 1, words
        assert max(map(len, error.split())) <= LONGEST, words
    else:
        assert "Traceback" not in error
    return Outcome(status, error)


def refusal_of(words: Sequence[str]) -> str:
    """The line that refuses a command, without its beginning."""
    status, error = outcome_of(words)
    assert status == 2, (words, error)
    return error.removeprefix("suite: ").rstrip("\n")
