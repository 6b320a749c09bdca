"""Several processes train as one."""

import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from suite.paths import ROOT
from suite.published.recipes import load_recipes

SCRIPT = Path(__file__).with_name("loss_curve.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def loss_curves(tmp_path):
    """Trains a job in so many processes; returns the losses of every process, step by step."""

    def train(job, processes):
        job_file = tmp_path / f"{processes}.job"
        launcher = "pytorch" if processes > 1 else "none"
        folder = tmp_path / f"in-{processes}"
        folder.mkdir()
        job_file.write_bytes(pickle.dumps(dataclasses.replace(job, launcher=launcher, run_dir=folder)))
        port = free_port()
        curves = [tmp_path / f"{processes}-{rank}.json" for rank in range(processes)]
        running = []
        for rank, curve in enumerate(curves):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
            environment = {name: str(value) for name, value in place.items()}
            environment |= {"MASTER_ADDR": "localhost", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
            command = [sys.executable, str(SCRIPT), str(job_file), str(curve)]
            running.append(subprocess.Popen(command, env={**os.environ, **environment}))
        assert [process.wait(timeout=300) for process in running] == [0] * processes
        return [json.loads(curve.read_text()) for curve in curves]

    return train


@pytest.mark.slow
def test_two_processes_with_half_the_batch_have_the_loss_curve_of_one(make_job, trained_weights, loss_curves):
    """FCOS and FGD: normalised over all processes, and nothing in it depends on the rest of the batch.

    Batch norm is in eval mode throughout; plain SGD, for Adam turns rounding errors of tiny gradients into
    whole steps.
    """
    recipe = load_recipes()["fcos-r50-fgd-fcos-r101"]
    job = make_job(
        recipe,
        "student.embedded.overrides.backbone.norm_eval=true",
        "data.train.indices=32",
        "data.train.filter_cfg.filter_empty_gt=false",
        teacher_weights=trained_weights("fcos-r101"),
    )
    recipe = job.recipe.model_copy(deep=True)
    recipe.schedule["optim_wrapper"]["optimizer"] = {"type": "SGD", "lr": 0.005}
    loader = recipe.data.overrides["train_dataloader"]
    job = dataclasses.replace(job, recipe=recipe)
    [alone] = loss_curves(job, 1)
    loader["batch_size"] //= 2
    together = loss_curves(job, 2)
    assert len(alone) == len(together[0]) == len(together[1]) == 4
    # It does learn: the curve is not a constant that any two trainings would share.
    assert abs(alone[-1]["loss_fgd"] - alone[0]["loss_fgd"]) > 1e-3 * alone[0]["loss_fgd"]
    for step, (whole, *halves) in enumerate(zip(alone, *together, strict=True)):
        for name, value in whole.items():
            mean = sum(half[name] for half in halves) / 2
            assert mean == pytest.approx(value, rel=2e-4), (step, name)
