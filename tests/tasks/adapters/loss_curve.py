"""One process of a training: `python loss_curve.py JOB CURVE` trains a pickled job, and writes its losses.

The environment says which process of how many it is, as torchrun would.
"""

import json
import pickle
import sys
from pathlib import Path

import torch
from mmengine.hooks import Hook

from suite.contract import Job, load


class Curve(Hook):
    """Keeps the losses of every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.steps.append({name: float(value) for name, value in outputs.items() if "loss" in name})


def main(job_file: Path, curve_file: Path) -> None:
    torch.set_num_threads(1)
    job: Job = pickle.loads(job_file.read_bytes())
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    curve = Curve()
    adapter.runner.register_hook(curve)
    adapter.fit()
    curve_file.write_text(json.dumps(curve.steps))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
