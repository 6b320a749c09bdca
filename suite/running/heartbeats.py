"""Heartbeats of a run, in a file of its folder that any machine can read: state, epoch, loss, host, slot.

The file only informs: who executes a run is decided by `suite.store.ownership`, and how it ended is in its
record.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from suite.contract import Step
from suite.errors import SuiteError
from suite.running.events import Training, Waiting
from suite.store.files import replacing
from suite.store.ownership import Owner, this_process
from suite.store.plain_files import append_to, fault_of
from suite.strict import Line, Strict

LARGEST = 64 * 1024
"""Size limit of the file in bytes; beyond it, the older half is dropped."""

_TAIL = 4096
"""Bytes at the end of the file that are sure to hold the last line."""

State = Literal["waiting", "running", "stopped", "ended"]


class Beat(Strict):
    """A heartbeat.

    Attributes:
        at: when, by the clock of the machine, in ISO 8601.
        host: name of the machine.
        pid: id of the process.
        slot: the slot that the run has there, if a launcher gave it one.
        state: `waiting` for another process that executes the run, `running`, `stopped` before its
            end and ready to resume, or `ended`.
        epoch: the current epoch, from 1.
        epochs: how many there are.
        iteration: how many have been completed.
        done: share of all iterations, from 0 to 1.
        loss: of the latest iteration; None if there is none, or it is not finite.
        since: when the process started to execute the run, as `at`; None if it has not, or if an older
            version wrote the heartbeat.
    """

    at: Line
    host: Line
    pid: PositiveInt
    slot: Line | None = None
    state: State
    epoch: NonNegativeInt | None = None
    epochs: NonNegativeInt | None = None
    iteration: NonNegativeInt | None = None
    done: float | None = None
    loss: float | None = None
    since: Line | None = None

    def is_of(self, owner: Owner) -> bool:
        """Whether the process `owner` wrote it."""
        return (self.host, self.pid) == (owner.host, owner.pid)

    @property
    def words(self) -> str:
        """How far the run is, in words."""
        if self.state != "running" or self.epoch is None:
            return self.state
        loss = "" if self.loss is None else f", loss {self.loss:.3f}"
        return f"epoch {self.epoch}/{self.epochs}{loss}"

    @property
    def event(self) -> Waiting | Training | None:
        """The event that it reports; None if there is nothing new to show."""
        if self.state == "waiting":
            return Waiting()
        if self.state != "running" or self.epoch is None:
            return None
        loss = math.nan if self.loss is None else self.loss
        step = Step(self.done or 0.0, self.epoch, self.epochs or self.epoch, loss, self.iteration or 0)
        return Training(step)


class Journal:
    """Writes the heartbeats of one process; may be used from several threads.

    A training is worth more than its journal: what cannot be written is dropped.
    """

    def __init__(self, path: Path, slot: str | None) -> None:
        """Writes nothing yet.

        Args:
            path: the file.
            slot: the slot that the run has on this machine.
        """
        self._path = path
        self._slot = slot
        self._me = this_process()
        self._state: State = "waiting"
        self._since: str | None = None
        self._step: Step | None = None
        self._writing = threading.Lock()

    def state(self, state: State) -> None:
        """Sets a new state and writes it."""
        if state == "running" and self._state != "running":
            self._since = _now()
        self._state = state
        self.beat()

    def step(self, step: Step) -> None:
        """Notes how far the training is; the next `beat` writes it."""
        self._step = step

    def beat(self) -> None:
        """Writes a heartbeat."""
        with self._writing, contextlib.suppress(OSError, SuiteError):
            with append_to(self._path) as file:
                file.write(self._now().model_dump_json(exclude_none=True).encode() + b"\n")
                size = os.fstat(file.fileno()).st_size
            if size > LARGEST:
                _halve(self._path)

    def _now(self) -> Beat:
        step = self._step
        facts: dict[str, Any] = {}
        if step is not None:
            loss = step.loss if math.isfinite(step.loss) else None
            facts = {"epoch": step.epoch, "epochs": step.epochs, "iteration": step.iteration}
            facts |= {"done": step.done, "loss": loss}
        return Beat(
            at=_now(),
            host=self._me.host,
            pid=self._me.pid,
            slot=self._slot,
            state=self._state,
            since=self._since,
            **facts,
        )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _halve(path: Path) -> None:
    content = path.read_bytes()
    kept = content[-(LARGEST // 2) :].partition(b"\n")[2]
    with replacing(path) as aside:
        aside.write_bytes(kept)


def last_beat(path: Path) -> Beat | None:
    """The latest heartbeat that can be read; None if there is none.

    A line may be cut short by a kill, or by two machines that write at the same time.
    """
    try:
        if fault_of(path) is not None:
            return None
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read(_TAIL).splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return Beat.model_validate_json(line)
    return None
