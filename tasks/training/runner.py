"""mmengine's Runner with resume points that are read as data, in place of checkpoints that may run code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn

from tasks.training.epoch_loop import ResumingEpochLoop
from tasks.training.random_state import random_state, set_random_state
from tasks.training.resume_points import ResumePoints


class UnfitResumePointError(RuntimeError):
    """A resume point was taken and did not fit; it is set aside, and what was built has parts of it."""


class ResumingRunner(Runner):
    """A Runner that leaves resume points and goes on from them.

    mmengine's own `resume` unpickles the file in full trust, executes the config in it as Python, and only
    logs the keys that do not fit.
    """

    points: ResumePoints | None = None
    """Of this training; None where nothing is trained."""

    _has_loaded: bool

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Leaves the log to what the run does: collecting starts compilers and takes a second."""

    def get_hooks_info(self) -> str:
        """The hooks in the order of their priority, in one line; mmengine repeats them for each occasion."""
        return ", ".join(type(hook).__name__ for hook in self.hooks)

    @property
    def counts_iterations(self) -> bool:
        """Whether the training is counted in iterations and has no epochs."""
        return isinstance(self.train_loop, IterBasedTrainLoop)

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Builds the loop of a config; one over epochs can begin in the middle of an epoch."""
        if not isinstance(loop, BaseLoop):
            loop = dict(loop)
            kind = loop.get("type")
            if kind in ("EpochBasedTrainLoop", EpochBasedTrainLoop) or loop.get("by_epoch"):
                loop.pop("by_epoch", None)
                loop["type"] = ResumingEpochLoop
        built: BaseLoop = super().build_train_loop(loop)
        return built

    @property
    def ends_epoch(self) -> bool:
        """Within an iteration: whether it is the last of an epoch; false where there are no epochs."""
        return not self.counts_iterations and (self.iter + 1) % len(self.train_dataloader) == 0

    @property
    def has_stepped(self) -> bool:
        """After the backward pass of an iteration: whether the optimiser has made a step with it.

        If not, gradients are gathered for the next one.
        """
        stepped: bool = self.optim_wrapper.should_update()
        return stepped

    def leave_resume_point(self, epoch_ended: bool = False) -> None:
        """Writes down model, optimiser, schedule and log, and in mid-epoch the random generators.

        All processes that train together call it in the same iteration, after a step of the optimiser; one of
        them writes.

        Args:
            epoch_ended: whether the hooks at the end of an epoch call, and not those of an iteration.

        Raises:
            OSError: see `ResumePoints.write`.
        """
        if self.points is None:
            return
        mid_epoch = not epoch_ended and not self.counts_iterations
        # Of every process its own, in the order of their ranks.
        random = all_gather_object(random_state()) if mid_epoch else []
        if self.rank:
            return
        checkpoint: dict[str, Any] = {
            # Hooks that call this come before the counters go up.
            "meta": {"epoch": self.epoch + epoch_ended, "iter": self.iter + (not epoch_ended)},
            "random": random,
            "state_dict": self._network.state_dict(),
            "optimizer": self.optim_wrapper.state_dict(),
            "param_schedulers": [_state_of(scheduler) for scheduler in self._schedulers],
            "log": {
                name: [torch.from_numpy(np.array(part, np.float64)) for part in history.data]
                for name, history in self.message_hub.log_scalars.items()
            },
        }
        # The hook of averaged weights adds them.
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        self.points.write(checkpoint)

    def load_or_resume(self) -> None:
        """Goes on from the newest resume point that is good; without one nothing happens.

        Raises:
            UnfitResumePointError: one was good by its seal and did not fit; build anew and call again.
        """
        if self._has_loaded or self.points is None:
            return
        # Testing asks again, and is about the weights that came out of the training.
        self._has_loaded = True
        for path, checkpoint in self.points.good():
            try:
                self._take(checkpoint)
            except (MemoryError, torch.OutOfMemoryError):
                raise
            except Exception as error:
                self.points.set_aside(path, f"does not fit ({type(error).__name__})")
                raise UnfitResumePointError(str(path)) from error
            self.logger.info(f"resumed epoch: {self.epoch}, iter: {self.iter}, from {path.name}")
            return

    def load_checkpoint(self, *_: Any, **__: Any) -> Any:
        """Refuses: mmengine would unpickle the file in full trust.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "weights are read by tasks.training.weights, and resume points by load_or_resume"
        )

    def _take(self, checkpoint: Any) -> None:
        """Takes over a resume point.

        Raises:
            Exception: of whatever kind, where something in it is not what this training has.
        """
        epoch, iteration = self._reached(checkpoint["meta"])
        random = self._random_at(iteration, checkpoint)
        # Hooks ask whether weights are gone on from, or only begun with.
        self._resume = True
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self._network.load_state_dict(checkpoint["state_dict"])
        self.optim_wrapper.load_state_dict(checkpoint["optimizer"])
        _check_shapes(self.optim_wrapper.optimizer)
        for scheduler, state in zip(self._schedulers, checkpoint["param_schedulers"], strict=True):
            scheduler.load_state_dict(state)
        for name, (values, counts) in checkpoint["log"].items():
            self.message_hub.log_scalars[name] = HistoryBuffer(values.numpy(), counts.numpy())
        if isinstance(self.train_loop, ResumingEpochLoop):
            self.train_loop.go_on(epoch, iteration, random)
        else:
            self.train_loop._epoch, self.train_loop._iter = epoch, iteration

    def _random_at(self, iteration: int, checkpoint: Any) -> dict[str, Any] | None:
        """The random state of this process, of a resume point in the middle of an epoch.

        Raises:
            Exception: of whatever kind, where it is none, or is of another number of processes.
        """
        if self.counts_iterations or iteration % len(self.train_dataloader) == 0:
            return None
        states = checkpoint["random"]
        if len(states) != self.world_size:
            raise ValueError(f"random states of {len(states)} processes, of {self.world_size}")
        state: dict[str, Any] = states[self.rank]
        # What is wrong with it shows now, and not when the training has begun.
        set_random_state(state)
        return state

    def _reached(self, meta: dict[str, int]) -> tuple[int, int]:
        """Epochs and iterations behind the training.

        Raises:
            ValueError: there is no such place in it.
        """
        epoch, iteration = meta["epoch"], meta["iter"]
        expected = epoch if self.counts_iterations else iteration // len(self.train_dataloader)
        if not 0 < iteration <= self.max_iters or epoch != expected:
            raise ValueError(f"epoch {epoch} and iteration {iteration} of {self.max_iters}")
        return epoch, iteration

    @property
    def _network(self) -> nn.Module:
        """The model, without what wraps it where several processes train together."""
        found: nn.Module = self.model.module if is_model_wrapper(self.model) else self.model
        return found

    @property
    def _schedulers(self) -> list[Any]:
        found: list[Any] = self.param_schedulers or []
        return found


def _state_of(scheduler: Any) -> dict[str, Any]:
    """What a scheduler has come to; functions that it works with are what it was made with, and stay."""
    return {name: value for name, value in scheduler.state_dict().items() if not callable(value)}


def _check_shapes(optimizer: torch.optim.Optimizer) -> None:
    """Makes sure that what an optimiser keeps of a parameter has its shape, or is one number.

    Raises:
        ValueError: it has another.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(f"{name} of {tuple(value.shape)} for {tuple(parameter.shape)}")
