"""What starts runs and knows where they live; the engine knows no more of a run than what is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from suite.errors import SuiteError
from suite.running.events import RunEvent
from suite.running.request import RunRequest


class LaunchError(SuiteError):
    """A run could not be started; says why in one line. The others may go on."""


class Handle:
    """A run that was started. Every launcher has its own kind, which means nothing to others."""


class Launcher(ABC):
    """Starts runs, tells how far they are, and ends them.

    Called in this order: `prepare` once; `adopt` or `start` for each run that may start, then `flush`,
    `wait`, `poll` and `cancel` as often as need be; `close`.

    Attributes:
        device: `auto`, `cpu` or `cuda`, for the requests; settled by `prepare` where that can be known.
        places: how many runs go side by side; None: as many as may.
        beside: how many runs share the cores of one machine.
        has_queue: whether runs wait for what they need in a queue of its own, and go on there without
            the command that started them.
        listening: seconds without news after which the engine looks again.
    """

    device: str = "auto"
    places: int | None = None
    beside: int = 1
    has_queue: bool = False
    listening: float = 0.5

    @abstractmethod
    def prepare(self, adapters: Collection[str]) -> None:
        """Gets ready for the first run.

        Args:
            adapters: what the runs will load, as recipes name it.

        Raises:
            SuiteError: what was asked for is not there, such as a GPU.
        """

    def adopt(self, run_id: str) -> Handle | None:
        """Takes over a run that an earlier command has started here; None where there is none of that id."""
        return None

    @abstractmethod
    def start(self, request: RunRequest) -> Handle:
        """Starts a run whose request is already in its folder, or queues it for `flush`.

        Raises:
            LaunchError: it could not be started.
        """

    def flush(self) -> None:
        """Starts what `start` has taken, where runs are started together.

        Raises:
            SuiteError: they cannot be, for a reason that is none of theirs.
        """
        return

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Returns as soon as `poll` has something to tell of a run, or when the time is over."""

    @abstractmethod
    def poll(self, handle: Handle) -> Sequence[RunEvent]:
        """What has become known of a run since the last call.

        The last event of a run is `Ended`, or `Died` where it ended without a word; then its handle is spent.
        """

    @abstractmethod
    def cancel(self, handle: Handle) -> None:
        """Asks a run to end, and does not wait for it; what it has trained so far stays."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what `prepare` and `start` have taken; ends what was cancelled and did not end."""
