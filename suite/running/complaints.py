"""Describes what went wrong with a run in one line: what, where, and what to do."""

from __future__ import annotations

import errno
from pathlib import Path

from suite import errors
from suite.errors import LONGEST, SuiteError

_REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EFBIG: "make room there",
    errno.EROFS: "make it writable, or name another folder in SUITE_WORK",
    errno.ENOLCK: "its file system does not support locks: name a folder on another one in SUITE_WORK",
    errno.ENOSYS: "its file system does not support locks: name a folder on another one in SUITE_WORK",
    errno.ELOOP: "a symbolic link is in the way, and nothing is written through one: delete it",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer --jobs",
    errno.EIO: "the disk is failing: name a folder on another one in SUITE_WORK",
}
"""Error number of the system -> what to do about it before running the same command again."""


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks, or its type if it has no message."""
    return errors.one_line(error) or type(error).__name__


def describe(error: BaseException, place: Path) -> str:
    """Describes an unexpected error in one line of limited length; the log has all of it.

    Args:
        error: what stopped a run.
        place: the folder that the run writes to; named if the system names no file.
    """
    if isinstance(error, SuiteError):
        return one_line(error)
    refused = _refused_by_system(error)
    if refused is not None and refused.errno is not None:
        where = refused.filename or place
        return f"{refused.strerror} ({where}): {_REMEDIES[refused.errno]} and run the same command again"
    text = f"{type(error).__name__}: {one_line(error)}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _refused_by_system(error: BaseException) -> OSError | None:
    """The system error behind an exception, if it has a remedy and no message of our own replaces it."""
    if isinstance(error, OSError):
        return error if error.errno in _REMEDIES else None
    # Libraries wrap it in errors of their own.
    inner = error.__cause__ or error.__context__
    return _refused_by_system(inner) if inner is not None else None


def last_line(log: Path) -> str:
    """The name of a log and its last line, or the name alone if it has none."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return f"{log.name}: {lines[-1]}" if lines else log.name
