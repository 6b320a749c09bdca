"""Writes files so that they appear whole or not at all, and hashes files.

Everything that the suite keeps on disk is written and hashed by these functions. An `OSError` that
they raise names the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from suite.store.plain_files import NotAPlainFileError, content_of

_BLOCK = 2**20

_ASIDE = ".*.tmp"
"""Pattern of the folders in which files are written before they appear."""

_NEW = ".new"
"""Suffix of a file's name there."""


@contextlib.contextmanager
def replacing(path: Path, synced: bool = True) -> Iterator[Path]:
    """Replaces a file atomically: the content is written and synced beside it, then renamed over it.

    Args:
        path: the file; its folder is created if missing.
        synced: whether it must survive a power cut; what can be made again need not wait for the disk.

    Yields:
        An empty file beside it, to write to. If the block fails, `path` is untouched, and the file deleted.

    Raises:
        OSError: the file system refuses, for example because it is full.
    """
    with _beside(path) as aside:
        yield aside
        if synced:
            _sync(aside)
        os.replace(aside, path)


def write(path: Path, content: bytes, synced: bool = True) -> None:
    """Writes a file atomically; a file that has this content already is left alone.

    Args:
        path: the file.
        content: all of it.
        synced: as in `replacing`.

    Raises:
        OSError: as `replacing`.
    """
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path, synced) as aside:
        aside.write_bytes(content)


def create(path: Path, content: bytes) -> bool:
    """Creates a file with all its content in one step, and never replaces an existing one.

    If the file system has hard links, the name appears together with the content. If it has none, the name is
    taken first, by an empty file, and the content is then renamed over it. A process that is killed between
    the two leaves a name that no other process takes, and `begun` finds the content that belongs there.

    Returns:
        False if a file of that name exists already; it is untouched.

    Raises:
        OSError: as `replacing`.
    """
    with _beside(path) as aside:
        aside.write_bytes(content)
        _sync(aside)
        try:
            os.link(aside, path)
        except FileExistsError:
            # A file server whose answer was lost is asked again, and reports the name that it has just made.
            return os.path.samestat(os.lstat(aside), os.lstat(path))
        except OSError:
            # Hard links are missing or forbidden. If nothing can be written, the other way raises as well.
            return _take(path, aside)
        return True


def _take(path: Path, aside: Path) -> bool:
    """Renames `aside` to `path` unless there is a file of that name; see `create`."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    try:
        os.replace(aside, path)
    except OSError:
        # Unless only the answer was lost and the rename succeeded, the name is released.
        if path.stat().st_size == 0:
            path.unlink()
            raise
    return True


def begun(path: Path, largest: int) -> bytes | None:
    """The content that an interrupted `create` had for a file that is still empty; None if there is none.

    Args:
        path: the empty file.
        largest: bytes that it may have.

    Raises:
        OSError: it cannot be read.
    """
    contents = []
    for folder in sorted(path.parent.glob(_ASIDE)):
        # If missing, empty or not a file, its writer has cleaned up, or the folder belongs to another name.
        with contextlib.suppress(FileNotFoundError, NotAPlainFileError):
            contents.append(content_of(folder / f"{path.name}{_NEW}", largest))
    # If two processes were killed while they wanted the same name, nobody knows which of them had it.
    return contents[0] if len(contents) == 1 else None


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Creates a temporary file beside `path`, readable by all; it is deleted afterwards unless renamed.

    It has a folder of its own, and always the same name: PyTorch writes a file's name into the file, and the
    same weights must give the same bytes.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".tmp") as folder:
            aside = Path(folder) / f"{path.name}{_NEW}"
            aside.touch(0o644)
            yield aside


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Adds the name of a file to system errors that have none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _sync(path: Path) -> None:
    # If it were renamed before it is on disk, a power cut could leave an empty file under the final name.
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
