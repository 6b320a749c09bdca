"""Building an embedded data set once, and telling whether what lies on the disk is what was built."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from suite.contract import BlockedError, StoredClass
from suite.store.files import sha256_of, write
from suite.store.ownership import owned
from suite.store.plain_files import refuse_link

_STORED_BLOCK = 0xFFFF
"""Bytes that a stored block of a deflate stream holds at most (RFC 1951, section 3.2.4)."""


class WrongFingerprintError(BlockedError):
    """The data on the disk are not those the recipe names."""


class EmbeddedDataset(ABC):
    """A data set that code makes, as recipes name it (`suite.contract.DataSource`)."""

    class_list: tuple[StoredClass, ...]
    """Its classes in the order of their labels."""

    @abstractmethod
    def build(self, folder: Path) -> None:
        """Writes the data set into an empty folder."""

    def __call__(self, folder: Path, expected: str) -> str:
        """Builds the data set at `folder` unless it is there; see `ensure`."""
        return ensure(folder, self.build, expected)

    def classes(self, expected: str | None) -> Sequence[StoredClass]:
        """Its classes, whatever fingerprint is asked for: there are no others in its layout."""
        return self.class_list


def write_ppm(path: Path, pixels: bytes, width: int, height: int) -> None:
    """Writes an 8-bit RGB image as binary PPM: no compressor, hence the same bytes everywhere."""
    path.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + pixels)


def write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Writes an 8-bit PNG whose deflate stream has stored blocks only.

    Compressors differ between versions and machines; without one, the same pixels are the same bytes.

    Args:
        path: the file.
        pixels: `H x W x 3` (RGB) or `H x W` (grey levels, or labels).
    """
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    rows = pixels.reshape(height, -1)
    # Each row begins with the number of its filter: 0, none.
    raw = np.pad(rows, ((0, 0), (1, 0))).tobytes()
    stream = [b"\x78\x01"]
    for start in range(0, len(raw), _STORED_BLOCK):
        block = raw[start : start + _STORED_BLOCK]
        last = start + _STORED_BLOCK >= len(raw)
        stream += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    stream.append(struct.pack(">I", zlib.adler32(raw)))
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = (_png_chunk(b"IHDR", header), _png_chunk(b"IDAT", b"".join(stream)), _png_chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG: length, kind, content, checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@dataclass(frozen=True)
class _Tree:
    """What lies in a folder.

    Attributes:
        files: paths of its files, with `/`, in the order in which they are hashed.
        foreign: what no builder makes: empty folders, links, pipes and the like -> what it is.
    """

    files: list[str]
    foreign: dict[str, str]


def _list(folder: Path) -> _Tree:
    """One pass over all folders, hidden ones included; no link is followed."""
    files: list[str] = []
    foreign: dict[str, str] = {}
    start, waiting = len(f"{folder}{os.sep}"), [str(folder)]
    while waiting:
        above = waiting.pop()
        with os.scandir(above) as found:
            entries = list(found)
        if not entries and len(above) > start:
            foreign[above[start:]] = "an empty folder"
        for entry in entries:
            path = entry.path[start:]
            if entry.is_symlink():
                foreign[path] = "a link"
            elif entry.is_dir():
                waiting.append(entry.path)
            elif entry.is_file():
                files.append(path)
            else:
                foreign[path] = "no file"
    # As paths compare: folder by folder.
    return _Tree(sorted(files, key=lambda path: path.split(os.sep)), dict(sorted(foreign.items())))


def fingerprint(folder: Path) -> str:
    """SHA-256 over the relative names and the bytes of all files of `folder`, and over what else is there."""
    return _fingerprint(folder, _list(folder))


def _fingerprint(folder: Path, tree: _Tree) -> str:
    digest = hashlib.sha256()
    for path in tree.files:
        with open(folder / path, "rb", buffering=0) as file:
            content = file.read()
        digest.update(f"{path}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    for path, what in tree.foreign.items():
        digest.update(f"{path}\0{what}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def ensure(folder: Path, build: Callable[[Path], None], expected: str) -> str:
    """Makes sure that `folder` holds the data set and nothing else, building it when it is not there.

    Building happens beside it and ends with a rename, by whoever owns the place: two processes at once, on
    one machine or two, build it once, and a killed build leaves nothing that could be taken for data. Every
    file is read each time: that takes less than a second of one core, and shows what a time that was set
    back would hide.

    Args:
        folder: where the data set belongs.
        build: writes the data set into the empty folder it is given.
        expected: the fingerprint of the data set.

    Returns:
        The fingerprint.

    Raises:
        WrongFingerprintError: what is there, or what was built, has another fingerprint; names what differs.
        SuiteError: a symbolic link stands where it is built.
    """
    with owned(folder.with_name(f"{folder.name}.owner")):
        contents = _Contents(folder)
        if not folder.is_dir():
            unfinished = folder.with_name(folder.name + ".unfinished")
            refuse_link(unfinished)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            build(unfinished)
            os.rename(unfinished, folder)
        tree = _list(folder)
        found = _fingerprint(folder, tree)
        if found == expected:
            contents.keep(expected, tree)
            return found
        difference = contents.difference(expected, tree)
    raise WrongFingerprintError(
        f"{folder}: {difference or 'other data'} (fingerprint {found[:16]} instead of {expected[:16]}); "
        "delete the folder to have it rebuilt"
    )


class _Contents:
    """The hash of every file of a data set as it was built, kept beside it to name what differs.

    It decides nothing: that is for the fingerprint, which the recipe has.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder.with_name(folder.name + ".files.json")

    def keep(self, fingerprint: str, tree: _Tree) -> None:
        """Keeps the hashes of a data set that has its fingerprint, unless they are there."""
        if self._known(fingerprint) is None:
            hashes = {path: sha256_of(self._folder / path) for path in tree.files}
            write(self._path, json.dumps({"fingerprint": fingerprint, "files": hashes}).encode())

    def difference(self, fingerprint: str, tree: _Tree) -> str | None:
        """The first thing that is not as it was built, and how many there are; None where nobody knows."""
        wrong = [f"{path} is {what}, and not part of the data" for path, what in tree.foreign.items()]
        known = self._known(fingerprint)
        if known is not None:
            wrong += [f"{path} is not part of the data" for path in tree.files if path not in known]
            wrong += [f"{path} is missing" for path in known.keys() - set(tree.files)]
            wrong += [
                f"{path} is not as it was built"
                for path in tree.files
                if path in known and sha256_of(self._folder / path) != known[path]
            ]
        if not wrong:
            return None
        return wrong[0] + (f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else "")

    def _known(self, fingerprint: str) -> Mapping[str, str] | None:
        try:
            content = json.loads(self._path.read_bytes())
            found: Mapping[str, str] = content["files"]
            return dict(found) if content["fingerprint"] == fingerprint else None
        # Absent, or half of a file that a full disk left.
        except (OSError, ValueError, KeyError, TypeError):
            return None
