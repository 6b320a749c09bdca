"""Records the scalars of a training: losses, learning rate, time and memory, in about 200 lines per training.

The lines are part of the state of a training, like its weights: they are kept in the resume points, and a
training that is resumed continues with the lines up to that point. So no line is missing or occurs twice,
whenever a process was killed.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from suite.contract import MethodSeen, Scalars
from tasks.distillation.distiller import Distiller
from tasks.training.hooks import number_of
from tasks.training.runner import ResumingRunner

LINES = 200
"""Approximate number of lines of a training; one with fewer iterations has one line per iteration."""

TASK = "loss_task"
"""Name of the task's only loss next to those of a method; some tasks call it `loss`, like the total."""

_KEY = "scalars"
"""Key of the lines in a resume point."""


class ScalarsHook(Hook):
    """Records the scalars of a training (`suite.contract.Scalars`), and what is observed of its method.

    Iterations are thinned evenly: with ``every = ceil(iterations / LINES)``, a line ends at the first
    iteration, at every multiple of `every` and at the last, and holds means over the iterations since the
    previous line. Their positions depend only on the length of the training. Except for times and memory, the
    same run gives the same lines.

    Nothing is measured on test data: no profile evaluates while it trains, and nothing is chosen by a score.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        """Starts without lines."""
        self._lines: list[Scalars] = []
        self._since = _Window()
        self._every = 1
        self._whole = True
        self._distiller: Distiller | None = None
        self._clock = 0.0

    @property
    def lines(self) -> Sequence[Scalars]:
        """The lines from the first iteration on; empty after a resume point without any (older versions)."""
        return tuple(self._lines) if self._whole else ()

    @property
    def seen(self) -> MethodSeen | None:
        """What was observed of the method; None without one, or after a resume point without lines."""
        return self._distiller.seen.found if self._whole and self._distiller else None

    def before_train(self, runner: Runner) -> None:
        """Determines where lines end and at which iterations gradients are measured."""
        self._every = -(-runner.max_iters // LINES)
        self._distiller = _distiller_of(runner)
        if self._distiller:
            self._distiller.seen.look_at(runner.max_iters)

    def before_train_epoch(self, runner: Runner) -> None:
        """Restarts the clock, so that what happens between epochs is not counted."""
        self._clock = time.monotonic()

    def after_train_iter(
        self,
        runner: ResumingRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Adds an iteration; its learning rates have not been updated yet."""
        began, self._clock = self._clock, time.monotonic()
        methods = [f"loss_{name}" for name in self._distiller.losses] if self._distiller else []
        self._since.add(losses_of(outputs or {}, methods), self._clock - began)
        iteration = runner.iter + 1
        if iteration % self._every == 0 or iteration in (1, runner.max_iters):
            self._end_line(runner, iteration)

    def _end_line(self, runner: ResumingRunner, iteration: int) -> None:
        rates = runner.optim_wrapper.get_lr()
        self._lines.append(
            Scalars(
                iteration=iteration,
                epoch=None if runner.counts_iterations else runner.epoch + 1,
                learning_rate=_ten_digits(rates.get("base_lr", rates["lr"])[0]),
                memory_mib=round(_peak_memory(), 1),
                **self._since.means(),
            )
        )
        self._since = _Window()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Adds the lines to a resume point."""
        if self._whole:
            checkpoint[_KEY] = {
                "lines": [line.model_dump() for line in self._lines],
                "since": self._since.state(),
                "seen": self.seen.model_dump() if self.seen else None,
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Continues the lines of a resume point.

        Raises:
            Exception: of any kind, if they are not valid.
        """
        kept = checkpoint.get(_KEY)
        self._whole = kept is not None
        if kept is None:
            return
        self._lines = [Scalars.model_validate(line) for line in kept["lines"]]
        self._since = _Window(**kept["since"])
        if distiller := _distiller_of(runner):
            distiller.seen.restore(kept["seen"])


class _Window:
    """Accumulates sums over the iterations since the last line."""

    def __init__(
        self, steps: int = 0, seconds: float = 0.0, losses: Mapping[str, float] | None = None
    ) -> None:
        self._steps = steps
        self._seconds = seconds
        self._losses = dict(losses or {})

    def add(self, losses: Mapping[str, float], seconds: float) -> None:
        self._steps += 1
        self._seconds += seconds
        for name, value in losses.items():
            self._losses[name] = self._losses.get(name, 0.0) + value

    def state(self) -> dict[str, Any]:
        return {"steps": self._steps, "seconds": self._seconds, "losses": dict(self._losses)}

    def means(self) -> dict[str, Any]:
        """The fields of a line that are means over iterations."""
        losses = {name: _ten_digits(total / self._steps) for name, total in self._losses.items()}
        return {
            "loss": losses.pop("loss"),
            "losses": losses,
            "seconds_per_step": round(self._seconds / self._steps, 6),
        }


def _ten_digits(value: float) -> float:
    """Rounds to more digits than float32 has, which are short to write."""
    return float(f"{value:.10g}")


def losses_of(outputs: Mapping[str, Any], methods: Collection[str]) -> dict[str, float]:
    """The losses of one iteration: the total as `loss`, and all terms of the sum.

    mmengine's models return the total as `loss`. A task's only loss may have the same name and overwrite it:
    this is assumed if the outputs hold no other loss of the task. The total is then computed here.

    Args:
        outputs: what the model returned in the iteration.
        methods: the names in it that are losses of the method.
    """
    terms = {name: number_of(value) for name, value in outputs.items() if "loss" in name}
    total = terms.pop("loss")
    if terms.keys() <= set(methods):
        terms = {TASK: total, **terms}
        total = sum(terms.values())
    return {"loss": total, **terms}


def _distiller_of(runner: Runner) -> Distiller | None:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model if isinstance(model, Distiller) else None


def _peak_memory() -> float:
    """Peak memory in MiB: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
