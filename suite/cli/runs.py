"""Describes runs in words: what is trained, its progress, where its log is, and why it did not finish."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from suite.errors import printable
from suite.evidence.served import known_trainings
from suite.paths import records_dir, work_dir
from suite.planning.plan import stored_label
from suite.report.answer import Failure
from suite.running.heartbeats import Beat, last_beat
from suite.running.request import find_request
from suite.store.ownership import this_process
from suite.store.record import Record
from suite.store.records import read_for_run
from suite.store.run_folders import RunFolder
from suite.store.summaries import Evidence


def label_in(record: Record) -> str:
    """The label of a recorded run, like `suite.planning.plan.Run.label`."""
    label = stored_label(record.recipe, record.identity, record.seed, record.repetition)
    if label is not None:
        return label
    claims = ", ".join(dict.fromkeys(entry.claim for entry in record.claims)) or record.run_id
    return f"{claims} ({record.arm}), seed {record.seed}"


def log_of(run_id: str) -> Path | None:
    """The log of a run; None if this work folder has none."""
    log = RunFolder(work_dir(), run_id).log
    return log if log.is_file() else None


def failure_of(record: Evidence) -> Failure:
    """Why a run did not finish.

    Raises:
        SuiteError: its record cannot be read.
    """
    # Only the full record says what was trained; reading it is affordable, since few runs fail.
    tried = read_for_run(records_dir(), record.run_id)
    whole = next((found for found in tried if found.attempt == record.attempt), None)
    label = label_in(whole) if whole is not None else record.run_id
    why = printable(record.error or "no error recorded")
    return Failure(label, record.run_id, why, log_of(record.run_id))


def claims_of(record: Evidence) -> list[str]:
    """The claims that a run serves."""
    return list(dict.fromkeys(claim for claim, *_ in known_trainings().served_by(record)))


@dataclass(frozen=True)
class OpenRun:
    """A run that is being executed, or that was interrupted.

    Attributes:
        run_id: its id.
        label: the run in words; its id if its request cannot be read.
        state: whether a process is executing it.
        beat: the latest heartbeat of the process that is executing it, or did so last.
        host: the machine, if it is a different one.
        log: file with everything that it printed; None if there is no log.
        command: the command that requested it.
    """

    run_id: str
    label: str
    state: Literal["running", "interrupted"]
    beat: Beat | None
    host: str | None
    log: Path | None
    command: str | None

    @property
    def seconds(self) -> float | None:
        """Seconds since a process started or resumed it, or since it was interrupted; None if unknown."""
        if self.beat is None:
            return None
        then = _time(self.beat.since if self.state == "running" else self.beat.at)
        return None if then is None else max(0.0, (datetime.now(timezone.utc) - then).total_seconds())

    @property
    def words(self) -> str:
        """Its progress, for how long it has been running or interrupted, and where."""
        age = None if self.seconds is None else in_words(self.seconds)
        beat = self.beat
        if self.state == "running":
            parts = [beat.words if beat else "running", f"for {age}" if age else ""]
        else:
            where = (
                f"in epoch {beat.epoch}/{beat.epochs}" if beat and beat.epoch else "before its first epoch"
            )
            parts = [where, f"{age} ago" if age else ""]
        parts.append(f"on {self.host}" if self.host else "")
        return printable(", ".join(filter(None, parts)))

    def as_json(self) -> dict[str, Any]:
        """The run as plain data."""
        beat = self.beat
        return {
            "run_id": self.run_id,
            "label": self.label,
            "state": self.state,
            "epoch": beat.epoch if beat else None,
            "epochs": beat.epochs if beat else None,
            "loss": beat.loss if beat else None,
            "seconds": self.seconds,
            "host": self.host,
            "log": None if self.log is None else str(self.log),
            "command": self.command,
        }


def open_runs(records: Iterable[Evidence], leave_out: Collection[str]) -> Iterator[OpenRun]:
    """The runs that a process is executing, and those that were interrupted, sorted by run id.

    A run counts as interrupted if its last heartbeat is from a training that no process is continuing, and no
    record has been written since.

    Args:
        records: all records of the store.
        leave_out: ids of runs that are reported elsewhere.
    """
    ended: dict[str, list[datetime]] = {}
    for record in records:
        if (when := _time(record.finished_at)) is not None:
            ended.setdefault(record.run_id, []).append(when)
    for path in sorted((work_dir() / "runs").glob("*")):
        folder = RunFolder(work_dir(), path.name)
        if folder.run_id not in leave_out:
            run = _open_run(folder, ended.get(folder.run_id, ()))
            if run is not None:
                yield run


def _open_run(folder: RunFolder, ended: Collection[datetime]) -> OpenRun | None:
    owner, beat = folder.owner(), last_beat(folder.events)
    host = None
    if owner is not None:
        beat = beat if beat is not None and beat.is_of(owner) else None
        host = None if owner.shares_machine_with(this_process()) else owner.host
    elif beat is None or beat.state not in ("running", "stopped") or _has_ended_since(beat, ended):
        return None
    request = find_request(folder)
    return OpenRun(
        run_id=folder.run_id,
        label=request.run.label if request else printable(folder.run_id),
        state="interrupted" if owner is None else "running",
        beat=beat,
        host=host,
        log=log_of(folder.run_id),
        command=request.provenance.command if request else None,
    )


def _has_ended_since(beat: Beat, ended: Iterable[datetime]) -> bool:
    at = _time(beat.at)
    return at is not None and any(when >= at for when in ended)


def in_words(seconds: float) -> str:
    """A duration in one or two suitable units: ``42 s``, ``12 min``, ``3 h 5 min``, ``4 days``."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} days"


def _time(text: str | None) -> datetime | None:
    """Parses a time in ISO 8601, as UTC if it has no time zone; None if it is not valid."""
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
