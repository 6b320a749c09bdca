"""What a second process saves: a distilled step of two against that of one, at the same global batch.

Run as ``python -m tests.benchmarks.two_processes``. Every process has one thread. Beside seconds it counts
processor time, which tells the same of a machine that others use: what a process waits for the other one is
not in it, but all that it computes, exchanges and copies is.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from torch.multiprocessing.spawn import spawn

from suite.contract import Job, load
from suite.paths import work_dir
from suite.planning.composing import compose
from suite.published.recipes import load_recipes

WARM_UP = 3
"""Steps that are not counted."""


class EnoughError(Exception):
    """There were as many steps as are timed."""


@dataclass
class Clock(Hook):
    """Takes the times between two steps."""

    steps: int

    def __post_init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        """Notes when a step ended; ends the training when there were enough."""
        self.seen.append((time.perf_counter(), time.process_time()))
        if len(self.seen) > self.steps + WARM_UP:
            raise EnoughError

    def medians(self) -> tuple[float, float]:
        """Seconds and processor seconds of a step."""
        seen = self.seen[WARM_UP:]
        differences = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(seen)]
        wall, processor = zip(*differences, strict=True)
        return statistics.median(wall), statistics.median(processor)


def one_process(rank: int, processes: int, port: int, name: str, steps: int, folder: Path) -> None:
    """Trains for a few steps as one of so many processes, and leaves its times."""
    torch.set_num_threads(1)
    job = job_of(name, processes, folder)
    if processes > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        os.environ.update({key: str(value) for key, value in place.items()}, MASTER_ADDR="localhost")
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    adapter.runner.points = None
    clock = Clock(steps)
    adapter.runner.register_hook(clock, priority="LOWEST")
    try:
        adapter.fit()
    except EnoughError:
        torch.save(clock.medians(), folder / f"{processes}-{rank}.pth")


def job_of(name: str, processes: int, folder: Path) -> Job:
    """The job of a recipe, at the size of embedded data."""
    overrides = (f"resources.devices={processes}",) if processes > 1 else ()
    recipe = compose(load_recipes()[name], "mini", overrides)
    return Job(
        recipe=recipe,
        seed=0,
        run_dir=folder,
        data_dir=work_dir() / "data",
        teacher_weights=folder / "teacher.pth",
        start_weights=folder / "start.pth",
        launcher="pytorch" if processes > 1 else "none",
    )


def main() -> None:
    """Prints the times of one and of two processes, and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipe", default="retinanet-r50-fgd-retinanet-x101", help="one with a teacher")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed (default: 20)")
    arguments = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        adapter = load(job_of(arguments.recipe, 1, folder).recipe.adapter)(
            job_of(arguments.recipe, 1, folder)
        )
        adapter.fingerprint()
        for model, name in ((adapter.job.recipe.student, "start"), (adapter.job.recipe.teacher, "teacher")):
            torch.save(adapter.network(model).state_dict(), folder / f"{name}.pth")
        times = {}
        for processes in (1, 2):
            with socket.socket() as probe:
                probe.bind(("localhost", 0))
                port = probe.getsockname()[1]
            spawn(one_process, (processes, port, arguments.recipe, arguments.steps, folder), nprocs=processes)
            found = [torch.load(folder / f"{processes}-{rank}.pth") for rank in range(processes)]
            # A step is over when the last process has made it.
            times[processes] = [max(values) for values in zip(*found, strict=True)]
    for what, one, two in zip(("seconds", "processor seconds"), times[1], times[2], strict=True):
        print(f"{what} a step: one process {one:.3f}, two processes {two:.3f} each, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
