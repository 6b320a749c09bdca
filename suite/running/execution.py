"""A run as one process executes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from suite.contract import ComposedRecipe, never
from suite.environment import host_facts
from suite.planning.plan import Run
from suite.running.events import News, RunEvent
from suite.running.ranks import ALONE, Rank
from suite.running.request import RunRequest
from suite.store.record import Provenance

Tell = Callable[[RunEvent], None]
"""Called with each event of a run."""


@dataclass(frozen=True)
class Execution:
    """A run as this process executes it.

    Attributes:
        run: what to train.
        records: the record store.
        work: folder of checkpoints and data (`suite.paths.work_dir`).
        device: `auto`, `cpu` or `cuda`.
        threads: cores that this run may use.
        provenance: what is known of code, packages and host.
        title: one line for the log: what is run, and by which command.
        slot: the slot that it has on this machine, if a launcher gave it one.
        stops: asked at every step whether the run is to leave a resume point and stop.
        rank: which of the processes that execute the run together this is.
        log_to: where else the training is logged.
        samples: for how many test images predictions are kept.
    """

    run: Run
    records: Path
    work: Path
    device: str
    threads: int
    provenance: Provenance
    title: str
    slot: str | None = None
    stops: Callable[[], bool] = never
    rank: Rank = ALONE
    log_to: str | None = None
    samples: int = 0

    @classmethod
    def of(
        cls,
        request: RunRequest,
        records: Path,
        work: Path,
        slot: str | None = None,
        stops: Callable[[], bool] = never,
        rank: Rank = ALONE,
    ) -> Execution:
        """The execution of a request in this process, with the cores, host and packages of this machine."""
        return cls(
            run=request.run,
            records=records,
            work=work,
            device=request.device,
            threads=threads_for(request.recipe, request.beside * rank.size),
            provenance=request.provenance_here,
            title=request.title,
            slot=slot,
            stops=stops,
            rank=rank,
            log_to=request.log_to,
            samples=request.samples,
        )


def threads_for(recipe: ComposedRecipe, beside: int) -> int:
    """The number of cores for a run.

    The order in which threads sum shows in the last digits of a result. So a run on embedded data always gets
    one core, whatever runs beside it: resumed with other `--jobs`, or repeated on a larger machine of the
    same kind, it has the same result.

    Args:
        recipe: of the run.
        beside: how many training processes share the cores of this machine.
    """
    if recipe.scale == "embedded":
        return 1
    return max(1, int(host_facts()["cores"]) // beside)


def announce(text: str, tell: Tell) -> None:
    """Prints a message about the run to its log and shows it to the user."""
    print(text)
    tell(News(text))
