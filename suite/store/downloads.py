"""The cache of published checkpoints, and its downloads: resumable, verified, stored whole or not at all."""

from __future__ import annotations

import contextlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from suite import paths
from suite.errors import SuiteError
from suite.published.weights import Checkpoint, hash_in_name
from suite.store.files import sha256_of, write
from suite.store.ownership import owned

Report = Callable[[int, int | None], None]
"""Called with the bytes received so far and the size of the file (None if the server does not say)."""

Check = Callable[[Path], None]
"""Inspects a downloaded file before it enters the cache, and raises `SuiteError` to keep it out."""

_SECONDS_OF_SILENCE = 30.0
_BLOCK = 2**20
_LARGEST = 8 * 2**30
"""Bytes. The largest zoo checkpoint of the papers has an eighth of it; a server may never stop sending."""


class DownloadError(SuiteError):
    """A file could not be downloaded, or is not the right one."""

    exit_status = 1


def cached(checkpoint: Checkpoint) -> Path | None:
    """The file in the cache, if it is there and has the right hash.

    A file is hashed once and then recognised by its size and modification time, so that the check is cheap.
    A file copied there by hand counts like a downloaded one.
    """
    if not checkpoint.published:
        return None
    path = paths.weights_dir() / checkpoint.file_name
    stamp = path.with_name(f"{path.name}.verified")
    try:
        found = path.stat()
        state = f"{found.st_size} {found.st_mtime_ns}\n"
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
            return path
        if not _is_what_its_name_says(path, path.name):
            return None
    except OSError:
        return None
    # In a cache that cannot be written to, the file is hashed every time.
    with contextlib.suppress(OSError):
        write(stamp, state.encode())
    return path


def fetch(checkpoint: Checkpoint, check: Check, report: Report) -> Path:
    """Downloads a checkpoint into the cache, unless it is there already.

    An interrupted download is kept in a ``.part`` file beside it, and the next call resumes it. Of two
    concurrent calls the second waits for the first. The file appears in the cache whole, with the right hash
    and after `check`, or not at all.

    Args:
        checkpoint: what to download.
        check: called with the downloaded file, before it enters the cache.
        report: called as bytes arrive.

    Returns:
        The file in the cache.

    Raises:
        SuiteError: it is not published, or `check` refuses it.
        DownloadError: the server or the connection failed, or the file is not what its name says.
        OSError: the cache cannot be written to.
    """
    path = paths.weights_dir() / checkpoint.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    if (found := cached(checkpoint)) is not None:
        return found
    part = path.with_name(f"{path.name}.part")
    with owned(path.with_name(f"{path.name}.owner")):
        # Another call may have fetched it while this one waited.
        if (found := cached(checkpoint)) is None:
            try:
                with open(part, "ab+") as file:
                    _download(checkpoint, part, file, report)
                    _admit(part, file, check)
                part.replace(path)
            finally:
                # An empty file is not worth resuming from.
                if part.exists() and part.stat().st_size == 0:
                    part.unlink()
    if found is None and (found := cached(checkpoint)) is None:
        raise DownloadError(f"{path} was changed right after it arrived; fetch {checkpoint.id} again")
    return found


def _download(checkpoint: Checkpoint, part: Path, file: BinaryIO, report: Report) -> None:
    """Completes a partial file; if it turns out to be wrong, empties it."""
    assert checkpoint.address is not None
    resumed = _append(checkpoint.address, file, report)
    if _is_what_its_name_says(part, checkpoint.file_name):
        return
    file.truncate(0)
    if resumed:
        # The two pieces are not from one file: it has changed in between, or the first piece was damaged.
        _append(checkpoint.address, file, report)
        if _is_what_its_name_says(part, checkpoint.file_name):
            return
        file.truncate(0)
    raise DownloadError(
        f"{checkpoint.address} sends a file that its name does not match (its SHA-256 begins "
        "differently); nothing was kept: try again later, or ask its publisher"
    )


def _append(address: str, file: BinaryIO, report: Report) -> bool:
    """Downloads the rest of a partial file.

    Returns:
        Whether bytes that were there before were kept.

    Raises:
        DownloadError: the server refuses, or the connection ended early; what arrived is kept.
    """
    start = file.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=_SECONDS_OF_SILENCE
        ) as response:
            if start and not str(response.headers.get("Content-Range")).startswith(f"bytes {start}-"):
                # The server sends the whole file, or another range than the requested one.
                file.truncate(0)
                if response.status != http.client.OK:
                    return _append(address, file, report)
                start = 0
            _receive(response, file, start, report)
    except urllib.error.HTTPError as error:
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            # Nothing is missing, or the file on the server has become shorter, which its hash will show.
            return True
        raise DownloadError(
            f"{address}: the server answers {error.code} {error.reason}; try again later"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        file.flush()
        kept = file.seek(0, os.SEEK_END)
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{address}: {' '.join(str(reason).split())}; {_megabytes(kept)} are kept, and the same command "
            "resumes from there"
        ) from None
    return start > 0


def _receive(response: Any, file: BinaryIO, start: int, report: Report) -> None:
    """Writes the body of a response.

    Raises:
        DownloadError: more than `_LARGEST` arrived; nothing is kept.
        OSError: the connection ended before all had arrived.
    """
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    size = start
    while block := response.read(_BLOCK):
        size += len(block)
        if size > _LARGEST:
            file.truncate(0)
            raise DownloadError(
                f"{response.url}: more than {_megabytes(_LARGEST)} arrived, which no checkpoint has; nothing "
                "was kept: ask its publisher"
            )
        file.write(block)
        report(size, total)
    file.flush()
    # The standard library does not treat a body that ends early as an error.
    if total is not None and size < total:
        raise OSError(f"the connection ended after {_megabytes(size)} of {_megabytes(total)}")


def _admit(part: Path, file: BinaryIO, check: Check) -> None:
    """Runs `check` on a complete file; empties it if it is refused."""
    os.fsync(file.fileno())
    try:
        check(part)
    except SuiteError:
        file.truncate(0)
        raise


def _is_what_its_name_says(path: Path, name: str) -> bool:
    """Whether the SHA-256 of a file begins with the digits at the end of a checkpoint's name."""
    prefix = hash_in_name(name)
    return prefix is not None and sha256_of(path).startswith(prefix)


def _megabytes(size: int) -> str:
    return f"{size / 10**6:.1f} MB"
