"""Files that are what they seem: read when they are regular files, written to when they are no links."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from suite.errors import SuiteError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotAPlainFileError(ValueError):
    """What stands there is no regular file, is empty, or is too large; says so in words."""


def content_of(path: Path, largest: int) -> bytes:
    """The whole content of a regular file, links followed; neither a pipe nor a device is waited for.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        NotAPlainFileError: it is something else, empty, or larger.
        OSError: it cannot be read.
    """
    if reason := fault_of(path):
        raise NotAPlainFileError(reason)
    # Should it have become a pipe since, this does not wait for somebody to write to it.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise NotAPlainFileError(f"has {size / 10**6:,.0f} MB, and none has {largest / 10**6:,.0f} MB")
        return file.read(size)


def fault_of(path: Path) -> str | None:
    """What is wrong with a file that should have content, in words; None where nothing is.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    found = os.stat(path)
    for is_kind, words in _KINDS:
        if is_kind(found.st_mode):
            return f"is {words}, and no file"
    return None if found.st_size else "is empty"


def refuse_link(path: Path) -> None:
    """Makes sure that what is written to a path reaches the file of that name and no other.

    Raises:
        SuiteError: a symbolic link stands there.
    """
    if path.is_symlink():
        raise SuiteError(
            f"{path} is a symbolic link, and nothing is written through one: delete the link and run the "
            "same command again"
        )


def append_to(path: Path) -> BinaryIO:
    """Opens a file to append to, unbuffered; made where it is missing, and never one behind a link.

    Raises:
        SuiteError: a symbolic link stands there.
        OSError: it cannot be opened.
    """
    refuse_link(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return open(os.open(path, flags, 0o644), "ab", buffering=0)
