"""Sealed files: the last line names the owner of a file, and holds the SHA-256 of everything before it.

Content and digest are one file, renamed into place together: at no moment is only one of them new. A seal
detects damage, and files in the wrong place. It stops no attacker, so sealed content is still read as data.
"""

from __future__ import annotations

import hashlib
import re

_SEAL = re.compile(rb"\nsealed for (?P<owner>[!-~]{1,200}) by SHA-256 (?P<digest>[0-9a-f]{64})\n\Z")
_LONGEST_SEAL = 512


class BrokenSealError(ValueError):
    """A file is not what its owner has sealed; the message says what is wrong."""


def seal_of(content: bytes | memoryview, owner: str) -> bytes:
    """The last line of a sealed file.

    Args:
        content: everything before it.
        owner: of the file; printable ASCII without spaces.
    """
    line = f"\nsealed for {owner} by SHA-256 ".encode("ascii")
    digest = hashlib.sha256(content)
    digest.update(line)
    return line + f"{digest.hexdigest()}\n".encode()


def check_seal(content: bytes, owner: str) -> None:
    """Checks that a file is complete, unchanged and of the expected owner.

    Args:
        content: the whole file.
        owner: the expected owner.

    Raises:
        BrokenSealError: it has no seal, has another owner, or has changed since it was sealed.
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
