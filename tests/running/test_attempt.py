"""What forbids a run before it starts, or its weights to teach."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from suite.audit.dry_run import dry_run
from suite.contract import BlockedError, EffectiveProtocol
from suite.planning.plan import Run, make_plan
from suite.published.finding import find_claim
from suite.running.attempt import (
    Outcome,
    _check_protocol,
    _check_same_data,
    _check_start,
    _start_weights,
    _teacher_weights,
)
from suite.running.execution import Execution
from suite.running.recording import record_of
from suite.store.files import sha256_of
from suite.store.record import Provenance, TaughtBy
from suite.store.records import write_record
from suite.store.run_folders import RunFolder


@pytest.mark.train
def test_a_run_that_is_not_what_its_claim_says_is_blocked_before_its_first_step(tmp_path: Path):
    plan = make_plan([find_claim("nkd-resnet18-nkd")[1]], "paper", 1)
    run = next(run for run in plan.runs.values() if run.arm == "distilled")
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


def leave_scored_weights(execution: Execution, run: Run) -> None:
    """Leaves what a finished run that another one needs leaves: weights, and a record that scored them."""
    weights = RunFolder(execution.work, run.run_id).weights
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(range(256)))
    scored = Provenance(weights_sha256=sha256_of(weights))
    write_record(execution.records, record_of(run, "finished", scored, metrics={"top1": 16.0}))


@pytest.fixture
def distilled(tmp_path: Path) -> Execution:
    """A run whose teacher has been trained and scored."""
    plan = make_plan([find_claim("mgd-resnet18")[1]], "mini", 1)
    run = next(run for run in plan.runs.values() if run.arm == "distilled")
    execution = Execution(run, tmp_path / "records", tmp_path / "work", "cpu", 1, Provenance(), "a test")
    leave_scored_weights(execution, plan.runs[str(run.teacher)])
    return execution


def teacher_of(execution: Execution) -> Path:
    return RunFolder(execution.work, str(execution.run.teacher)).weights


def test_weights_that_were_scored_teach_and_are_told_by_their_hash(distilled: Execution):
    outcome = Outcome()
    weights = teacher_of(distilled)
    assert _teacher_weights(distilled, outcome) == {weights: sha256_of(weights)}
    taught_by = outcome.provenance["teacher"]
    assert taught_by == TaughtBy(run_id=str(distilled.run.teacher), weights_sha256=sha256_of(weights))


@pytest.mark.parametrize(
    "content",
    [bytes(256), bytes([1]) + bytes(range(1, 256)), bytes(range(256)) + b"\n", bytes(range(255))],
    ids=["times zero", "bit flipped", "longer", "shorter"],
)
def test_weights_that_nobody_has_scored_are_refused_by_name_with_what_to_do(distilled: Execution, content):
    teacher_of(distilled).write_bytes(content)
    with pytest.raises(
        BlockedError,
        match=rf"^{teacher_of(distilled)} of the teacher's run {distilled.run.teacher} is not the file "
        r"that its records scored \(SHA-256 \w{12}\.\.\.\); delete that file, and the same command trains",
    ):
        _teacher_weights(distilled, Outcome())


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, Path.touch, lambda path: path.symlink_to("gone"), lambda path: None]
)
def test_a_teacher_without_weights_is_not_waited_for(distilled: Execution, make):
    teacher_of(distilled).unlink()
    make(teacher_of(distilled))
    with pytest.raises(
        BlockedError, match=r"is missing or not a file of weights; delete what is there, and the"
    ):
        _teacher_weights(distilled, Outcome())


@pytest.fixture
def pretrained(tmp_path: Path) -> Execution:
    """A run that starts from a backbone which has been trained and scored."""
    plan = make_plan([find_claim("fgd-retinanet-r50-student")[1]], "smoke", 1)
    backbone, run = plan.runs.values()
    execution = Execution(run, tmp_path / "records", tmp_path / "work", "cpu", 1, Provenance(), "a test")
    leave_scored_weights(execution, backbone)
    return execution


def test_a_run_starts_from_weights_that_were_scored_and_its_record_tells_which(pretrained: Execution):
    outcome = Outcome()
    run_id = str(pretrained.run.start)
    weights = RunFolder(pretrained.work, run_id).weights
    assert _teacher_weights(pretrained, outcome) == {}
    assert _start_weights(pretrained, outcome) == {weights: sha256_of(weights)}
    assert outcome.provenance == {"start": TaughtBy(run_id=run_id, weights_sha256=sha256_of(weights))}
    record = outcome.record(pretrained)
    assert record.started_from == sha256_of(weights)
    assert record.taught_by is None


def test_a_run_does_not_start_from_weights_that_are_gone_or_that_nobody_has_scored(pretrained: Execution):
    run_id = str(pretrained.run.start)
    weights = RunFolder(pretrained.work, run_id).weights
    weights.write_bytes(b"others")
    with pytest.raises(
        BlockedError,
        match=rf"^{weights} of the backbone's run {run_id} is not the file that its records scored "
        r"\(SHA-256 \w{12}\.\.\.\); delete that file, and the same command trains the backbone again$",
    ):
        _start_weights(pretrained, Outcome())
    weights.unlink()
    with pytest.raises(
        BlockedError,
        match=rf"^{weights} of the backbone's run {run_id} is missing or not a file of weights; delete what "
        r"is there, and the same command trains the backbone again$",
    ):
        _start_weights(pretrained, Outcome())


def test_a_network_that_does_not_say_that_it_started_from_its_backbone_is_blocked(pretrained: Execution):
    sha256 = "a" * 64
    told = EffectiveProtocol({"initial_weights": {"backbone": {"from": "x", "sha256": sha256}}})
    _check_start(pretrained.run, told, [sha256])
    _check_start(pretrained.run, EffectiveProtocol({}), [])
    for protocol in (EffectiveProtocol({}), told.changed(initial_weights={"backbone": {"sha256": "b" * 64}})):
        with pytest.raises(
            BlockedError, match=f"has not started it from the backbone of run {pretrained.run.start}, or"
        ):
            _check_start(pretrained.run, protocol, [sha256])


class OnData:
    """What of an adapter is asked: the fingerprint that its data have by now."""

    def __init__(self, found: str | BlockedError) -> None:
        self.found = found

    def fingerprint(self) -> str:
        if isinstance(self.found, BlockedError):
            raise self.found
        return self.found


@pytest.mark.parametrize(
    ("found", "what"),
    [
        ("b" * 64, r"changed while the run trained \(fingerprint b{16} instead of a{16}\)"),
        (BlockedError("0/image.ppm is not as it was built"), r"0/image\.ppm is not as it was built"),
    ],
)
def test_data_that_change_while_a_run_trains_block_it_and_what_was_trained_is_dropped(
    found: str | BlockedError, what: str, tmp_path: Path
):
    folder = RunFolder(tmp_path, "run")
    folder.path.mkdir(parents=True)
    folder.resume.write_bytes(b"trained on other data")
    folder.resume_before.write_bytes(b"trained on them for less long")
    outcome = Outcome()
    outcome.provenance["data_fingerprint"] = "a" * 64
    same: Any = OnData("a" * 64)
    _check_same_data(folder, same, outcome)
    assert folder.resume.exists()
    other: Any = OnData(found)
    with pytest.raises(BlockedError, match=what):
        _check_same_data(folder, other, outcome)
    assert not folder.resume.exists()
    assert not folder.resume_before.exists()
