"""The events that report how a run is going while it is executed."""

from __future__ import annotations

from dataclasses import dataclass, field

from suite.contract import Step
from suite.store.record import Status


@dataclass(frozen=True)
class Waiting:
    """Another command trains the run; this one waits for it.

    Attributes:
        holder: the process that trains it, if known.
        host: the machine that process runs on, if it is another one.
    """

    holder: int | None = None
    host: str | None = None


@dataclass(frozen=True)
class News:
    """A message about the run that the user has to see.

    Attributes:
        text: one line.
    """

    text: str


@dataclass(frozen=True)
class Training:
    """The run is being trained.

    Attributes:
        step: how far it is.
    """

    step: Step


@dataclass(frozen=True)
class Ended:
    """The run has ended, and reported how.

    Attributes:
        status: how it ended.
        metrics: of a finished run.
        error: why it failed or is blocked.
        recorded: whether the store has a record of it.
    """

    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    recorded: bool = True


@dataclass(frozen=True)
class Died:
    """The process or job that executed the run is gone and did not report how it ended; sent by its launcher.

    Attributes:
        cause: one line.
    """

    cause: str


RunEvent = Waiting | Training | News | Ended | Died
