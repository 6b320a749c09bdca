"""Sealed files: the last line says whose a file is, and holds the SHA-256 of all that stands before it.

Content and digest are one file, renamed into place as one: there is no moment at which only one of them is
new. A seal finds damage, and files in a place that is not theirs. It stops nobody who means harm, so that
what is behind a seal is still read as data.
"""

from __future__ import annotations

import hashlib
import re

_SEAL = re.compile(rb"\nsealed for (?P<owner>[!-~]{1,200}) by SHA-256 (?P<digest>[0-9a-f]{64})\n\Z")
_LONGEST_SEAL = 512


class BrokenSealError(ValueError):
    """A file is not what its owner has sealed; says in words how that shows."""


def seal_of(content: bytes | memoryview, owner: str) -> bytes:
    """What a sealed file ends with.

    Args:
        content: all that comes before it.
        owner: whose it is; printable ASCII without spaces.
    """
    line = f"\nsealed for {owner} by SHA-256 ".encode("ascii")
    digest = hashlib.sha256(content)
    digest.update(line)
    return line + f"{digest.hexdigest()}\n".encode()


def check_seal(content: bytes, owner: str) -> None:
    """Makes sure that a file is whole, and its owner's.

    Args:
        content: the whole file.
        owner: whose it has to be.

    Raises:
        BrokenSealError: it has no seal, is somebody else's, or has changed since it was sealed.
    """
    end = content[-_LONGEST_SEAL:]
    found = _SEAL.search(end)
    if found is None:
        raise BrokenSealError("is incomplete, or of an older version")
    sealed = len(content) - len(end) + found.start("digest")
    if hashlib.sha256(memoryview(content)[:sealed]).hexdigest() != found["digest"].decode():
        raise BrokenSealError("is damaged: its SHA-256 is not the one that it was written with")
    if found["owner"].decode() != owner:
        raise BrokenSealError(f"is of another training ({found['owner'].decode()})")
