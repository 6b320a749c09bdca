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
from mmengine.hooks import Hook
from mmengine.runner import Runner

from suite.contract import Step
from tasks.training.runner import ResumingRunner


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

    So an epoch draws the same numbers whether the run reached it in one go or was resumed before it,
    and no state of a random generator has to be saved. That holds where images are loaded by the process
    that trains and epochs are counted. Loader processes, and a training that is counted in iterations, go
    on with numbers of their own after they were resumed, instead of those that they began with.
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
    """Leaves a resume point after every epoch (`tasks.training.resume_points`).

    A training that is counted in iterations leaves one a hundred times. Gradients that were gathered for a
    step that was not made yet are not kept.
    """

    priority = "VERY_LOW"

    def after_train_epoch(self, runner: ResumingRunner) -> None:
        """Saves model, optimiser and schedule.

        Raises:
            OSError: names the file that could not be written; the resume points before it are untouched.
        """
        if not runner.counts_iterations:
            runner.leave_resume_point()

    def after_train_iter(
        self,
        runner: ResumingRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Saves the same, where there are no epochs.

        Raises:
            OSError: as `after_train_epoch`.
        """
        if runner.counts_iterations and self.every_n_train_iters(runner, max(1, runner.max_iters // 100)):
            runner.leave_resume_point()


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
            if "loss" in name and not math.isfinite(found := _number(value)):
                raise NonFiniteLossError(
                    f"{name} is {found} in epoch {runner.epoch + 1}, iteration {batch_idx + 1}; "
                    "lower the learning rate or the weight of the loss"
                )


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
                loss=_number((outputs or {}).get("loss", math.nan)),
                iteration=runner.iter + 1,
            )
        )


def _number(value: Any) -> float:
    """A logged value as a plain number; the total loss still carries its graph."""
    return float(value.detach() if isinstance(value, torch.Tensor) else value)
