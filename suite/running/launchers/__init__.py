"""The interface of launchers, which start runs; the engine handles runs through nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from suite.errors import SuiteError
from suite.running.events import RunEvent
from suite.running.request import RunRequest


class LaunchError(SuiteError):
    """A run could not be started; the message says why in one line. The other runs may continue."""


class Handle:
    """A run that was started. Each launcher has its own subclass, opaque to everything else."""


class Launcher(ABC):
    """Starts runs, reports how far they are, and ends them.

    Called in this order: `prepare` once; `adopt` or `start` for each run that may start, then `flush`,
    `wait`, `poll` and `cancel` as often as necessary; `close`.

    Attributes:
        device: `auto`, `cpu` or `cuda`, for the requests; settled by `prepare` if it can be known there.
        places: how many runs run in parallel; None for no limit.
        beside: how many runs share the cores of one machine.
        gives_way: whether a run that waits for another command may be cancelled, so that another can have its
            place; only if `Waiting` is never reported of a run that is being trained here.
        has_queue: whether runs wait for what they need in a queue, and continue there without the command
            that started them.
        listening: seconds without an event after which the engine polls again.
    """

    device: str = "auto"
    places: int | None = None
    beside: int = 1
    gives_way: bool = False
    has_queue: bool = False
    listening: float = 0.5

    @abstractmethod
    def prepare(self, adapters: Collection[str]) -> None:
        """Gets ready for the first run.

        Args:
            adapters: the adapters that the runs will load, as recipes name them.

        Raises:
            SuiteError: what was asked for is missing, such as a GPU.
        """

    def adopt(self, run_id: str) -> Handle | None:
        """Takes over a run that an earlier command has started here; None if there is none with that id."""
        return None

    @abstractmethod
    def start(self, request: RunRequest) -> Handle:
        """Starts a run whose request is already in its folder, or queues it for `flush`.

        Raises:
            LaunchError: it could not be started.
        """

    def flush(self) -> None:
        """Starts the runs that `start` has queued, if the launcher starts runs together.

        Raises:
            SuiteError: they cannot be started, for a reason that is not specific to one of them.
        """
        return

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Returns as soon as `poll` has an event of a run, or when the time is over."""

    @abstractmethod
    def poll(self, handle: Handle) -> Sequence[RunEvent]:
        """The events of a run since the last call.

        The last event of a run is `Ended`, or `Died` if it did not report how it ended; after that its handle
        is invalid.
        """

    @abstractmethod
    def cancel(self, handle: Handle) -> None:
        """Asks a run to end, without waiting for it; its resume point is kept."""

    @abstractmethod
    def close(self) -> None:
        """Releases what `prepare` and `start` acquired; kills cancelled runs that have not ended."""
