"""The append-only store of run records: one JSON file per attempt, never overwritten."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite.errors import SuiteError, one_line, printable
from suite.store.files import begun, create, write
from suite.store.plain_files import NotAPlainFileError, content_of
from suite.store.record import SCHEMA_VERSION, Record, as_bytes, file_name
from suite.store.upgrades import NOT_UPGRADED, document_of, refuse_repeated, schema_of, upgraded
from suite.strict import first_fault

_ROOM_FOR_A_RECORD = 64 * 1024
"""Bytes that must be free; a record takes about a sixth of that."""

_LARGEST = 16 * 2**20
"""Bytes; a larger file cannot be a record, however many classes its data have."""

_HEAD = 64
"""Bytes that are enough to read the schema, with which every written record begins."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, and of a used-up quota or size limit."""

_REMEDY = "restore it from a copy or move it out of the folder; nothing was changed"

_FILE_NAME = re.compile(r"^(?P<run_id>[0-9a-f]{16})-(?P<attempt>\d{2,})\.json$")


def read_record(path: Path) -> Record:
    """Reads one record; upgrades one of an older schema together with the others in its folder.

    Raises:
        SuiteError: the file cannot be read, is truncated, is no record, was written by a newer suite, or
            has the name of another record, like a copy, which would count a run twice.
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
    with _read(path):
        if not path.is_file() or path.stat().st_size:
            return content_of(path, _LARGEST)
        # Without hard links, the name of a record exists before its content (`files.create`). If its writer
        # was killed in between, the content lies beside it; otherwise it has been put in place by now.
        return begun(path, _LARGEST) or content_of(path, _LARGEST)


@contextlib.contextmanager
def _read(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SuiteError(f"{printable(path)}: cannot be read ({error.strerror}); {_REMEDY}") from None
    except NotAPlainFileError as fault:
        raise SuiteError(f"{printable(path)}: {fault}; {_REMEDY}") from None


def _validated(path: Path, content: bytes) -> Record:
    try:
        record = Record.model_validate_json(content)
        # A record that is formatted exactly as the suite writes it has no repeated keys.
        if content != as_bytes(record):
            json.loads(content, object_pairs_hook=refuse_repeated)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{printable(path)}: {_complaint(content, error)}") from None
    if path.name != (name := file_name(record)):
        raise SuiteError(f"{printable(path)}: holds the record that belongs in {name}; {_REMEDY}")
    return _without_result(record)


def _without_result(record: Record) -> Record:
    """The record with status `failed` if it is finished with a metric that is not finite.

    Earlier versions recorded some such runs as finished. The file is not changed.
    """
    if record.status != "finished":
        return record
    wrong = [f"{name} is {value}" for name, value in record.metrics.items() if not math.isfinite(value)]
    if not wrong:
        return record
    error = f"it was recorded as finished without a result: {', '.join(wrong)}"
    return record.model_copy(update={"status": "failed", "error": error})


def _is_older(content: bytes) -> bool:
    schema = schema_of(content)
    return schema is not None and 0 < schema < SCHEMA_VERSION


def _older_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.glob("*.json")):
        if _is_older(_head(path)):
            yield path, _content(path)


def _head(path: Path) -> bytes:
    """The beginning of a file, which names its schema."""
    with _read(path):
        if not path.stat().st_size:
            # Empty, or a pipe, which has no size either. Both are dealt with when the file is read.
            return b""
        with open(path, "rb") as file:
            return file.read(_HEAD)


def _read_older(files: Mapping[Path, bytes]) -> list[tuple[Record, tuple[str, int]]]:
    """Upgrades records, and returns each with the id and the attempt that its file is named after."""
    documents = []
    for path, content in files.items():
        try:
            documents.append(document_of(path, content))
        except (ValueError, RecursionError) as error:
            raise SuiteError(f"{printable(path)}: damaged record ({_shortly(error)}); {_REMEDY}") from None
    try:
        found = upgraded(documents)
        records = [Record.model_validate_json(json.dumps(document)) for document, _ in found]
    except NOT_UPGRADED as error:
        raise SuiteError(
            f"{printable(_first_fault(files))}: not a record ({_shortly(error)}); {_REMEDY}"
        ) from None
    return [(_without_result(record), was) for record, (_, was) in zip(records, found, strict=True)]


def _shortly(error: Exception) -> str:
    return printable(one_line(error), 120)


def _first_fault(files: Mapping[Path, bytes]) -> Path:
    """The first of several files that cannot be upgraded by itself."""
    for path, content in files.items():
        try:
            for document, _ in upgraded([document_of(path, content)]):
                Record.model_validate_json(json.dumps(document))
        except NOT_UPGRADED:
            return path
    return next(iter(files))


def _complaint(content: bytes, error: Exception) -> str:
    """What is wrong with the content of a record file, and what to do."""
    try:
        found = json.loads(content, object_pairs_hook=refuse_repeated)
    except (ValueError, RecursionError) as broken:
        return f"damaged record ({printable(broken)}); {_REMEDY}"
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return (
            f"written with record schema {version}, this suite reads up to {SCHEMA_VERSION}; update the suite"
        )
    if not isinstance(error, ValidationError):
        return f"damaged record ({printable(error)}); {_REMEDY}"
    where, first = first_fault(error)
    return f"not a record ({printable(where or 'top level', 100)}: {printable(first['msg'])}); {_REMEDY}"


def read_all(folder: Path) -> list[Record]:
    """Every record of a folder, ordered by run id and attempt; those of older schemas are upgraded.

    Raises:
        SuiteError: for the first record that cannot be read.
    """
    if not folder.is_dir():
        return []
    with without_collector():
        records = [record for _, record in read_files(sorted(folder.glob("*.json")))]
        return sorted(records, key=lambda record: (record.run_id, record.attempt))


def read_documents(
    folder: Path, wanted: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Reads records as plain data with all their fields; upgrades those of older schemas.

    Args:
        folder: of the records.
        wanted: run id and attempt of each.

    Returns:
        Run id and attempt -> the record as plain data, in the order of `wanted`; one that is no longer in the
        folder is left out.

    Raises:
        SuiteError: for the first record that cannot be read.
    """
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    older: dict[tuple[str, int], Record] | None = None
    for run_id, attempt in wanted:
        path = folder / f"{run_id}-{attempt:02d}.json"
        if path.exists() and not _is_older(content := _content(path)):
            found[run_id, attempt] = _document(path, content)
            continue
        if older is None:
            older = {(record.run_id, record.attempt): record for record in read_all(folder)}
        if (run_id, attempt) in older:
            found[run_id, attempt] = older[run_id, attempt].model_dump(mode="json")
    return found


def _document(path: Path, content: bytes) -> Mapping[str, Any]:
    # The record was validated when its summary was made, so that JSON alone is checked here.
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{printable(path)}: {_complaint(content, error)}") from None
    if not isinstance(document, dict):
        raise SuiteError(f"{printable(path)}: {_complaint(content, ValueError('no object'))}")
    return document


def read_files(
    paths: Iterable[Path], rewritten: Iterable[tuple[str, str]] = ()
) -> Iterator[tuple[Path | None, Record]]:
    """Reads the records in files of one folder; those of older schemas are upgraded, and come last.

    Args:
        paths: the files, including all of older schemas, since upgrading one of these needs the others.
        rewritten: former id and time of records of the folder that are known already; a file that one of them
            was upgraded from is left out.

    Yields:
        A record with its file; None as the file of an upgraded record, which depends on others, too.

    Raises:
        SuiteError: for the first record that cannot be read.
    """
    older: dict[Path, bytes] = {}
    known = set(rewritten)
    for path in paths:
        content = _content(path)
        if _is_older(content):
            older[path] = content
            continue
        record = _validated(path, content)
        known.update((former, record.finished_at) for former in record.former_ids)
        yield path, record
    for record, (former, _) in _read_older(older) if older else ():
        if (former, record.finished_at) not in known:
            yield None, record


def rewrite_older(folder: Path) -> list[Record]:
    """Rewrites the records of older schemas in the current layout, and keeps the old files.

    Each file appears under its new name before the old one is moved to ``former/`` beside it, so that the
    call may be interrupted anywhere and repeated.

    Returns:
        The records written, in the order of their new ids.

    Raises:
        SuiteError: a record cannot be read, or a file with its new name holds something else.
        OSError: the folder cannot be written to.
    """
    files = dict(_older_files(folder))
    if not files:
        return []
    found = _read_older(files)
    for record, (former, attempt) in found:
        path, old = folder / file_name(record), folder / f"{former}-{attempt:02d}.json"
        if path == old:
            # It says too little about its run to get a new id.
            _create_the_same(folder / "former" / old.name, files[old], former)
            write(path, as_bytes(record))
            continue
        _create_the_same(path, as_bytes(record), former)
        (folder / "former").mkdir(exist_ok=True)
        old.rename(folder / "former" / old.name)
    return [record for record, _ in found]


def _create_the_same(path: Path, content: bytes, former: str) -> None:
    """Creates a file, or keeps the one with the same content that an interrupted upgrade has made."""
    if not create(path, content) and path.read_bytes() != content:
        raise SuiteError(f"{printable(path)}: is in the way of the upgraded record of {former}; {_REMEDY}")


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Turns the cyclic garbage collector off for the duration of the block.

    Ten thousand records are millions of objects, none of them garbage: the collector would walk them again
    and again, and double the time it takes to read them.
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
    # A record from before the current identity scheme lies under its former id.
    if any(_older_files(folder)):
        found += [record for record in read_all(folder) if record.run_id == run_id and record.former_ids]
        found = list({(record.attempt, record.finished_at): record for record in found}.values())
    return found


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
        if create(folder / file_name(numbered), as_bytes(numbered)):
            return numbered
        attempt += 1


def check_writable(folder: Path) -> None:
    """Checks that records can be added to a store, before anything is trained for it.

    Adds a probe in the same way as a record, and removes it again.

    Raises:
        SuiteError: the folder cannot be created or written to, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".tmp") as probes:
            create(Path(probes) / "probe", b"\0" * _ROOM_FOR_A_RECORD)
    except OSError as error:
        elsewhere = "name another folder for results in SUITE_RESULTS"
        remedy = f"make room there, or {elsewhere}" if error.errno in _NO_ROOM else elsewhere
        raise SuiteError(
            f"cannot write records to {printable(folder)} ({error.strerror}): {remedy}"
        ) from None
