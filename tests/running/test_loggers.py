"""Logging a training elsewhere: asked for before anything runs, handed on, and no part of what a run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.planning.plan import make_plan
from suite.published.finding import find_claim
from suite.running import loggers
from suite.running.execution import Execution
from suite.running.request import RunRequest, read_request, write_request
from suite.store.record import Provenance
from suite.store.run_folders import RunFolder
from tests.cli.refusals import refusal_of

SELECTION = ("reproduce", "--claim", "nkd-resnet18-student", "--profile", "smoke")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders in which nothing has been written."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    return tmp_path


@pytest.mark.parametrize("name", loggers.PACKAGES)
def test_a_package_that_is_missing_is_told_in_one_line_before_anything_runs(folders, monkeypatch, name):
    monkeypatch.setitem(loggers.PACKAGES, name, f"{name}_that_is_nowhere")
    said = refusal_of([*SELECTION, "--log-to", name])
    assert said == (
        f"--log-to {name} needs the package {name}_that_is_nowhere, which is not installed: 'pip install "
        f"{name}_that_is_nowhere' into this environment, or leave the option out"
    )
    assert list(folders.iterdir()) == []


def test_a_backend_that_is_none_is_told_with_those_that_are(folders):
    assert refusal_of([*SELECTION, "--log-to", "tensorbord"]).startswith(
        "--log-to: unknown 'tensorbord': did you mean 'tensorboard'?"
    )


def test_the_request_hands_it_on_and_the_run_stays_the_same(tmp_path):
    (run,) = make_plan([find_claim("nkd-resnet18-student")[1]], "smoke", 1).runs.values()
    folder = RunFolder(tmp_path, run.run_id)
    for name in (None, "wandb"):
        write_request(folder, RunRequest.of(run, "cpu", 1, Provenance(command="a test"), log_to=name))
        found = read_request(folder)
        assert (found.log_to, found.run.run_id, found.run.identity) == (name, run.run_id, run.identity)
        assert Execution.of(found, tmp_path / "records", tmp_path).log_to == name
