"""Trains the first steps of distilled runs alone, each under a teacher that is not trained at all.

The teacher has the weights that its own training starts from: drawn from its seed, they are the same every
night, and no teacher has to be trained before a loss can be looked at.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from suite.contract import Adapter, Job, load
from suite.errors import SuiteError
from suite.planning.plan import Run
from suite.running.complaints import describe
from suite.store.plain_files import append_to

Losses = Sequence[dict[str, float]]
"""Of each step, its losses by name."""


@dataclass(frozen=True)
class FirstSteps:
    """A distilled run, and how much of it is asked for.

    Attributes:
        run: the run.
        teacher: the run that would train its teacher; None where it has none.
        steps: how many steps.
        data: folder under which the embedded data are built.
        device: `cpu` or `cuda`.
        threads: cores; the order in which threads add up shows in the last digits of a loss.
    """

    run: Run
    teacher: Run | None
    steps: int
    data: Path
    device: str
    threads: int = 1


def losses_of(request: FirstSteps) -> Losses:
    """Trains the first steps in this process.

    Raises:
        BlockedError: the data are not the published ones, or the task does not tell the losses of steps.
        Exception: of whatever kind, where the training breaks.
    """
    import torch

    torch.set_num_threads(request.threads)
    with tempfile.TemporaryDirectory() as folder:
        weights = None
        if request.teacher is not None:
            weights = Path(folder) / "teacher.pth"
            _built(request, request.teacher, Path(folder) / request.teacher.run_id).save(weights)
        return _built(request, request.run, Path(folder) / request.run.run_id, weights).first_losses(
            request.steps
        )


def _built(request: FirstSteps, run: Run, folder: Path, teacher: Path | None = None) -> Adapter:
    """An adapter before its first step."""
    folder.mkdir()
    job = Job(run.recipe, run.seed, folder, request.data, request.device, teacher_weights=teacher)
    adapter: Adapter = load(run.recipe.adapter)(job)
    adapter.fingerprint()
    adapter.build()
    return adapter


def train_first_steps(
    requests: Iterable[FirstSteps], jobs: int, log: Path
) -> Iterator[tuple[FirstSteps, Losses | str]]:
    """Trains the first steps of several runs, side by side.

    Ended before it is through, it begins nothing more; what is being trained comes to its end.

    Args:
        requests: the runs.
        jobs: how many side by side.
        log: takes what the processes print.

    Yields:
        As they are through, each request with its losses, or with why there are none.

    Raises:
        SuiteError: one of the processes was killed.
    """
    # CUDA cannot be used after a fork, and what has many threads is not forked well.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(log,)) as pool:
        asked = {pool.submit(_outcome, request): request for request in requests}
        try:
            for done in as_completed(asked):
                yield asked[done], done.result()
        except BrokenProcessPool:
            raise SuiteError(
                f"a process that trained first steps was killed (out of memory?); see {log}, and use fewer "
                "with --jobs"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(request: FirstSteps) -> Losses | str:
    try:
        return losses_of(request)
    except Exception as error:
        return describe(error, request.data)


def _begin(log: Path) -> None:
    """Sends what this process prints, C code included, to a log, and ends it when its parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    file = append_to(log)
    for number in (1, 2):
        os.dup2(file.fileno(), number)


def _end_with_parent() -> None:
    # Killed, it closes no queue that its children wait for.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
