"""The append-only store of what runs leave behind: one JSON file an attempt, never overwritten."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from suite.contract import Arm, Departure, ServedClaim
from suite.errors import SuiteError
from suite.store.files import create
from suite.store.upgrades import document_of, schema_of, upgraded
from suite.strict import Strict

SCHEMA_VERSION = 3
"""Version of a record's layout; older files are upgraded as they are read (`suite.store.upgrades`)."""

Status = Literal["finished", "failed", "blocked"]

_ROOM_FOR_A_RECORD = 64 * 1024
"""Bytes; a record takes about a sixth of it."""

_HEAD = 64
"""Bytes; every written record begins with its schema."""

_REMEDY = "restore it from a copy or move it out of the folder; nothing was changed"

_FILE_NAME = re.compile(r"^(?P<run_id>[0-9a-f]{16})-(?P<attempt>\d{2,})\.json$")


class TaughtBy(Strict):
    """The checkpoint that a student learned from.

    Attributes:
        run_id: the run that trained or scored it.
        weights_sha256: of the file.
    """

    run_id: str
    weights_sha256: str


class Provenance(Strict):
    """With what a run was executed.

    Attributes:
        commit: of the code; None outside of a repository.
        dirty: whether the code differed from it.
        command: the command line that asked for the run.
        packages: import name -> version.
        lock_sha256: of ``requirements.lock``; None where the suite was installed without one.
        host: the machine (`suite.environment.host_facts`).
        device: `cpu` or `cuda`.
        threads: cores that the run could use.
        gpu: name of the GPU.
        cuda: version of CUDA.
        teacher: the checkpoint that taught.
        checkpoint: of a scored checkpoint, its file and what became of its keys.
        data_fingerprint: of the data.
        weights_sha256: of the weights that the run left.
    """

    commit: str | None = None
    dirty: bool | None = None
    command: str | None = None
    packages: dict[str, str] = {}
    lock_sha256: str | None = None
    host: dict[str, str | int | float] = {}
    device: str | None = None
    threads: int | None = None
    gpu: str | None = None
    cuda: str | None = None
    teacher: TaughtBy | None = None
    checkpoint: dict[str, Any] | None = None
    data_fingerprint: str | None = None
    weights_sha256: str | None = None


class Record(BaseModel):
    """What one attempt at a run leaves behind.

    Attributes:
        schema_version: version of this layout; a record of a newer one is refused.
        run_id: hash of `identity` (see `suite.planning.identity`).
        series: the same hash without seed and repetition: records of one series differ by these only.
        attempt: 1 for the first try; a run that failed or was blocked may be tried again.
        former_ids: ids that the run had under older ways to identify it.
        claims: the claims served when the run was planned, each with the arm it fills.
        task: id of the task.
        arm: the arm the run was first planned as.
        profile: `smoke`, `mini` or `paper`.
        seed: seed of the run; 0 where nothing was trained.
        repetition: how often the same had been measured before (``--again``).
        status: `finished`, `failed` or `blocked`; only a finished record has metrics.
        metrics: by metric name (`top1`, `box_AP`, ...), in the unit of ``metrics.yaml``.
        per_class: percent of each class, by what was measured (`IoU`, ...) and name of the class.
        skipped: how many of what the loading of the data left out, by what it was, in words of the plural
            (`annotations without area`, `images that cannot be decoded`, ...).
        comparable: whether the data are the published ones, so that a claimed number may be judged.
        identity: what defines the number, item by item.
        recipe: the composed recipe as it was run (`suite.contract.ComposedRecipe`).
        protocol: the effective protocol, read back from the built objects.
        departures: known differences from the published protocol.
        provenance: code, packages, host, device, data, teacher.
        timings: seconds (`wall`, `train`, `evaluation`, `seconds_per_step`) and `peak_memory_mib`.
        error: why it failed or is blocked; one line.
        finished_at: UTC time in ISO 8601.
    """

    # JSON knows no NaN: as a string it is read back as the number it was, as null it would not.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: int = Field(default=SCHEMA_VERSION, le=SCHEMA_VERSION)
    run_id: str
    series: str
    attempt: int = 1
    former_ids: list[str] = []
    claims: list[ServedClaim]
    task: str
    arm: Arm
    profile: str
    seed: int
    repetition: NonNegativeInt = 0
    status: Status
    metrics: dict[str, float] = {}
    per_class: dict[str, dict[str, float]] = {}
    skipped: dict[str, NonNegativeInt] = {}
    comparable: bool
    identity: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    protocol: dict[str, Any] = {}
    departures: list[Departure] = []
    provenance: Provenance = Provenance()
    timings: dict[str, float] = {}
    error: str | None = None
    finished_at: str


def read_record(path: Path) -> Record:
    """Reads one record; one of an older schema is upgraded with what else lies in its folder.

    Raises:
        SuiteError: the file cannot be read, is truncated, is no record, was written by a newer suite, or
            is named like another record, as a copy would be that counts a run twice.
    """
    content = _content(path)
    if _is_older(content):
        former = _FILE_NAME.match(path.name)
        old = (former["run_id"], int(former["attempt"])) if former else None
        found = _read_older(dict(_older_files(path.parent)))
        for record, was in found:
            if was == old:
                return record
    return _validated(path, content)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from None


def _validated(path: Path, content: bytes) -> Record:
    try:
        record = Record.model_validate_json(content)
    except ValidationError as error:
        raise SuiteError(f"{path}: {_complaint(content, error)}") from None
    if path.name != (name := file_name(record)):
        raise SuiteError(f"{path}: holds the record that belongs into {name}; {_REMEDY}")
    return record


def file_name(record: Record) -> str:
    """The name of a record's file."""
    return f"{record.run_id}-{record.attempt:02d}.json"


def _is_older(content: bytes) -> bool:
    schema = schema_of(content)
    return schema is not None and 0 < schema < SCHEMA_VERSION


def _older_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.glob("*.json")):
        if _is_older(_head(path)):
            yield path, _content(path)


def _head(path: Path) -> bytes:
    """As much of a file as tells its schema."""
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from None


def _read_older(files: Mapping[Path, bytes]) -> list[tuple[Record, tuple[str, int]]]:
    """Upgraded records, each with the id and the attempt that its file is named after."""
    documents = []
    for path, content in files.items():
        try:
            documents.append(document_of(path, content))
        except ValueError as error:
            raise SuiteError(f"{path}: damaged record ({error}); {_REMEDY}") from None
    try:
        found = upgraded(documents)
        records = [Record.model_validate_json(json.dumps(document)) for document, _ in found]
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        culprit = _first_fault(files)
        raise SuiteError(
            f"{culprit}: not a record ({' '.join(str(error).split())[:120]}); {_REMEDY}"
        ) from None
    return [(record, was) for record, (_, was) in zip(records, found, strict=True)]


def _first_fault(files: Mapping[Path, bytes]) -> Path:
    """Which of several files cannot be upgraded, each taken by itself."""
    for path, content in files.items():
        try:
            for document, _ in upgraded([document_of(path, content)]):
                Record.model_validate_json(json.dumps(document))
        except (KeyError, TypeError, AttributeError, ValidationError):
            return path
    return next(iter(files))


def _complaint(content: bytes, error: ValidationError) -> str:
    """What is wrong with the content of a record file, and what to do."""
    try:
        found = json.loads(content)
    except ValueError as broken:
        return f"damaged record ({broken}); {_REMEDY}"
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return (
            f"written with record schema {version}, this suite reads up to {SCHEMA_VERSION}; update the suite"
        )
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"not a record ({where}: {first['msg']}); {_REMEDY}"


def read_all(folder: Path) -> list[Record]:
    """Every record of a folder, ordered by run id and attempt; those of older schemas are upgraded.

    Raises:
        SuiteError: for the first record that cannot be read.
    """
    if not folder.is_dir():
        return []
    with _without_collector():
        older: dict[Path, bytes] = {}
        records = []
        for path in sorted(folder.glob("*.json")):
            content = _content(path)
            if _is_older(content):
                older[path] = content
            else:
                records.append(_validated(path, content))
        if older:
            rewritten = {(run_id, record.finished_at) for record in records for run_id in record.former_ids}
            records += [
                record
                for record, (former, _) in _read_older(older)
                if (former, record.finished_at) not in rewritten
            ]
            records.sort(key=lambda record: (record.run_id, record.attempt))
        return records


def rewrite_older(folder: Path) -> list[Record]:
    """Writes the records of older schemas in the layout of today; nothing is lost.

    Each file appears under its new name before the old one is moved to ``former/`` beside it, so that the
    call may be interrupted anywhere and made again.

    Returns:
        What was written, in the order of the new ids.

    Raises:
        SuiteError: a record cannot be read, or a file of its new name holds something else.
        OSError: the folder cannot be written to.
    """
    files = dict(_older_files(folder))
    if not files:
        return []
    found = _read_older(files)
    for record, (former, attempt) in found:
        path = folder / file_name(record)
        if not create(path, _as_bytes(record)) and path.read_bytes() != _as_bytes(record):
            raise SuiteError(f"{path}: is in the way of the upgraded record of {former}; {_REMEDY}")
        old = folder / f"{former}-{attempt:02d}.json"
        (folder / "former").mkdir(exist_ok=True)
        old.rename(folder / "former" / old.name)
    return [record for record, _ in found]


def _as_bytes(record: Record) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Turns the cyclic garbage collector off for a while.

    Ten thousand records are millions of objects, none of them garbage: the collector would walk them again
    and again, and doubles the time of reading them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def read_for_run(folder: Path, run_id: str) -> list[Record]:
    """The records of one run, oldest attempt first; see `read_record`."""
    found = [read_record(path) for path in sorted(folder.glob(f"{run_id}-*.json"))]
    # One that was written before ids were what they are now lies under its older name.
    if any(_older_files(folder)):
        found += [record for record in read_all(folder) if record.run_id == run_id and record.former_ids]
        found = list({(record.attempt, record.finished_at): record for record in found}.values())
    return found


def standing_by_run(records: Iterable[Record]) -> dict[str, Record]:
    """Run id -> its first finished record, or its latest attempt when none finished.

    The first one stands: a run whose weights were lost is trained again, on another machine perhaps, and what
    has been reported of it does not change with that.
    """

    def rank(record: Record) -> tuple[bool, int]:
        finished = record.status == "finished"
        return finished, -record.attempt if finished else record.attempt

    standing: dict[str, Record] = {}
    for record in records:
        known = standing.get(record.run_id)
        if known is None or rank(record) > rank(known):
            standing[record.run_id] = record
    return standing


def write_record(folder: Path, record: Record) -> Record:
    """Adds a record to the store under the next free attempt number.

    The file appears whole or not at all, and an existing file is never replaced: the content is
    written and synced under a temporary name, then linked to the first free name.

    Returns:
        The record with the attempt number it got.

    Raises:
        OSError: the file system refused, for example because it is full; nothing was added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = [
        int(match["attempt"])
        for path in folder.glob(f"{record.run_id}-*.json")
        if (match := _FILE_NAME.match(path.name))
    ]
    attempt = max(taken, default=0) + 1
    while True:
        numbered = record.model_copy(update={"attempt": attempt})
        if create(folder / file_name(numbered), _as_bytes(numbered)):
            return numbered
        attempt += 1


def check_writable(folder: Path) -> None:
    """Makes sure that records can be added to a store, before anything is trained for it.

    Raises:
        SuiteError: the folder cannot be made or written to, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * _ROOM_FOR_A_RECORD)
            probe.flush()
    except OSError as error:
        raise SuiteError(
            f"cannot write records to {folder} ({error.strerror}): make room there, or name another folder "
            "for results in SUITE_RESULTS"
        ) from None
