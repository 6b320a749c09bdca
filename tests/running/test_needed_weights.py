"""Weights that a run needs are the requested ones, or the run is blocked."""

from pathlib import Path

import pytest

from suite.contract import BlockedError
from suite.planning.plan import Run, make_plan, plan_released
from suite.published.finding import find_claim
from suite.published.weights import find_weights
from suite.running.needed_weights import _published, check_accuracy, check_released
from suite.store.files import sha256_of
from suite.store.run_folders import RunFolder, lead_to


def run_of(claim: str, arm: str, *overrides: str) -> Run:
    plan = make_plan([find_claim(claim)[1]], "paper", 1, overrides)
    return next(run for run in plan.runs.values() if run.arm == arm)


def test_a_released_teacher_has_to_score_what_its_publisher_says():
    run = run_of("mgd-retinanet-r50", "teacher")
    printed = float(find_weights("retinanet-x101").accuracy["box_AP"])
    check_accuracy(run, {"box_AP": printed - 0.1})
    with pytest.raises(
        BlockedError, match=rf"retinanet-x101: the teacher's box_AP is {printed - 0.2:.2f}, not {printed:g}"
    ):
        check_accuracy(run, {"box_AP": printed - 0.2})
    # Its students' devices change nothing of it.
    alone = run_of("mgd-retinanet-r50", "teacher", "resources.devices=1", "resources.batch_size=4")
    assert (alone.run_id, alone.recipe) == (run.run_id, run.recipe)
    declared = run_of("mgd-retinanet-r50", "teacher", "data.fingerprint=abc")
    check_accuracy(declared, {"box_AP": 0.0})


def test_a_released_teacher_that_is_not_here_is_told_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path))
    with pytest.raises(BlockedError, match=r"is not here.*weights fetch retinanet-x101"):
        _published("retinanet-x101")


def test_a_released_teacher_that_is_another_file_than_its_name_says_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path))
    weights = find_weights("retinanet-x101")
    (tmp_path / weights.file_name).write_bytes(b"another network")
    with pytest.raises(
        BlockedError, match=rf"is not the published file: its SHA-256 does not begin with {weights.sha256}"
    ):
        _published("retinanet-x101")


def test_a_named_checkpoint_that_changes_after_it_was_named_is_not_scored(tmp_path: Path):
    named = tmp_path / "authors.pth"
    named.write_bytes(b"weights")
    (run,) = plan_released(find_claim("nkd-resnet18-nkd")[1], "smoke", sha256_of(named)).runs.values()
    folder = RunFolder(tmp_path / "work", run.run_id)
    lead_to(folder, named)
    assert check_released(run, folder) == {folder.weights: sha256_of(named)}
    named.write_bytes(b"others")
    with pytest.raises(
        BlockedError,
        match=rf"^{named} is gone or has changed since the command named it; run the command again",
    ):
        check_released(run, folder)
    named.unlink()
    with pytest.raises(BlockedError, match="is gone or has changed"):
        check_released(run, folder)
