"""Hooks of the training loop: seeds, resume points, finite losses, progress and timing."""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner

from suite.contract import Step, StoppedError, never
from tasks.training.runner import ResumingRunner

LONGEST_LOSS = 15 * 60
"""Seconds of training that a killed run may lose. An epoch of the papers takes up to hours; a resume point is
written in seconds, so that one per fifteen minutes costs less than one percent."""

_AGREEMENT = 4
"""Every so many iterations, processes that train together agree whether to stop, in one small reduction."""


class NonFiniteLossError(RuntimeError):
    """A loss became infinite or not a number."""


class NonFiniteWeightsError(RuntimeError):
    """Weights became infinite or not a number."""


def seed_everything(*parts: int) -> None:
    """Seeds Python, NumPy and PyTorch (all devices) from a few integers."""
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class EpochSeedHook(Hook):
    """Seeds every epoch from the run's seed and the epoch's number.

    So an epoch draws the same numbers whether the run reached it in one go or was resumed before it, and the
    state of the random generators has to be saved only in the middle of an epoch. That holds if the training
    process loads the images itself and the training is epoch-based. After a resume, loader processes and
    iteration-based trainings read the same images in the same order, but augment them with other random
    numbers than an uninterrupted run: seeded by the run's seed, the process, the loader process and the
    iteration.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        """Sets the run's seed."""
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Seeds the loader processes of a resumed run by the iteration that it has reached."""
        loader = runner.train_dataloader
        if runner.iter and loader.num_workers:
            loader.worker_init_fn = functools.partial(_seed_worker, self.seed, runner.rank, runner.iter)

    def before_train_epoch(self, runner: ResumingRunner) -> None:
        """Seeds all generators."""
        # Processes that train together draw different numbers; a process alone is rank 0.
        parts = [runner.epoch + 1, *([runner.rank] if runner.rank else [])]
        if runner.counts_iterations and runner.iter:
            parts = [runner.epoch + 1, runner.rank, runner.iter]
        seed_everything(self.seed, *parts)


def _seed_worker(seed: int, rank: int, iteration: int, worker: int) -> None:
    seed_everything(seed, rank, iteration, worker)


class ResumePointHook(Hook):
    """Leaves resume points (`tasks.training.resume_points`), and stops the training on request.

    There is one after every epoch, and one in the middle of an epoch whenever the last is older than
    `LONGEST_LOSS`. An iteration-based training leaves a hundred of them. Each waits for the next optimiser
    step, so that there are no accumulated gradients to be saved.
    """

    priority = "VERY_LOW"

    def __init__(self, stops: Callable[[], bool] = never) -> None:
        """Sets what decides whether to stop.

        Args:
            stops: whether to leave a resume point and stop; called at every iteration, or at every fourth if
                several processes train together.
        """
        self._asks = stops
        self._stops = self._is_due = False
        self._left = time.monotonic()

    def after_train_iter(
        self,
        runner: ResumingRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Leaves a resume point in the middle of an epoch, if one is due.

        Raises:
            OSError: names the file that could not be written; earlier resume points are untouched.
            StoppedError: the training was told to stop, and has left the point.
        """
        self._look(runner)
        # At the end of an epoch there are no random states to keep.
        if not runner.ends_epoch:
            self._leave_if_due(runner, epoch_ended=False)

    def after_train_epoch(self, runner: ResumingRunner) -> None:
        """Leaves a resume point at the end of an epoch.

        Raises:
            OSError: as `after_train_iter`.
            StoppedError: as `after_train_iter`.
        """
        if not runner.counts_iterations:
            self._is_due = True
            self._leave_if_due(runner, epoch_ended=True)

    def _look(self, runner: ResumingRunner) -> None:
        """Determines whether a point is due or the training has to stop; all processes agree on it."""
        if runner.counts_iterations and self.every_n_train_iters(runner, max(1, runner.max_iters // 100)):
            self._is_due = True
        if self.every_n_train_iters(runner, _AGREEMENT if runner.world_size > 1 else 1):
            is_late = not runner.counts_iterations and time.monotonic() - self._left > LONGEST_LOSS
            wishes = torch.tensor([self._asks(), is_late], dtype=torch.uint8)
            all_reduce(wishes, "max")
            stops, is_late = wishes.bool().tolist()
            self._stops |= stops
            self._is_due |= is_late

    def _leave_if_due(self, runner: ResumingRunner, epoch_ended: bool) -> None:
        if not (self._is_due or self._stops) or not runner.has_stepped:
            return
        runner.leave_resume_point(epoch_ended)
        self._is_due, self._left = False, time.monotonic()
        if self._stops:
            # No process exits while the point is being written.
            barrier()
            done = runner.iter + (not epoch_ended)
            raise StoppedError(f"stopped after {done} of {runner.max_iters} iterations")


class FiniteLossHook(Hook):
    """Stops a run at the step where a loss becomes NaN or infinite."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Checks the losses of the step.

        Raises:
            NonFiniteLossError: one is not finite; names the loss, the epoch and the iteration.
        """
        for name, value in (outputs or {}).items():
            if "loss" in name and not math.isfinite(found := number_of(value)):
                raise NonFiniteLossError(
                    f"{name} is {found} in epoch {runner.epoch + 1}, iteration {batch_idx + 1}; "
                    "lower the learning rate or the weight of the loss"
                )


class EnoughStepsError(Exception):
    """The requested steps are done; ends a training that has more."""


class FirstStepsHook(Hook):
    """Records the losses of the first steps, and ends the training after them.

    Attributes:
        losses: of each step, by name.
    """

    priority = "VERY_HIGH"

    def __init__(self, steps: int) -> None:
        """Sets the number of steps."""
        self.steps = steps
        self.losses: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Records the losses of the step.

        Raises:
            EnoughStepsError: it was the last requested step.
        """
        self.losses.append(
            {name: number_of(value) for name, value in (outputs or {}).items() if "loss" in name}
        )
        if len(self.losses) == self.steps:
            raise EnoughStepsError


class ProgressHook(Hook):
    """Reports the progress of a run, at most a few times per second.

    Attributes:
        resumed_iteration: completed iterations when this process started; 0 for a run that was not resumed.
    """

    def __init__(self, report: Callable[[Step], None]) -> None:
        """Sets the function that receives the reports."""
        self.report = report
        self.resumed_iteration = 0
        self._last = 0.0

    def before_train(self, runner: Runner) -> None:
        """Records the iteration at which the run starts."""
        self.resumed_iteration = runner.iter

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Reports the completed share of the training, and the loss."""
        now = time.monotonic()
        if now - self._last < 0.3 and runner.iter + 1 < runner.max_iters:
            return
        self._last = now
        self.report(
            Step(
                done=(runner.iter + 1) / runner.max_iters,
                epoch=runner.epoch + 1,
                epochs=runner.max_epochs,
                loss=number_of((outputs or {}).get("loss", math.nan)),
                iteration=runner.iter + 1,
            )
        )


def number_of(value: Any) -> float:
    """Converts a logged value to a plain number; the total loss still carries its graph."""
    return float(value.detach() if isinstance(value, torch.Tensor) else value)
