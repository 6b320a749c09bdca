"""What a worker tells the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from suite.contract import Step
from suite.store.records import Status


@dataclass(frozen=True)
class Waiting:
    """Another command trains the run; this one waits for it.

    Attributes:
        holder: the process that trains it, where the system tells.
    """

    holder: int | None = None


@dataclass(frozen=True)
class News:
    """Something about the run that the user has to see.

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
    """The run has come to its end.

    Attributes:
        status: how it ended.
        metrics: of a finished run.
        error: why it failed or is blocked.
        recorded: whether the store has it.
    """

    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    recorded: bool = True


RunEvent = Waiting | Training | News | Ended
