"""What becomes known of a run while it is executed."""

from __future__ import annotations

from dataclasses import dataclass, field

from suite.contract import Step
from suite.store.records import Status


@dataclass(frozen=True)
class Waiting:
    """Another command trains the run; this one waits for it.

    Attributes:
        holder: the process that trains it, where that is known.
        host: the machine that it runs on, where that is another one.
    """

    holder: int | None = None
    host: str | None = None


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


@dataclass(frozen=True)
class Died:
    """Whatever executed the run is gone without a word; its launcher says so.

    Attributes:
        cause: one line.
    """

    cause: str


RunEvent = Waiting | Training | News | Ended | Died
