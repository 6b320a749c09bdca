"""The append-only store of what runs leave behind: one JSON file an attempt, never overwritten."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from suite.errors import SuiteError
from suite.store.files import create

SCHEMA_VERSION = 2
"""Version 2 added `per_class` and `skipped`; a file of version 1 lacks both, and is read with neither."""

Arm = Literal["teacher", "student", "distilled", "released"]
"""What was trained; `released`: a checkpoint that was trained elsewhere and is only scored here."""

Status = Literal["finished", "failed", "blocked"]

_ROOM_FOR_A_RECORD = 64 * 1024
"""Bytes; a record takes about a sixth of it."""

_REMEDY = "restore it from a copy or move it out of the folder; nothing was changed"

_FILE_NAME = re.compile(r"^(?P<run_id>[0-9a-f]{16})-(?P<attempt>\d{2,})\.json$")


class ServedClaim(BaseModel):
    """A claim that a run serves, and as which of its arms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str
    arm: Arm


class Record(BaseModel):
    """What one attempt at a run leaves behind.

    Attributes:
        schema_version: version of this layout; a record of a newer one is refused.
        run_id: hash of everything that defines the number (see `suite.planning.plan`).
        series: the same hash without the seed: records of one series differ by seed only.
        attempt: 1 for the first try; a run that failed or was blocked may be tried again.
        claims: the claims served when the run was planned, each with the arm it fills.
        task: `classification`, `detection`, ...
        arm: the arm the run was first planned as.
        profile: `smoke`, `mini` or `paper`.
        seed: seed of the run; 0 where nothing was trained.
        status: `finished`, `failed` or `blocked`; only a finished record has metrics.
        metrics: percent, by metric name (`top1`, `box_AP`, ...).
        per_class: percent of each class, by what was measured (`IoU`, ...) and name of the class.
        skipped: how many of what the loading of the data left out, by what it was, in words of the plural
            (`annotations without area`, `images that cannot be decoded`, ...).
        comparable: whether the data are the published ones, so that a claimed number may be judged.
        recipe: the composed recipe as it was run.
        protocol: the effective protocol, read back from the built objects.
        departures: known differences from the published protocol.
        provenance: commit, versions, host, device, lock hash, data fingerprint, teacher identity.
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
    claims: list[ServedClaim]
    task: str
    arm: Arm
    profile: str
    seed: int
    status: Status
    metrics: dict[str, float] = {}
    per_class: dict[str, dict[str, float]] = {}
    skipped: dict[str, NonNegativeInt] = {}
    comparable: bool
    recipe: dict[str, Any] = {}
    protocol: dict[str, Any] = {}
    departures: list[str] = []
    provenance: dict[str, Any] = {}
    timings: dict[str, float] = {}
    error: str | None = None
    finished_at: str


def read_record(path: Path) -> Record:
    """Reads one record.

    Raises:
        SuiteError: the file cannot be read, is truncated, is no record, was written by a newer suite, or
            is named like another record, as a copy would be that counts a run twice.
    """
    try:
        record = Record.model_validate_json(content := path.read_bytes())
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from None
    except ValidationError as error:
        raise SuiteError(f"{path}: {_complaint(content, error)}") from None
    if path.name != (name := _file_name(record)):
        raise SuiteError(f"{path}: holds the record that belongs into {name}; {_REMEDY}")
    return record


def _file_name(record: Record) -> str:
    return f"{record.run_id}-{record.attempt:02d}.json"


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
    """Every record of a folder, ordered by run id and attempt.

    Raises:
        SuiteError: for the first record that cannot be read.
    """
    if not folder.is_dir():
        return []
    with _without_collector():
        return [read_record(path) for path in sorted(folder.glob("*.json"))]


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
    """The records of one run, oldest attempt first; see `read_all`."""
    return [read_record(path) for path in sorted(folder.glob(f"{run_id}-*.json"))]


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
        if create(folder / _file_name(numbered), (numbered.model_dump_json(indent=1) + "\n").encode()):
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
