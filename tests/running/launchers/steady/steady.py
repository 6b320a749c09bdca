"""The toy task with resume points: it leaves one after every epoch, stops when told to, and can be held.

A test copies this file into a copy of the paper folder ``toy``.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from suite.catalogue import import_file
from suite.contract import Step, StoppedError

Toy: Any = import_file("toy/adapter.py").RegressionAdapter

HELD_AFTER = 3
"""From this epoch on, a training waits as long as there is a file ``hold`` in the work folder.

One with a file ``deaf`` in its own does not hear that it is to stop, as in a long evaluation.
"""


class SteadyAdapter(Toy):
    """Trains as the toy does, and goes on from where it was stopped."""

    def fit(self) -> dict[str, float]:
        """Trains epoch by epoch."""
        schedule = self.job.recipe.schedule
        order = torch.Generator().manual_seed(self.job.seed)
        features, target = self._train
        began = self._resume(order)
        for epoch in range(began, schedule["epochs"]):
            for rows in torch.randperm(len(target), generator=order).split(schedule["batch_size"]):
                loss = self._loss(features[rows], target[rows])
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
            self._leave_resume_point(epoch + 1, order)
            share = (epoch + 1) / schedule["epochs"]
            self.job.progress(Step(share, epoch + 1, schedule["epochs"], float(loss.detach())))
            self._hold(epoch + 1)
        return {"train": 1.0, "seconds_per_step": 0.01}

    def _hold(self, epoch: int) -> None:
        held = self.job.run_dir.parent.parent / "hold"
        deaf = self.job.run_dir / "deaf"
        while True:
            if self.job.stops() and not deaf.exists():
                raise StoppedError(f"stopped after epoch {epoch}")
            if epoch < HELD_AFTER or not held.exists():
                return
            time.sleep(0.2)

    def _leave_resume_point(self, epoch: int, order: torch.Generator) -> None:
        point = self.job.run_dir / "resume.pth"
        aside = point.with_suffix(".new")
        state = {"student": self._student.state_dict(), "optimizer": self._optimizer.state_dict()}
        torch.save({**state, "order": order.get_state(), "epoch": epoch}, aside)
        aside.replace(point)

    def _resume(self, order: torch.Generator) -> int:
        point = self.job.run_dir / "resume.pth"
        if not point.exists():
            return 0
        state = torch.load(point, weights_only=True)
        self._student.load_state_dict(state["student"])
        self._optimizer.load_state_dict(state["optimizer"])
        order.set_state(state["order"])
        print(f"resumed after epoch {state['epoch']}", flush=True)
        return int(state["epoch"])
