"""Lists the files of a data set with what the file system knows about them, and reads their content."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from suite.errors import SuiteError, one_line

if TYPE_CHECKING:
    from suite.datasets.published import PublishedDataset

Kind = Literal["image", "label map", "file", "folder"]

Report = Callable[[int, int], None]
"""Callback for the progress of a long task: files done, files in total."""

_FILES_AT_ONCE = 64
"""Files per task of a thread: a future for each of a million files would take gigabytes."""


class Entry(NamedTuple):
    """A file or folder as the file system lists it, without its content.

    Attributes:
        path: relative to the folder of the data set, with `/`; a folder ends with one.
        size: bytes; 0 for a folder.
        mtime_ns: time of the last change of the content, in nanoseconds; 0 for a folder. Programs can set it.
        ctime_ns: time of the last change of content, name or owner, in nanoseconds; 0 for a folder. Programs
            cannot set it.
        kind: what it is read as.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    kind: Kind


class Facts(NamedTuple):
    """What reading a file showed.

    Attributes:
        sha256: SHA-256 of its bytes, in hexadecimal; empty if it cannot be read.
        width: width of an image in pixels; otherwise 0.
        height: height of an image in pixels; otherwise 0.
        fault: what is wrong with it; empty for a good file.
    """

    sha256: str
    width: int = 0
    height: int = 0
    fault: str = ""


def list_files(dataset: PublishedDataset, root: Path) -> list[Entry]:
    """Lists the files and folders of a data set, sorted by path, in one pass and without opening a file.

    Folders are listed too, including empty and hidden ones: the data set classes of the zoos take each for a
    class, which shifts the labels of the classes after it. Hidden files are left out, as those classes do.

    Args:
        dataset: says which folders and files belong to it.
        root: the folder of the data set.

    Raises:
        SuiteError: a link leads back to a folder that contains it.
    """
    start = f"{root}{os.sep}"
    entries: list[Entry] = []
    for images in dataset.images:
        entries += _walk(start, images.folder, images.suffix, "image", images.exclusive)
    for maps in dataset.label_maps:
        entries += _walk(start, maps.folder, maps.suffix, "label map", False)
    for name in dataset.single_files:
        entries.append(_entry(name, os.stat(start + name), "file"))
    return sorted(entries)


def _walk(start: str, folder: str, suffix: str, kind: Kind, everything: bool) -> Iterator[Entry]:
    """The files below a folder that end with `suffix`, or all of them, and all folders."""
    waiting = [(start + folder, frozenset({_place(start + folder)}))]
    while waiting:
        name, above = waiting.pop()
        with os.scandir(name) as found:
            for entry in found:
                path = entry.path[len(start) :]
                if entry.is_dir():
                    waiting.append((entry.path, above | {_new_place(entry.path, above)}))
                    yield Entry(f"{path}/", 0, 0, 0, "folder")
                elif not entry.name.startswith(".") and (path.endswith(suffix) or everything):
                    own = kind if path.endswith(suffix) else "file"
                    yield _entry(path, _stat(entry), own)


def _entry(path: str, status: os.stat_result, kind: Kind) -> Entry:
    return Entry(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, kind)


def _place(folder: str) -> tuple[int, int]:
    """Device and inode of a folder, which are the same whatever links lead to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _new_place(folder: str, above: frozenset[tuple[int, int]]) -> tuple[int, int]:
    """Device and inode of a folder, which must not be one of those that contain it.

    Raises:
        SuiteError: it is one of them, so that following it would never end.
    """
    place = _place(folder)
    if place in above:
        raise SuiteError(f"{folder} is a link to a folder that contains it; remove it and verify again")
    return place


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """The status of a file, or of the link itself if it is broken."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)


def state_of(entries: Iterable[Entry]) -> str:
    """A hash of names, sizes and times of change, which differs as soon as any file is touched.

    Nothing more can be checked before every run: reading 155 GB again would delay each training too long. The
    hash includes the ctime, since a file may be replaced by one of the same size whose mtime is set back.
    """
    lines = "\n".join(f"{path}\0{size}\0{mtime}\0{ctime}" for path, size, mtime, ctime, _ in entries)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def fingerprint_of(entries: Iterable[Entry], facts: dict[str, Facts]) -> str:
    """A hash of names and contents, which is the same for the same data on every machine.

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
        allowed: values that pixels of a label map may have.
        report: called with the progress, by one thread.

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
    path = root / entry.path
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # Reading from a pipe would block forever.
            return Facts("", fault="not a file, but a pipe, a socket or a device")
        content = path.read_bytes()
    except OSError as error:
        return Facts("", fault=error.strerror or "cannot be read")
    sha256 = hashlib.sha256(content).hexdigest()
    if entry.kind == "file":
        return Facts(sha256)
    return _look_at(content, entry.kind, allowed)._replace(sha256=sha256)


def _look_at(content: bytes, kind: Kind, allowed: frozenset[int]) -> Facts:
    """Decodes an image completely, so that a truncated one is noticed."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if kind == "image":
                # Decodes a JPEG at an eighth of its size: still reads all of it, in a fraction of the time.
                image.draft("RGB", (1, 1))
            image.load()
            if kind == "image":
                return Facts("", width, height)
            if image.mode not in {"L", "P"}:
                return Facts("", width, height, f"mode {image.mode}, not one number a pixel")
            numbers = {value for value, count in enumerate(image.histogram()) if count}
    # The exception that Pillow raises on damaged bytes depends on the format and on the place.
    except Exception as error:
        return Facts("", fault=f"no image that can be read ({one_line(error)[:80]})")
    wrong = sorted(numbers - allowed)
    return Facts("", width, height, f"pixels of label {wrong[0]}" if wrong else "")
