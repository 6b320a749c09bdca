"""First steps in processes of their own: what breaks is told, and a process that was killed too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.paths import ROOT
from suite.planning.plan import make_plan
from suite.published.finding import select
from suite.running import first_steps
from suite.running.first_steps import FirstSteps, needed_by, train_first_steps
from tests.waiting import wait_until


@pytest.fixture
def request_of(tmp_path):
    """The first steps of a run without a teacher."""
    claims = [claim for _, claim in select(claims=["nkd-resnet18-tf-nkd"])]
    runs = make_plan(claims, "mini", 1).runs.values()
    run = next(run for run in runs if run.arm == "distilled")
    return FirstSteps(run, {}, 3, tmp_path / "data", "cpu")


def test_what_a_run_needs_is_its_teacher_and_the_backbones_that_both_start_from():
    claims = [claim for _, claim in select(claims=["mgd-pspnet-r18"])]
    runs = make_plan(claims, "mini", 1).runs
    distilled = next(run for run in runs.values() if run.arm == "distilled")
    needed = needed_by(distilled, runs)
    assert {run.label for run in needed.values()} == {
        *("resnet18-v1c, seed 0", "resnet101-v1c, seed 0", "pspnet-r101, seed 0"),
    }
    assert needed.keys() == runs.keys() - {
        run.run_id for run in runs.values() if run.arm in ("student", "distilled")
    }


def killed(request):
    os.kill(os.getpid(), signal.SIGKILL)


def printing(request):
    print("said by", request.run.run_id, flush=True)
    return [{"loss": 1.0}]


def test_a_killed_process_is_one_error(request_of, tmp_path, monkeypatch):
    monkeypatch.setattr(first_steps, "_outcome", killed)
    with pytest.raises(SuiteError, match=r"was killed \(out of memory\?\); see .*log, and use fewer"):
        list(train_first_steps([request_of], 1, tmp_path / "log"))


def test_what_a_process_prints_goes_to_the_log(request_of, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(first_steps, "_outcome", printing)
    assert list(train_first_steps([request_of], 1, tmp_path / "log")) == [(request_of, [{"loss": 1.0}])]
    assert f"said by {request_of.run.run_id}" in (tmp_path / "log").read_text()
    assert capfd.readouterr().out == ""


def sleeping(request):
    print("asleep", os.getpid(), flush=True)
    time.sleep(600)


def run_a_sleeping_one(log):
    first_steps._outcome = sleeping
    nothing: Any = None
    list(train_first_steps([nothing], 1, Path(log)))


def test_a_process_ends_with_a_parent_that_was_killed(tmp_path):
    log = tmp_path / "log"
    call = f"from tests.running.test_first_steps import run_a_sleeping_one as run; run({str(log)!r})"
    parent = subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, env={**os.environ, "PYTHONPATH": "."})
    try:
        wait_until(lambda: log.exists() and "asleep" in log.read_text())
    finally:
        parent.kill()
        parent.wait()
    child = int(log.read_text().split()[1])
    wait_until(lambda: not is_running(child))


def is_running(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_what_breaks_in_a_training_is_its_outcome_in_one_line(request_of, monkeypatch):
    monkeypatch.setattr(first_steps, "losses_of", broken)
    assert first_steps._outcome(request_of) == "ValueError: no such loss"


def broken(request):
    raise ValueError("no such\nloss")
