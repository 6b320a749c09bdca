"""Published checkpoints: which there are (``baselines/weights.yaml``), and the cache they are fetched into.

The end of a checkpoint's name holds 32 bits of its SHA-256. That finds a damaged or a wrong file, and stops
nobody who means harm: a fetched file stays untrusted, and is only ever read by `tasks.checkpoints`.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from suite import paths
from suite.claims import Numbers, load_papers
from suite.errors import SuiteError, did_you_mean
from suite.models import Dataset, read_models
from suite.strict_yaml import parse, refuse

Report = Callable[[int, int | None], None]
"""Takes how many bytes of a file are there, and how many it has (None: the server does not say)."""

Check = Callable[[Path], None]
"""Looks into a fetched file before it enters the cache, and raises `SuiteError` to keep it out."""

_HASH = re.compile(r"-(?P<prefix>[0-9a-f]{8})\.pth$")
_SECONDS_OF_SILENCE = 30.0
_BLOCK = 2**20
_LARGEST = 8 * 2**30
"""Bytes. The largest zoo checkpoint of the papers has an eighth of it; a server may send without end."""


class DownloadError(SuiteError):
    """A file could not be fetched, or is not what it should be."""

    exit_status = 1


class Weights(BaseModel):
    """A checkpoint that others have trained.

    Attributes:
        id: its key in the file.
        model: of ``baselines/models.yaml``; the key of an entry that does not say.
        zoo: ``<package>::<name>`` in the model index that the package ships.
        address: where it lies; None where it is not published, or on private drives only.
        dataset: what it was trained for.
        schedule: in words.
        accuracy: as published.
        unpublished: why there is no address; such a model has to be trained.
        note: what a reader must know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    model: str
    zoo: Annotated[str, Field(pattern=r"^mm(det|seg|pretrain)::[\w.-]+$")] | None = None
    address: Annotated[str, Field(pattern=r"^https?://[\w.:-]+/[\w/.%-]+-[0-9a-f]{8}\.pth$")] | None = None
    dataset: Dataset
    schedule: str
    accuracy: Numbers = {}
    unpublished: str | None = None
    note: str | None = None

    @property
    def published(self) -> bool:
        """Whether it can be fetched; if not, the model has to be trained."""
        return self.address is not None

    @property
    def teaches(self) -> bool:
        """Whether it is the checkpoint that its model teaches with, and no variant of it."""
        return self.id == self.model

    @property
    def file_name(self) -> str:
        """The publisher's name of the file.

        Raises:
            SuiteError: it is not published.
        """
        if self.address is None:
            reason = str(self.unpublished).rstrip(".")
            raise SuiteError(f"{self.id} is not published ({reason}): {_TRAIN_IT}")
        return urllib.parse.unquote(self.address).rpartition("/")[2]

    @model_validator(mode="after")
    def _is_published_or_not(self) -> Weights:
        facts = (self.zoo, self.address, self.accuracy or None)
        if self.unpublished and any(facts):
            raise ValueError("said to be unpublished; leave out zoo, address and accuracy")
        if not self.unpublished and not all(facts):
            raise ValueError("needs zoo, address and accuracy; or say why it is 'unpublished'")
        return self


_TRAIN_IT = "it has to be trained, which 'python -m suite reproduce' does for the claims that need it"


class _Registry(RootModel[dict[str, Weights]]):
    """``weights.yaml``: an entry has the name of its key, and is of the model of that name unless it says."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {
            key: {"model": key, **entry, "id": key} if isinstance(entry, dict) else entry
            for key, entry in raw.items()
        }


@functools.lru_cache(maxsize=1)
def read_weights() -> dict[str, Weights]:
    """The published checkpoints by id, and the models of which none is published; read once a process.

    Raises:
        SuiteError: the file breaks the schema; names file and line.
    """
    return read_registry(paths.BASELINES)


def read_registry(folder: Path) -> dict[str, Weights]:
    """Reads and checks ``weights.yaml`` of a folder laid out like ``baselines/``.

    Raises:
        SuiteError: the file breaks the schema, or names a model that ``models.yaml`` does not have; with file
            and line.
    """
    path = folder / "weights.yaml"
    models = read_models(folder)
    found = parse(_Registry, path).root
    for weights in found.values():
        if weights.model not in models:
            refuse(
                path,
                (weights.id, "model"),
                f"no model {weights.model!r} in models.yaml; {did_you_mean(weights.model, models)}",
            )
    return found


def find_weights(name: str) -> Weights:
    """An entry by its id.

    Raises:
        SuiteError: there is none.
    """
    known = read_weights()
    if name not in known:
        raise SuiteError(f"no weights {name!r}: {did_you_mean(name, known)}; 'weights list' has all")
    return known[name]


def teacher_weights(model: str) -> Weights | None:
    """The checkpoint that a model teaches with; None where nothing is known of one."""
    return read_weights().get(model)


def claims_taught(weights: Weights) -> list[str]:
    """Ids of the claims on distilled students whose teacher it is."""
    return [
        claim.id
        for paper in load_papers().values()
        for claim in paper.claims
        if claim.role in ("ours", "ablation") and weights.teaches and claim.teacher == weights.model
    ]


def how_to_get(model: str) -> str:
    """What to do about missing weights of a model, as the end of a message."""
    weights = teacher_weights(model)
    if weights is None or not weights.published:
        return f"no checkpoint of {model} is published: {_TRAIN_IT}"
    return f"fetch them with 'python -m suite weights fetch {weights.id}'"


def cached(weights: Weights) -> Path | None:
    """The file in the cache, if it is there and has the right hash.

    A file is hashed once and then known by its size and time of change, so that asking is cheap. One that
    somebody copied there by hand counts like one that was fetched.
    """
    if not weights.published:
        return None
    path = paths.weights_dir() / weights.file_name
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
    # A cache that cannot be written to is hashed every time.
    with contextlib.suppress(OSError):
        aside = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        aside.write_text(state, encoding="utf-8")
        aside.replace(stamp)
    return path


def fetch(weights: Weights, check: Check, report: Report) -> Path:
    """Fetches a checkpoint into the cache, unless it is there.

    What an earlier call got before it was interrupted is kept in a ``.part`` file beside, and gone on from.
    Of two calls at once the second waits for the first. The file appears in the cache whole, with the right
    hash and after `check`, or not at all.

    Args:
        weights: what to fetch.
        check: called with the fetched file, before it enters the cache.
        report: called as bytes arrive.

    Returns:
        The file in the cache.

    Raises:
        SuiteError: it is not published, or `check` refuses it.
        DownloadError: the server or the connection failed, or the file is not what its name says.
        OSError: the cache cannot be written to.
    """
    path = paths.weights_dir() / weights.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    if (found := cached(weights)) is not None:
        return found
    part = path.with_name(f"{path.name}.part")
    with _held(part) as file:
        try:
            # Another call may have fetched it while this one waited.
            if (found := cached(weights)) is None:
                _download(weights, part, file, report)
                _admit(part, file, check)
                part.replace(path)
        finally:
            # Only what has bytes in it is worth going on from.
            if file.seek(0, os.SEEK_END) == 0 and _lies_at(file, part):
                part.unlink(missing_ok=True)
    if found is None and (found := cached(weights)) is None:
        raise DownloadError(f"{path} was changed as soon as it was there; fetch {weights.id} again")
    return found


@contextlib.contextmanager
def _held(part: Path) -> Iterator[BinaryIO]:
    """Opens a file for appending, as the only process that does."""
    while True:
        with open(part, "ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it before may have renamed or deleted it.
            if _lies_at(file, part):
                yield file
                return


def _lies_at(file: BinaryIO, path: Path) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _download(weights: Weights, part: Path, file: BinaryIO, report: Report) -> None:
    """Completes a partial file; one that turns out wrong is emptied."""
    assert weights.address is not None
    resumed = _append(weights.address, file, report)
    if _is_what_its_name_says(part, weights.file_name):
        return
    file.truncate(0)
    if resumed:
        # The two pieces are not of one file: it has changed in between, or the first was damaged.
        _append(weights.address, file, report)
        if _is_what_its_name_says(part, weights.file_name):
            return
        file.truncate(0)
    raise DownloadError(
        f"{weights.address} sends another file than the one that its name stands for (its SHA-256 begins "
        "otherwise); nothing was kept: try again later, or ask its publisher"
    )


def _append(address: str, file: BinaryIO, report: Report) -> bool:
    """Fetches what a file lacks.

    Returns:
        Whether bytes were kept that had been there before.

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
                # The server sends all of it, or another piece than was asked for.
                file.truncate(0)
                if response.status != http.client.OK:
                    return _append(address, file, report)
                start = 0
            _receive(response, file, start, report)
    except urllib.error.HTTPError as error:
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            # Nothing is lacking; or the file has become shorter, and its hash will tell.
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
            "goes on from there"
        ) from None
    return start > 0


def _receive(response: Any, file: BinaryIO, start: int, report: Report) -> None:
    """Writes the body of a response.

    Raises:
        DownloadError: far too much arrived; nothing is kept.
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
    # A body that ends early is no error to the standard library.
    if total is not None and size < total:
        raise OSError(f"the connection ended after {_megabytes(size)} of {_megabytes(total)}")


def _admit(part: Path, file: BinaryIO, check: Check) -> None:
    """Lets `check` look into a complete file; one that it refuses is deleted."""
    os.fsync(file.fileno())
    try:
        check(part)
    except SuiteError:
        file.truncate(0)
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _is_what_its_name_says(path: Path, name: str) -> bool:
    """Whether the SHA-256 of a file begins as a checkpoint's name ends."""
    match = _HASH.search(name)
    return match is not None and sha256_of(path).startswith(match["prefix"])


def _megabytes(size: int) -> str:
    return f"{size / 10**6:.1f} MB"
