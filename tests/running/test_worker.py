"""What forbids a run before it starts, or its weights to teach."""

import dataclasses
from pathlib import Path

import pytest

from suite.audit.dry_run import dry_run
from suite.contract import BlockedError
from suite.planning.plan import Run, make_plan
from suite.published.finding import find_claim
from suite.published.weights import find_weights
from suite.running.worker import _check_accuracy, _check_protocol, _published


def run_of(claim: str, arm: str, *overrides: str) -> Run:
    plan = make_plan([find_claim(claim)[1]], "paper", 1, overrides)
    return next(run for run in plan.runs.values() if run.arm == arm)


def test_a_released_teacher_has_to_score_what_its_publisher_says():
    run = run_of("mgd-retinanet-r50", "teacher")
    printed = float(find_weights("retinanet-x101").accuracy["box_AP"])
    _check_accuracy(run, {"box_AP": printed - 0.1})
    with pytest.raises(
        BlockedError, match=rf"retinanet-x101: the teacher's box_AP is {printed - 0.2:.2f}, not {printed:g}"
    ):
        _check_accuracy(run, {"box_AP": printed - 0.2})
    # Its students' devices change nothing of it.
    alone = run_of("mgd-retinanet-r50", "teacher", "resources.devices=1", "resources.batch_size=4")
    assert (alone.run_id, alone.recipe) == (run.run_id, run.recipe)
    declared = run_of("mgd-retinanet-r50", "teacher", "data.fingerprint=abc")
    _check_accuracy(declared, {"box_AP": 0.0})


def test_a_released_teacher_that_is_not_here_is_told_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SUITE_WEIGHTS", str(tmp_path))
    with pytest.raises(BlockedError, match=r"is not here.*weights fetch retinanet-x101"):
        _published("retinanet-x101")


@pytest.mark.train
def test_a_run_that_is_not_what_its_claim_says_is_blocked_before_its_first_step(tmp_path: Path):
    run = run_of("nkd-resnet18-nkd", "distilled")
    _check_protocol(run, dry_run(run.recipe, tmp_path / "log"))
    schedule = {"optim_wrapper": {"optimizer": {"lr": 0.2}}}
    wrong = run.recipe.model_copy(update={"schedule": schedule})
    protocol = dry_run(wrong, tmp_path / "log")
    with pytest.raises(
        BlockedError, match=r"not the published protocol: learning_rate is 0\.2, published 0\.1"
    ):
        _check_protocol(dataclasses.replace(run, recipe=wrong), protocol)
    embedded = wrong.model_copy(update={"comparable": False})
    _check_protocol(dataclasses.replace(run, recipe=embedded), protocol)
