"""mmengine's Runner with resume points that are read as data, instead of checkpoints that may run code."""

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
    """A resume point did not fit: it is set aside, but model and optimiser may have been partly changed."""


class ResumingRunner(Runner):
    """A Runner that leaves resume points and resumes from them.

    mmengine's own `resume` unpickles the file without restrictions, executes the config in it as Python, and
    only logs the keys that do not fit.
    """

    points: ResumePoints | None = None
    """Of this training; None if none are kept."""

    _has_loaded: bool

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Logs nothing about the environment: collecting it starts compilers and takes a second."""

    def get_hooks_info(self) -> str:
        """The hooks in the order of their priority, on one line; mmengine repeats them for every stage."""
        return ", ".join(type(hook).__name__ for hook in self.hooks)

    @property
    def counts_iterations(self) -> bool:
        """Whether the training is iteration-based and has no epochs."""
        return isinstance(self.train_loop, IterBasedTrainLoop)

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Builds the training loop of a config; an epoch-based one can resume in the middle of an epoch."""
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
        """During an iteration: whether it is the last of an epoch; false if there are no epochs."""
        return not self.counts_iterations and (self.iter + 1) % len(self.train_dataloader) == 0

    @property
    def has_stepped(self) -> bool:
        """After the backward pass of an iteration: whether the optimiser has made a step.

        If not, gradients are being accumulated.
        """
        stepped: bool = self.optim_wrapper.should_update()
        return stepped

    def leave_resume_point(self, epoch_ended: bool = False) -> None:
        """Writes a resume point: model, optimiser, schedule and log, and in mid-epoch the random generators.

        All processes that train together call it in the same iteration, after an optimiser step; one of them
        writes.

        Args:
            epoch_ended: whether it is called at the end of an epoch rather than of an iteration.

        Raises:
            OSError: see `ResumePoints.write`.
        """
        if self.points is None:
            return
        mid_epoch = not epoch_ended and not self.counts_iterations
        # Every process's own, in the order of their ranks.
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
        """Resumes from the newest valid resume point; does nothing if there is none.

        Raises:
            UnfitResumePointError: one had a valid seal and did not fit; build everything anew and try again.
        """
        if self._has_loaded or self.points is None:
            return
        # Testing calls this again, and has to use the weights at the end of the training.
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
        """Refuses: mmengine would unpickle the file without restrictions.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "weights are read by tasks.training.weights, and resume points by load_or_resume"
        )

    def _take(self, checkpoint: Any) -> None:
        """Loads a resume point into model, optimiser, schedule and log.

        Raises:
            Exception: of any kind, if something in it does not fit this training.
        """
        epoch, iteration = self._reached(checkpoint["meta"])
        random = self._random_at(iteration, checkpoint)
        # Hooks check whether the training is resumed or only starts from given weights.
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
        """The random state of this process in a resume point; None unless it is in the middle of an epoch.

        Raises:
            Exception: of any kind, if it is not a valid state, or is that of another number of processes.
        """
        if self.counts_iterations or iteration % len(self.train_dataloader) == 0:
            return None
        states = checkpoint["random"]
        if len(states) != self.world_size:
            raise ValueError(f"random states of {len(states)} processes, of {self.world_size}")
        state: dict[str, Any] = states[self.rank]
        # An invalid state fails here, and not once the training has begun.
        set_random_state(state)
        return state

    def _reached(self, meta: dict[str, int]) -> tuple[int, int]:
        """The number of completed epochs and iterations.

        Raises:
            ValueError: this training has no such point.
        """
        epoch, iteration = meta["epoch"], meta["iter"]
        expected = epoch if self.counts_iterations else iteration // len(self.train_dataloader)
        if not 0 < iteration <= self.max_iters or epoch != expected:
            raise ValueError(f"epoch {epoch} and iteration {iteration} of {self.max_iters}")
        return epoch, iteration

    @property
    def _network(self) -> nn.Module:
        """The model, without the wrapper that it has when several processes train together."""
        found: nn.Module = self.model.module if is_model_wrapper(self.model) else self.model
        return found

    @property
    def _schedulers(self) -> list[Any]:
        found: list[Any] = self.param_schedulers or []
        return found


def _state_of(scheduler: Any) -> dict[str, Any]:
    """The state of a scheduler without its functions, which stay those that it was built with."""
    return {name: value for name, value in scheduler.state_dict().items() if not callable(value)}


def _check_shapes(optimizer: torch.optim.Optimizer) -> None:
    """Checks that every tensor an optimiser keeps for a parameter has its shape, or is a scalar.

    Raises:
        ValueError: one has another shape.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(f"{name} of {tuple(value.shape)} for {tuple(parameter.shape)}")
