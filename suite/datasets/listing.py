"""Which files make a data set, what the system says of them, and what is in them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from suite.datasets.published import PublishedDataset

Kind = Literal["image", "label map", "file", "folder"]

Report = Callable[[int, int], None]
"""Takes how far a long task is: files done, files to do."""

_FILES_AT_ONCE = 64
"""Files that a thread reads before it reports: a million futures would take gigabytes."""


class Entry(NamedTuple):
    """A file or folder as the system lists it, without having read it.

    Attributes:
        path: below the folder of the data set, with `/`; a folder ends with one.
        size: bytes; 0 for a folder.
        mtime_ns: time of the last change, in nanoseconds; 0 for a folder.
        kind: what it is read as.
    """

    path: str
    size: int
    mtime_ns: int
    kind: Kind


class Facts(NamedTuple):
    """What reading a file showed.

    Attributes:
        sha256: of its bytes, in hexadecimal; empty when it cannot be read.
        width: of an image, in pixels; else 0.
        height: of an image, in pixels; else 0.
        fault: why it is of no use; empty for a good file.
    """

    sha256: str
    width: int = 0
    height: int = 0
    fault: str = ""


def list_files(dataset: PublishedDataset, root: Path) -> list[Entry]:
    """Everything that counts, sorted by path; one pass over the folders, no file is opened.

    Folders are listed too, since a class folder without an image moves the numbers of the classes behind it.
    Hidden files and folders are left out, as the data classes do.

    Args:
        dataset: says which folders and files count.
        root: the folder of the data set.
    """
    start = f"{root}{os.sep}"
    entries: list[Entry] = []
    for images in dataset.images:
        entries += _walk(start, images.folder, images.suffix, "image", images.exclusive)
    for maps in dataset.label_maps:
        entries += _walk(start, maps.folder, maps.suffix, "label map", False)
    for name in dataset.single_files:
        status = os.stat(start + name)
        entries.append(Entry(name, status.st_size, status.st_mtime_ns, "file"))
    return sorted(entries)


def _walk(start: str, folder: str, suffix: str, kind: Kind, everything: bool) -> Iterator[Entry]:
    """Files below a folder that end with `suffix`, or all of them; and all folders."""
    waiting = [start + folder]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                path = entry.path[len(start) :]
                if entry.is_dir():
                    waiting.append(entry.path)
                    yield Entry(f"{path}/", 0, 0, "folder")
                elif path.endswith(suffix) or everything:
                    status = _stat(entry)
                    own = kind if path.endswith(suffix) else "file"
                    yield Entry(path, status.st_size, status.st_mtime_ns, own)


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """What the system says of a file; of a link that leads nowhere, what it says of the link."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)


def state_of(entries: Iterable[Entry]) -> str:
    """A hash of names, sizes and times of change: another one as soon as any file is touched."""
    lines = "\n".join(f"{path}\0{size}\0{mtime_ns}" for path, size, mtime_ns, _ in entries)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def fingerprint_of(entries: Iterable[Entry], facts: dict[str, Facts]) -> str:
    """A hash of names and contents: the same wherever the same data lie.

    Args:
        entries: sorted files.
        facts: path -> what reading it showed.
    """
    lines = "\n".join(f"{path}\0{facts[path].sha256 if path in facts else ''}" for path, *_ in entries)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def read_files(
    root: Path, entries: list[Entry], allowed: frozenset[int], report: Report
) -> Iterator[tuple[str, Facts]]:
    """Reads files, several at once.

    Args:
        root: the folder of the data set.
        entries: what to read.
        allowed: numbers that pixels of a label map may have.
        report: called as it goes on, by one thread.

    Yields:
        Path and facts of each file.
    """
    chunks = [entries[at : at + _FILES_AT_ONCE] for at in range(0, len(entries), _FILES_AT_ONCE)]
    threads = ThreadPoolExecutor()
    done = 0
    try:
        found = threads.map(
            lambda chunk: [(entry.path, _read(root, entry, allowed)) for entry in chunk], chunks
        )
        for chunk, facts in zip(chunks, found, strict=True):
            yield from facts
            done += len(chunk)
            report(done, len(entries))
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def _read(root: Path, entry: Entry, allowed: frozenset[int]) -> Facts:
    try:
        content = (root / entry.path).read_bytes()
    except OSError as error:
        return Facts("", fault=error.strerror or "cannot be read")
    sha256 = hashlib.sha256(content).hexdigest()
    if entry.kind == "file":
        return Facts(sha256)
    return _look_at(content, entry.kind, allowed)._replace(sha256=sha256)


def _look_at(content: bytes, kind: Kind, allowed: frozenset[int]) -> Facts:
    """Decodes an image to its end, so that a truncated one shows."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if kind == "image":
                # A JPEG comes at an eighth of its size: all of it is read, in a fraction of the time.
                image.draft("RGB", (1, 1))
            image.load()
            if kind == "image":
                return Facts("", width, height)
            if image.mode not in {"L", "P"}:
                return Facts("", width, height, f"mode {image.mode}, not one number a pixel")
            numbers = {value for value, count in enumerate(image.histogram()) if count}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Facts("", fault=f"no image that can be read ({' '.join(str(error).split())[:80]})")
    wrong = sorted(numbers - allowed)
    return Facts("", width, height, f"pixels of label {wrong[0]}" if wrong else "")
