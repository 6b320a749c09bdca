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
written in seconds, so that one in fifteen minutes costs less than a hundredth."""

_AGREEMENT = 4
"""Processes that train together ask each other every so many iterations, in one small reduction."""


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

    So an epoch draws the same numbers whether the run reached it in one go or was resumed before it, and a
    state of the random generators has to be saved in the middle of an epoch only. That holds where images are
    loaded by the process that trains and epochs are counted. Loader processes, and a training that is counted
    in iterations, read the same images in the same order after they were resumed, and change them by numbers
    of their own, instead of those that they began with: drawn from the run's seed, the process, the loader
    process and the iteration.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        """Keeps the run's seed."""
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Seeds the loader processes of a resumed run by how far it is."""
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
    """Leaves resume points (`tasks.training.resume_points`), and stops where that is asked for.

    There is one after every epoch, and one in the middle of an epoch whenever the last is older than
    `LONGEST_LOSS`. A training that is counted in iterations leaves one a hundred times. All wait for the next
    step of the optimiser, so that no gradients are gathered that would have to be kept.
    """

    priority = "VERY_LOW"

    def __init__(self, stops: Callable[[], bool] = never) -> None:
        """Keeps whom to ask.

        Args:
            stops: whether to leave a resume point and stop; asked at every iteration.
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
        """Saves model, optimiser and schedule where a point is due in the middle of an epoch.

        Raises:
            OSError: names the file that could not be written; the resume points before it are untouched.
            StoppedError: it was told to stop, and the point is left.
        """
        self._look(runner)
        # At the end of an epoch there are no random states to keep.
        if not runner.ends_epoch:
            self._leave_if_due(runner, epoch_ended=False)

    def after_train_epoch(self, runner: ResumingRunner) -> None:
        """Saves the same at the end of an epoch.

        Raises:
            OSError: as `after_train_iter`.
            StoppedError: as `after_train_iter`.
        """
        if not runner.counts_iterations:
            self._is_due = True
            self._leave_if_due(runner, epoch_ended=True)

    def _look(self, runner: ResumingRunner) -> None:
        """Finds out whether a point is due, or the training is to stop; all processes find the same."""
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
            # Nobody ends while the point is being written.
            barrier()
            done = runner.iter + (not epoch_ended)
            raise StoppedError(f"stopped after {done} of {runner.max_iters} iterations")


class FiniteLossHook(Hook):
    """Stops a run whose loss is no longer a number, at the step where it happened."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Looks at the losses of the step.

        Raises:
            NonFiniteLossError: names the loss, the epoch and the iteration.
        """
        for name, value in (outputs or {}).items():
            if "loss" in name and not math.isfinite(found := number_of(value)):
                raise NonFiniteLossError(
                    f"{name} is {found} in epoch {runner.epoch + 1}, iteration {batch_idx + 1}; "
                    "lower the learning rate or the weight of the loss"
                )


class EnoughStepsError(Exception):
    """The steps that were asked for are made; ends a training that has more."""


class FirstStepsHook(Hook):
    """Keeps the losses of the first steps, and ends the training after them.

    Attributes:
        losses: of each step, by name.
    """

    priority = "VERY_HIGH"

    def __init__(self, steps: int) -> None:
        """Keeps how many steps are asked for."""
        self.steps = steps
        self.losses: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Takes down the losses of the step.

        Raises:
            EnoughStepsError: it was the last that was asked for.
        """
        self.losses.append(
            {name: number_of(value) for name, value in (outputs or {}).items() if "loss" in name}
        )
        if len(self.losses) == self.steps:
            raise EnoughStepsError


class ProgressHook(Hook):
    """Tells how far a run is, at most a few times a second.

    Attributes:
        resumed_iteration: iterations that were behind the run when it started; 0 for one that began anew.
    """

    def __init__(self, report: Callable[[Step], None]) -> None:
        """Keeps where to report to."""
        self.report = report
        self.resumed_iteration = 0
        self._last = 0.0

    def before_train(self, runner: Runner) -> None:
        """Notes where the run starts."""
        self.resumed_iteration = runner.iter

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Reports the share of the training that is done, and the loss."""
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
    """A logged value as a plain number; the total loss still carries its graph."""
    return float(value.detach() if isinstance(value, torch.Tensor) else value)
