"""Trains only the first steps of distilled runs, each with an untrained teacher.

The teacher has the weights that its own training starts from: drawn from its seed, they are the same every
night, and no teacher has to be trained before a loss can be checked. The same goes for the backbones that
teacher and student start from.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
"""The losses of each step, by name."""


@dataclass(frozen=True)
class FirstSteps:
    """A distilled run, and how many of its steps to train.

    Attributes:
        run: the run.
        needed: run id -> run, for those that would train its teacher and the backbones that both start from.
        steps: how many steps.
        data: folder under which the embedded data are built.
        device: `cpu` or `cuda`.
        threads: cores; the order in which threads sum shows in the last digits of a loss.
    """

    run: Run
    needed: Mapping[str, Run]
    steps: int
    data: Path
    device: str
    threads: int = 1


def losses_of(request: FirstSteps) -> Losses:
    """Trains the first steps in this process.

    Raises:
        BlockedError: the data are not the published ones, or the task does not report losses per step.
        Exception: of any kind, if the training breaks.
    """
    import torch

    torch.set_num_threads(request.threads)
    with tempfile.TemporaryDirectory() as folder:
        return _built(request, request.run, Path(folder)).first_losses(request.steps)


def needed_by(run: Run, runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs that a run needs, directly or not, by id.

    Args:
        run: the run.
        runs: the runs of its plan, by id.
    """
    found: dict[str, Run] = {}
    for run_id in run.needs:
        found |= needed_by(runs[run_id], runs) | {run_id: runs[run_id]}
    return found


def _built(request: FirstSteps, run: Run, folder: Path) -> Adapter:
    """The adapter of a run, built and ready for its first step."""
    weights = {run_id: _untrained(request, request.needed[run_id], folder) for run_id in run.needs}
    own = folder / run.run_id
    own.mkdir()
    job = Job(
        recipe=run.recipe,
        seed=run.seed,
        run_dir=own,
        data_dir=request.data,
        device=request.device,
        teacher_weights=weights.get(run.teacher or ""),
        start_weights=weights.get(run.start or ""),
    )
    adapter: Adapter = load(run.recipe.adapter)(job)
    adapter.fingerprint()
    adapter.build()
    return adapter


def _untrained(request: FirstSteps, run: Run, folder: Path) -> Path:
    """The file with the weights that a run starts from; written once."""
    file = folder / f"{run.run_id}.pth"
    if not file.exists():
        _built(request, run, folder).save(file)
    return file


def train_first_steps(
    requests: Iterable[FirstSteps], jobs: int, log: Path
) -> Iterator[tuple[FirstSteps, Losses | str]]:
    """Trains the first steps of several runs in parallel.

    If the caller stops iterating early, no further run starts; those being trained are completed.

    Args:
        requests: the runs.
        jobs: how many in parallel.
        log: file that takes what the processes print.

    Yields:
        Each request as it completes, with its losses or with the reason why there are none.

    Raises:
        SuiteError: one of the processes was killed.
    """
    # CUDA cannot be used after a fork, and forking a process with many threads is unsafe.
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
    """Redirects what this process prints, C code included, to a log, and ends it when its parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    file = append_to(log)
    for number in (1, 2):
        os.dup2(file.fileno(), number)


def _end_with_parent() -> None:
    # A parent that was killed does not close the queue that its children wait on.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
