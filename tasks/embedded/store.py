"""Building an embedded data set once, and telling whether what lies on the disk is what was built."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from suite.contract import BlockedError
from suite.store.files import locked
from suite.store.plain_files import refuse_link

_STORED_BLOCK = 0xFFFF
"""Bytes that a stored block of a deflate stream holds at most (RFC 1951, section 3.2.4)."""


class WrongFingerprintError(BlockedError):
    """The data on the disk are not those the recipe names."""


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


def fingerprint(folder: Path) -> str:
    """SHA-256 over the relative names and the bytes of all files of `folder`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def ensure(folder: Path, build: Callable[[Path], None], expected: str) -> str:
    """Makes sure that `folder` holds the data set, building it when it is not there.

    Building happens beside it and ends with a rename, under a lock: two processes at once build it
    once, and a killed build leaves nothing that could be taken for data.

    Args:
        folder: where the data set belongs.
        build: writes the data set into the empty folder it is given.
        expected: the fingerprint of the data set.

    Returns:
        The fingerprint.

    Raises:
        WrongFingerprintError: what is there, or what was built, has another fingerprint.
        SuiteError: a symbolic link stands where it is built.
    """
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            unfinished = folder.with_name(folder.name + ".unfinished")
            refuse_link(unfinished)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            build(unfinished)
            os.rename(unfinished, folder)
        found = fingerprint(folder)
    if found != expected:
        raise WrongFingerprintError(
            f"{folder}: fingerprint {found[:16]} instead of {expected[:16]}; "
            "delete the folder to have it built anew"
        )
    return found
