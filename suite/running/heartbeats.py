"""How far a run is, in a file of its folder that any machine can read: state, epoch, loss, host, slot.

The file tells, and decides nothing: who executes a run is decided by `suite.store.ownership`, and how it
ended stands in its record.
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
"""Bytes of the file; when it is larger, its older half goes."""

_TAIL = 4096
"""Bytes that hold the last line."""

State = Literal["waiting", "running", "stopped", "ended"]


class Beat(Strict):
    """A sign of life.

    Attributes:
        at: when, by the clock of the machine, in ISO 8601.
        host: name of the machine.
        pid: number of the process.
        slot: the place that the run has there, where a launcher gave it one.
        state: `waiting` for another process that executes the run, `running`, `stopped` before its
            end and ready to go on, or `ended`.
        epoch: the epoch that it is in, from 1.
        epochs: how many there are.
        iteration: how many have been made.
        done: share of all iterations, from 0 to 1.
        loss: of the latest iteration; None where there is none, or it is no number.
        since: when the process took the run up, as `at`; None where it has not, or an older suite wrote it.
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
        """Whether a process gave it."""
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
        """What it tells of the run; None where nothing is known that changes."""
        if self.state == "waiting":
            return Waiting()
        if self.state != "running" or self.epoch is None:
            return None
        loss = math.nan if self.loss is None else self.loss
        step = Step(self.done or 0.0, self.epoch, self.epochs or self.epoch, loss, self.iteration or 0)
        return Training(step)


class Journal:
    """Writes the signs of life of one process; may be used from several threads.

    A training is worth more than its journal: what cannot be written is left out.
    """

    def __init__(self, path: Path, slot: str | None) -> None:
        """Writes nothing yet.

        Args:
            path: the file.
            slot: the place that the run has on this machine.
        """
        self._path = path
        self._slot = slot
        self._me = this_process()
        self._state: State = "waiting"
        self._since: str | None = None
        self._step: Step | None = None
        self._writing = threading.Lock()

    def state(self, state: State) -> None:
        """Takes in a new state and writes it."""
        if state == "running" and self._state != "running":
            self._since = _now()
        self._state = state
        self.beat()

    def step(self, step: Step) -> None:
        """Takes in how far the training is; the next `beat` writes it."""
        self._step = step

    def beat(self) -> None:
        """Writes how things stand."""
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
    """The latest sign of life that can be read; None where there is none.

    A line may be cut short by a kill, or by two machines that write at one time.
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
