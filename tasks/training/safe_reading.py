"""Reads PyTorch's files as data: whole, up to a size limit, and without running code from them.

A file is read into memory once, and what was hashed is what is unpickled: changing the file in between has no
effect.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from suite.contract import BlockedError
from suite.store.plain_files import NotAPlainFileError, content_of

_LARGEST = 8 * 2**30
"""Bytes. The largest zoo checkpoint of the papers has an eighth of this."""

_ZIP = b"PK\x03\x04"
_FOREIGN = re.compile(r"GLOBAL (?P<name>\S+)")


class RefusedCheckpointError(BlockedError):
    """The file is not a checkpoint, or cannot be read without running code from it."""


def read_file(path: Path) -> bytes:
    """Reads a whole checkpoint file.

    Raises:
        RefusedCheckpointError: it is not a regular file, is empty, or is larger than any checkpoint.
        OSError: it cannot be read.
    """
    try:
        return content_of(path, _LARGEST)
    except NotAPlainFileError as error:
        raise RefusedCheckpointError(f"{path.name} {error}") from None


def unpickle(content: bytes, name: str, stand_ins: Sequence[tuple[Any, str]] = ()) -> Any:
    """Reads the contents of a PyTorch file: tensors, and plain Python values.

    Args:
        content: the whole file.
        name: of the file, for messages.
        stand_ins: further names that may occur in it, each after the object that is built instead.

    Raises:
        RefusedCheckpointError: the file is damaged, would unpack to more bytes than it has, or needs code to
            be run.
    """
    if content.startswith(_ZIP):
        _check_declared_sizes(content, name)
    try:
        with torch.serialization.safe_globals(list(stand_ins)):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # What untrusted bytes raise depends on where they stop making sense: UnpicklingError, EOFError,
    # RuntimeError, IndexError, ...
    except Exception as error:
        foreign = _FOREIGN.search(str(error))
        if foreign:
            text = f"is refused: reading it would run {foreign['name']}, which weights have no use for"
        else:
            text = _no_checkpoint(error)
        raise RefusedCheckpointError(f"{name} {text}") from None


def _check_declared_sizes(content: bytes, name: str) -> None:
    """Checks that a file does not unpack to more bytes than it has: PyTorch does not compress.

    Raises:
        RefusedCheckpointError: its entries declare more bytes than the file has, or the list of entries
            cannot be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
    # The directory of an archive can be wrong in as many ways as it has fields.
    except Exception as error:
        raise RefusedCheckpointError(f"{name} {_no_checkpoint(error)}") from None
    if declared > len(content):
        raise RefusedCheckpointError(
            f"{name} is refused: it has {len(content):,} bytes and would unpack to {declared:,}, as no "
            "checkpoint of PyTorch does"
        )


def _no_checkpoint(error: Exception) -> str:
    return f"is damaged, no checkpoint, or needs more than PyTorch reads safely ({type(error).__name__})"
