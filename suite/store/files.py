"""Files that appear whole or not at all, locks that end with their process, and the hash of a file.

Everything that the suite keeps on disk is written, locked and hashed by these functions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_BLOCK = 2**20


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file new content in one step: written and synced beside it, then renamed over it.

    Args:
        path: the file; its folder is made where it is missing.

    Yields:
        An empty file beside it, to write to. When the block fails, what stood at `path` is untouched and
        nothing else is left.

    Raises:
        OSError: the file system refuses, for example because it is full.
    """
    with _beside(path) as aside:
        yield aside
        _sync(aside)
        os.replace(aside, path)


def write(path: Path, content: bytes) -> None:
    """Gives a file new content in one step; a file that has it already is left alone.

    Raises:
        OSError: as `replacing`.
    """
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path) as aside:
        aside.write_bytes(content)


def create(path: Path, content: bytes) -> bool:
    """Creates a file with all its content in one step, and never replaces one.

    Returns:
        False when there is a file of that name already; it is untouched.

    Raises:
        OSError: as `replacing`.
    """
    with _beside(path) as aside:
        aside.write_bytes(content)
        _sync(aside)
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        return True


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new file beside `path`, readable by all; it is gone afterwards unless it was renamed.

    It has a folder of its own, and always the same name: PyTorch writes the name of a file into it, and the
    same weights are to be the same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".tmp") as folder:
        aside = Path(folder) / f"{path.name}.new"
        aside.touch(0o644)
        yield aside


def _sync(path: Path) -> None:
    # Renamed before it is on the disk, a power cut would leave an empty file under the final name.
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds an exclusive lock, which the system takes back when the process dies.

    Args:
        path: the lock file; its folder is made where it is missing.
        on_wait: called when somebody else holds it, before waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of `locked` right now."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        # The folder has just been deleted, or is not ours to write to.
        return False
    lock.release()
    return False


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
