"""The scalars of a training: losses, learning rate, time and memory, a few hundred lines however long it is.

The series of a training is as much of it as its weights: it is kept in the resume points, and a training that
goes on from one goes on with the series that belongs there. So nothing stands in it twice and nothing is
missing, whenever a process was killed.
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
"""A training has about as many lines, and one for each iteration where it has fewer."""

TASK = "loss_task"
"""What the task's only loss is called beside those of a method; some tasks call it `loss`, like the total."""

_KEY = "scalars"
"""Where the series is in a resume point."""


class ScalarsHook(Hook):
    """Keeps the scalars of a training (`suite.contract.Scalars`), and what is seen of its method.

    Iterations are thinned evenly: with ``every = ceil(iterations / LINES)``, a line ends at the first
    iteration, at every multiple of `every` and at the last, and holds means over the iterations since the
    line before it. Where the lines are follows from the length of the training alone. But for times and
    memory, the same run gives the same lines.

    Nothing is measured on test data: no profile evaluates while it trains, and nothing is chosen by a score.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        """Begins a series."""
        self._lines: list[Scalars] = []
        self._since = _Window()
        self._every = 1
        self._whole = True
        self._distiller: Distiller | None = None
        self._clock = 0.0

    @property
    def lines(self) -> Sequence[Scalars]:
        """The lines from the first iteration on; none where a resume point had none (older versions)."""
        return tuple(self._lines) if self._whole else ()

    @property
    def seen(self) -> MethodSeen | None:
        """What was seen of the method from the first iteration on; None without one, or as for `lines`."""
        return self._distiller.seen.found if self._whole and self._distiller else None

    def before_train(self, runner: Runner) -> None:
        """Lays out the lines and the iterations whose gradients are measured."""
        self._every = -(-runner.max_iters // LINES)
        self._distiller = _distiller_of(runner)
        if self._distiller:
            self._distiller.seen.look_at(runner.max_iters)

    def before_train_epoch(self, runner: Runner) -> None:
        """Leaves out of the time what happens between epochs."""
        self._clock = time.monotonic()

    def after_train_iter(
        self,
        runner: ResumingRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Takes in an iteration; learning rates have not moved on yet."""
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
        """Puts the series into a resume point."""
        if self._whole:
            checkpoint[_KEY] = {
                "lines": [line.model_dump() for line in self._lines],
                "since": self._since.state(),
                "seen": self.seen.model_dump() if self.seen else None,
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Goes on with the series of a resume point.

        Raises:
            Exception: of whatever kind, where it is none.
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
    """Sums over the iterations since the last line."""

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
        """The fields of a line that are means."""
        losses = {name: _ten_digits(total / self._steps) for name, total in self._losses.items()}
        return {
            "loss": losses.pop("loss"),
            "losses": losses,
            "seconds_per_step": round(self._seconds / self._steps, 6),
        }


def _ten_digits(value: float) -> float:
    """More than float32 has, and short to write."""
    return float(f"{value:.10g}")


def losses_of(outputs: Mapping[str, Any], methods: Collection[str]) -> dict[str, float]:
    """The losses of one iteration: the total as `loss`, and beside it all that it is the sum of.

    A model of mmengine gives its total as `loss`, over which a task's only loss may lie that has the same
    name: so it does where no other loss of the task is there.

    Args:
        outputs: what the model gave in the iteration.
        methods: the terms in it that are losses of the method.
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
    """MiB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
