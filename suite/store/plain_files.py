"""Reads only regular files, and writes through no symbolic links."""

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
    """A path is not a regular file, or the file is empty or too large; the message says which."""


def content_of(path: Path, largest: int) -> bytes:
    """The whole content of a regular file; follows links, and never blocks on a pipe or a device.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        NotAPlainFileError: it is something else, empty, or larger.
        OSError: it cannot be read.
    """
    if reason := fault_of(path):
        raise NotAPlainFileError(reason)
    # If it has become a pipe since, this does not block until something writes to it.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise NotAPlainFileError(
                f"has {size / 10**6:,.0f} MB, more than the limit of {largest / 10**6:,.0f} MB"
            )
        return file.read(size)


def fault_of(path: Path) -> str | None:
    """What is wrong with a file that should have content, in words; None if nothing is.

    Raises:
        OSError: it is missing, or cannot be accessed.
    """
    found = os.stat(path)
    for is_kind, words in _KINDS:
        if is_kind(found.st_mode):
            return f"is {words}, not a regular file"
    return None if found.st_size else "is empty"


def refuse_link(path: Path) -> None:
    """Checks that a path is no symbolic link, so that writing to it cannot change another file.

    Raises:
        SuiteError: it is one.
    """
    if path.is_symlink():
        raise SuiteError(
            f"{path} is a symbolic link, and nothing is written through one: delete the link and run the "
            "same command again"
        )


def append_to(path: Path) -> BinaryIO:
    """Opens a file for appending, unbuffered; creates it if missing, and follows no link.

    Raises:
        SuiteError: it is a symbolic link.
        OSError: it cannot be opened.
    """
    refuse_link(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return open(os.open(path, flags, 0o644), "ab", buffering=0)
