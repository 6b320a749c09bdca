"""One process of a training: `python loss_curve.py JOB FOUND` builds a pickled job, trains it, and tells.

With `--describe` it only builds it. The environment says which process of how many it is, as torchrun would.
"""

import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from suite.contract import Job, load


class Curve(Hook):
    """Keeps the losses of every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.steps.append({name: float(value) for name, value in outputs.items() if "loss" in name})


def main(job_file: Path, found_file: Path, trains: bool) -> None:
    torch.set_num_threads(1)
    job: Job = pickle.loads(job_file.read_bytes())
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    found: dict[str, Any] = {"protocol": dict(adapter.describe().settings)}
    if trains:
        curve = Curve()
        adapter.runner.register_hook(curve)
        adapter.fit()
        trained = b"".join(value.numpy().tobytes() for value in adapter.student.state_dict().values())
        found |= {"losses": curve.steps, "weights": hashlib.sha256(trained).hexdigest()}
    found_file.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--describe" not in sys.argv)
