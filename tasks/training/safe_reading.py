"""Files of PyTorch read as data: whole, bounded, and without running code from them.

A file is read into memory once, and what was hashed is what is unpickled: nothing that changes it meanwhile
has a say.
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
"""Bytes. The largest zoo checkpoint of the papers has an eighth of it."""

_ZIP = b"PK\x03\x04"
_FOREIGN = re.compile(r"GLOBAL (?P<name>\S+)")


class RefusedCheckpointError(BlockedError):
    """A file that is no checkpoint, or cannot be read without running code from it."""


def read_file(path: Path) -> bytes:
    """The whole content of a checkpoint file.

    Raises:
        RefusedCheckpointError: it is no regular file, is empty, or is larger than any checkpoint.
        OSError: it cannot be read.
    """
    try:
        return content_of(path, _LARGEST)
    except NotAPlainFileError as error:
        raise RefusedCheckpointError(f"{path.name} {error}") from None


def unpickle(content: bytes, name: str, stand_ins: Sequence[tuple[Any, str]] = ()) -> Any:
    """What a file of PyTorch holds: tensors, and plain values of Python.

    Args:
        content: the whole file.
        name: what it is called, in messages.
        stand_ins: what else may be named in it: the object that is built instead, and the name.

    Raises:
        RefusedCheckpointError: the file is damaged, would unpack to more bytes than it has, or needs code to
            be run.
    """
    if content.startswith(_ZIP):
        _check_declared_sizes(content, name)
    try:
        with torch.serialization.safe_globals(list(stand_ins)):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # What bytes of a stranger raise depends on where they stop making sense: UnpicklingError, EOFError,
    # RuntimeError, IndexError, ...
    except Exception as error:
        foreign = _FOREIGN.search(str(error))
        if foreign:
            text = f"is refused: reading it would run {foreign['name']}, which weights have no use for"
        else:
            text = _no_checkpoint(error)
        raise RefusedCheckpointError(f"{name} {text}") from None


def _check_declared_sizes(content: bytes, name: str) -> None:
    """Makes sure that nothing is unpacked to more than there is: PyTorch stores, and does not compress.

    Raises:
        RefusedCheckpointError: what the file declares to hold has more bytes than the file, or no list of it
            can be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
    # A directory of an archive can be wrong in as many ways as there are fields in it.
    except Exception as error:
        raise RefusedCheckpointError(f"{name} {_no_checkpoint(error)}") from None
    if declared > len(content):
        raise RefusedCheckpointError(
            f"{name} is refused: it has {len(content):,} bytes and would unpack to {declared:,}, as no "
            "checkpoint of PyTorch does"
        )


def _no_checkpoint(error: Exception) -> str:
    return f"is damaged, no checkpoint, or needs more than PyTorch reads safely ({type(error).__name__})"
