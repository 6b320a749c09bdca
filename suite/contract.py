"""The contract between the engine and a task: build, describe, fit, evaluate, fingerprint."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Progress = Callable[[dict[str, Any]], None]
"""Takes what a run reports of itself: `epoch`, `epochs`, `loss`, ... for people to watch."""


class BlockedError(RuntimeError):
    """A run that must not or cannot start: no data, wrong data, a teacher that does not fit."""


def _tell_nobody(event: dict[str, Any]) -> None:
    """Takes progress to nowhere; a function of the module, so that a job can be handed to another process."""


@dataclass(frozen=True)
class Job:
    """What an adapter is asked to train.

    Attributes:
        recipe: the composed recipe (`suite.published.recipes.compose`).
        seed: seed of the run.
        run_dir: folder for the run's checkpoints and log.
        data_dir: folder under which data sets lie, or are built.
        device: `cpu` or `cuda`.
        teacher_weights: weights of the teacher, for a distilled run.
        launcher: `none` for one process, `pytorch` inside a process group of torchrun.
        progress: called as the run goes on.
    """

    recipe: dict[str, Any]
    seed: int
    run_dir: Path
    data_dir: Path
    device: str = "cpu"
    teacher_weights: Path | None = None
    launcher: str = "none"
    progress: Progress = _tell_nobody


class Adapter(ABC):
    """One task. An adapter is made for one job and used in the order of its methods."""

    def __init__(self, job: Job) -> None:
        """Keeps the job; nothing heavy happens before `build`."""
        self.job = job

    @abstractmethod
    def fingerprint(self) -> str:
        """Makes the data set ready and returns its fingerprint.

        Raises:
            BlockedError: the data set is not there, or is not the one the recipe names.
        """

    @abstractmethod
    def build(self) -> None:
        """Builds models, data, losses and schedule, ready for the first step.

        Raises:
            BlockedError: a tap names no module, or the teacher's weights do not fit.
        """

    @abstractmethod
    def build_released(self, checkpoint: Path) -> dict[str, Any]:
        """Builds the plain student and the test set alone, in place of `build`; `evaluate` may follow.

        Args:
            checkpoint: the student's weights, trained elsewhere; not trusted.

        Returns:
            What became of the keys of the checkpoint: how many were loaded and left out.

        Raises:
            BlockedError: the checkpoint does not fit key by key, or cannot be read without running code.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The effective protocol, read back from the objects that were built."""

    @abstractmethod
    def fit(self) -> dict[str, float]:
        """Trains, from the newest checkpoint if there is one.

        Returns:
            Seconds: `train`, and `seconds_per_step` where there was a step to make; `resumed_iteration` where
            an earlier attempt had come.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Scores the trained student on the test set.

        Returns:
            Percent by metric name (`top1`, `box_AP`, `mask_AP`, `mIoU`, ...).
        """

    def per_class(self) -> dict[str, dict[str, float]]:
        """After `evaluate`: metric (`IoU`, `AP`) -> class name -> percent, where the task has it."""
        return {}

    def skipped(self) -> dict[str, int]:
        """After `fit`: what is wrong with data that were left out -> how often."""
        return {}

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the student's weights alone, under the keys of the plain zoo model."""


def load(name: str) -> Any:
    """The object behind `package.module:name`, as recipes name adapters and data builders."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
