"""Several processes train as one."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from suite.audit.compare import audit, mismatches
from suite.audit.dry_run import dry_run
from suite.contract import EffectiveProtocol, Job, Resources
from suite.paths import ROOT
from suite.planning.composing import compose
from suite.published.finding import find_claim
from suite.published.recipes import load_recipes
from tests.ports import free_ports
from tests.tasks import published_layouts
from tests.waiting import PATIENCE

SCRIPT = Path(__file__).with_name("loss_curve.py")


@pytest.fixture
def in_processes(tmp_path):
    """Trains or only builds a job in so many processes; returns what each of them has found."""

    def execute(job, processes, *options):
        job_file = tmp_path / f"{processes}.job"
        launcher = "pytorch" if processes > 1 else "none"
        folder = tmp_path / f"in-{processes}"
        folder.mkdir()
        job_file.write_bytes(pickle.dumps(dataclasses.replace(job, launcher=launcher, run_dir=folder)))
        (port,) = free_ports(1)
        curves = [tmp_path / f"{processes}-{rank}.json" for rank in range(processes)]
        running = []
        for rank, curve in enumerate(curves):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
            environment = {name: str(value) for name, value in place.items()}
            environment |= {"MASTER_ADDR": "localhost", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
            command = [sys.executable, str(SCRIPT), str(job_file), str(curve), *options]
            running.append(subprocess.Popen(command, env={**os.environ, **environment}))
        assert [process.wait(timeout=PATIENCE) for process in running] == [0] * processes
        return [json.loads(curve.read_text()) for curve in curves]

    return execute


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one_and_the_same_weights(
    make_job, trained_weights, in_processes
):
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
    job = dataclasses.replace(job, recipe=recipe)
    [one] = in_processes(job, 1)
    shared = recipe.model_copy(update={"resources": Resources(devices=2)})
    first, second = in_processes(dataclasses.replace(job, recipe=shared), 2)
    assert first["weights"] == second["weights"]
    # The batch is shared.
    same = [("devices", 2), ("batch_size", 4), ("global_batch", 8), ("accumulation", 1)]
    assert [(name, first["protocol"][name]) for name, _ in same] == same
    assert one["protocol"]["global_batch"] == 8
    alone, together = one["losses"], [first["losses"], second["losses"]]
    assert len(alone) == len(together[0]) == len(together[1]) == 4
    # It does learn: the curve is not a constant that any two trainings would share.
    assert abs(alone[-1]["loss_fgd"] - alone[0]["loss_fgd"]) > 1e-3 * alone[0]["loss_fgd"]
    for step, (whole, *halves) in enumerate(zip(alone, *together, strict=True)):
        for name, value in whole.items():
            mean = sum(half[name] for half in halves) / 2
            assert mean == pytest.approx(value, rel=2e-4), (step, name)


@pytest.mark.slow
def test_two_processes_are_the_two_devices_that_the_audit_holds_against_the_paper(tmp_path, in_processes):
    """The dry run speaks for all devices, and never had more than one process."""
    fingerprint = published_layouts.make("imagenet", tmp_path / "data", 64, 2)
    overrides = ("resources.devices=2", "resources.batch_size=64")
    recipe = compose(load_recipes()["resnet18"], "paper", (*overrides, f"data.fingerprint={fingerprint}"))
    job = Job(recipe=recipe, seed=0, run_dir=tmp_path / "run", data_dir=tmp_path / "data")
    found = EffectiveProtocol(in_processes(job, 2, "--describe")[0]["protocol"])
    assert (found.at("devices"), found.at("global_batch"), found.at("accumulation")) == (2, 256, 2)
    _, claim = find_claim("nkd-resnet18-student")
    differ = {entry.setting for entry in mismatches(audit(claim, "student", recipe, found))}
    dry = dry_run(compose(load_recipes()["resnet18"], "paper", overrides), tmp_path / "log")
    assert mismatches(audit(claim, "student", recipe, dry)) == []
    # The data set that stands in has fewer images, and what is counted in them follows.
    of_data = {"train_images", "test_images", "iterations", "updates", "learning_rates"}
    assert differ <= of_data
    settings = dry.settings.keys() - of_data
    assert {name: found.at(name) for name in settings} == json.loads(
        json.dumps({name: dry.at(name) for name in settings})
    )
