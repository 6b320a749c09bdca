"""The engine: isolation, resuming and sharing, shown with real processes that are really killed."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from suite.paths import ROOT
from suite.planning.plan import Run, make_plan
from suite.published.finding import find_claim
from suite.running.events import Ended
from suite.running.recording import record_of
from suite.running.request import RunRequest
from suite.running.worker import execute
from suite.store.ownership import owned
from suite.store.record import Provenance
from suite.store.records import write_record
from suite.store.run_folders import RunFolder
from suite.store.samples import read_samples
from tests.conftest import SMALL, CommandLine
from tests.waiting import PATIENCE, wait_until

MGD = ("reproduce", "--claim", "mgd-resnet18", *SMALL)


def run_of(suite: CommandLine, arm: str) -> str:
    """Run id of an arm of the undisturbed training."""
    return next(record.run_id for record in suite.records.values() if record.arm == arm)


def forget(suite: CommandLine, run_id: str) -> None:
    """Makes a run one that was never started."""
    shutil.rmtree(suite.run_folder(run_id).path)
    for path in (suite.folder / "results" / "records").glob(f"{run_id}-*"):
        path.unlink()


def series(suite: CommandLine, run_id: str) -> list[dict[str, Any]]:
    """The scalars of a run without those that differ from one execution to the next."""
    times = {"seconds_per_step", "memory_mib"}
    return [line.model_dump(exclude=times) for line in suite.scalars(f"{run_id}-01")]


def assert_same_run(one: CommandLine, other: CommandLine, run_id: str) -> None:
    """The same metrics and scalars, digit by digit, and the same weights, bit by bit."""
    record, expected_record = one.records[f"{run_id}-01"], other.records[f"{run_id}-01"]
    assert record.metrics == expected_record.metrics
    assert record.distillation == expected_record.distillation
    assert series(one, run_id) == series(other, run_id)
    weights, expected = one.weights(run_id), other.weights(run_id)
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[key], expected[key]) for key in weights)


def kill_all(suite: CommandLine, process: subprocess.Popen[str]) -> None:
    """As a power cut does: engine, server and workers at one time."""
    os.killpg(process.pid, signal.SIGKILL)
    for worker in suite.running():
        os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def kill_engine(suite: CommandLine, process: subprocess.Popen[str]) -> None:
    """As the system does when memory runs out: the engine alone."""
    assert suite.running()
    process.kill()
    process.communicate(timeout=PATIENCE)


def interrupt(suite: CommandLine, process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does: the whole process group."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    said = [line for line in err.splitlines() if not line.startswith(("1 runs:", "3 runs:"))]
    assert said == ["suite: interrupted; the same command resumes where this one stopped"]
    assert "Traceback" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("disturb", "arm"),
    [(kill_all, "student"), (kill_all, "distilled"), (kill_engine, "distilled"), (interrupt, "student")],
)
def test_a_disturbed_run_goes_on_and_ends_like_an_undisturbed_one(
    undisturbed, copy_of_undisturbed, disturb, arm
):
    suite = copy_of_undisturbed
    run_id = run_of(undisturbed, arm)
    forget(suite, run_id)
    others = suite.record_bytes
    folder = suite.run_folder(run_id)

    process = suite.start(*MGD)
    wait_until(folder.resume.exists)
    disturb(suite, process)
    # Nothing goes on without its engine.
    wait_until(lambda: not suite.running() and not folder.owner())
    assert not folder.weights.exists()
    assert suite.record_bytes == others

    # With other neighbours than before: a number must not depend on what runs beside it.
    done = suite(*MGD, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "resumed epoch:" in folder.log.read_text()
    assert suite.record_bytes | others == suite.record_bytes
    assert sorted(suite.records) == sorted(undisturbed.records)
    assert_same_run(suite, undisturbed, run_id)


@pytest.mark.slow
def test_every_training_keeps_its_scalars_beside_its_record(undisturbed):
    for name, record in undisturbed.records.items():
        lines = undisturbed.scalars(name)
        made = record.protocol["iterations"]
        assert [line.iteration for line in lines] == list(range(1, made + 1))
        assert [line.epoch for line in lines] == [epoch for epoch in (1, 2, 3, 4) for _ in range(made // 4)]
        terms = {"loss_task", "loss_mgd"} if record.arm == "distilled" else {"loss_task"}
        for line in lines:
            assert line.losses.keys() == terms
            assert line.loss == pytest.approx(sum(line.losses.values()), rel=1e-8)
            assert line.seconds_per_step > 0 < line.memory_mib
        assert lines[0].learning_rate > lines[-1].learning_rate


@pytest.mark.slow
def test_every_run_keeps_its_predictions_for_the_same_images_where_that_was_asked_for(undisturbed):
    folder = undisturbed.folder / "results" / "records"
    kept = {record.arm: read_samples(folder, record) for record in undisturbed.records.values()}
    assert set(kept) == {"teacher", "student", "distilled"}
    files = {tuple(sample.file for sample in samples) for samples in kept.values()}
    assert [len(names) for names in files] == [2]
    scores = [sample.classes for samples in kept.values() for sample in samples]
    assert len({repr(classes) for classes in scores}) == len(scores)


@pytest.mark.slow
def test_a_distilled_run_has_on_record_that_its_method_acted(undisturbed):
    records = undisturbed.records
    by_arm = {record.arm: record for record in records.values()}
    assert by_arm["teacher"].distillation is None
    assert by_arm["student"].distillation is None
    found = by_arm["distilled"].distillation
    assert found is not None
    assert found.faults == []
    made = by_arm["distilled"].protocol["iterations"]
    assert found.fired == {"student.feature": made, "teacher.feature": made}
    assert found.steps == made
    assert all(0 < share < 1 for share in found.shares["loss_mgd"])
    assert [gradient.iteration for gradient in found.gradients] == [1, made // 2 + 1, made]
    assert all(gradient.method > 0 < gradient.task for gradient in found.gradients)
    assert found.teacher == by_arm["teacher"].metrics


@pytest.mark.slow
def test_the_log_of_a_run_is_about_its_training(undisturbed):
    for record in undisturbed.records.values():
        lines = undisturbed.run_folder(record.run_id).log.read_text(encoding="utf-8").splitlines()
        trained = next(number for number, line in enumerate(lines) if "Epoch(train) [1]" in line)
        assert trained < 20
        assert not any("init_cfg" in line or "torch.Size(" in line for line in lines)
        assert any("WARNING" in line for line in lines)


@pytest.mark.slow
def test_two_commands_at_once_train_every_run_once(undisturbed, suite):
    commands = [suite.start(*MGD), suite.start(*MGD)]
    for command in commands:
        _, err = command.communicate(timeout=PATIENCE)
        assert command.returncode == 0, err
        assert err.count(": finished in") == 3
    assert sorted(suite.records) == sorted(undisturbed.records)
    for record in suite.records.values():
        assert record.attempt == 1
        assert suite.run_folder(record.run_id).log.read_text().count("Epoch(train) [1][") == 1
        assert_same_run(suite, undisturbed, record.run_id)


@pytest.mark.slow
def test_a_killed_worker_is_a_failed_record_and_the_others_go_on(undisturbed, suite):
    teacher = run_of(undisturbed, "teacher")
    student = run_of(undisturbed, "student")
    distilled = run_of(undisturbed, "distilled")
    process = suite.start(*MGD)
    wait_until(suite.run_folder(teacher).resume.exists)
    (worker,) = [worker for worker, run_id in suite.running().items() if run_id == teacher]
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert "Traceback" not in out + err
    records = suite.records
    assert sorted(records) == sorted(f"{run_id}-01" for run_id in (teacher, student, distilled))
    assert records[f"{student}-01"].status == "finished"
    killed, blocked = records[f"{teacher}-01"], records[f"{distilled}-01"]
    assert (killed.status, killed.metrics) == ("failed", {})
    assert killed.error == "killed by SIGKILL (out of memory?); the same command resumes it"
    assert (blocked.status, blocked.error) == (
        "blocked",
        f"its teacher, run {teacher}, did not finish",
    )
    complaints = [line for line in err.splitlines() if line.startswith("suite: ")]
    assert len(complaints) == 2
    assert "resnet34, seed 0: failed after" in complaints[0]
    assert "resnet18 MGD from resnet34, seed 0: blocked after" in complaints[1]

    before = suite.record_bytes
    done = suite(*MGD)
    assert done.returncode == 0, done.stderr
    assert suite.record_bytes | before == suite.record_bytes
    new = sorted(set(suite.record_bytes) - set(before))
    assert new == sorted([f"{teacher}-02.json", f"{distilled}-02.json"])
    assert suite.records[f"{teacher}-02"].metrics == undisturbed.records[f"{teacher}-01"].metrics
    assert suite.records[f"{distilled}-02"].metrics == undisturbed.records[f"{distilled}-01"].metrics


@pytest.mark.slow
def test_a_diverging_run_fails_with_one_line_and_its_neighbour_finishes(suite):
    rate = "schedule.optimizers.convnet.optimizer.lr=1e30"
    claims = ("nkd-resnet18-student", "nkd-deit-tiny-student")
    done = suite("reproduce", "--claim", *claims, "--profile", "smoke", "--device", "cpu", rate)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (complaint,) = [line for line in done.stderr.splitlines() if line.startswith("suite: ")]
    assert "resnet18, seed 0: failed after" in complaint
    assert complaint.endswith(
        "NonFiniteLossError: loss is nan in epoch 1, iteration 2; lower the learning rate or the weight of "
        "the loss"
    )
    by_student = {record.recipe["student"]["name"]: record for record in suite.records.values()}
    assert by_student["deit-tiny"].status == "finished"
    assert (by_student["resnet18"].status, by_student["resnet18"].metrics) == ("failed", {})
    assert str(by_student["resnet18"].error) in complaint
    status = suite("status")
    assert str(by_student["resnet18"].error) in status.stdout


@pytest.mark.slow
def test_lost_weights_are_made_again_only_when_a_student_needs_them(undisturbed, copy_of_undisturbed):
    suite = copy_of_undisturbed
    # As in a fresh clone: records come with it, weights do not.
    shutil.rmtree(suite.folder / "work" / "runs")
    before = suite.record_bytes
    done = suite(*MGD)
    assert done.returncode == 0, done.stderr
    assert "3 runs: 3 recorded already, 0 to execute" in done.stderr
    assert not (suite.folder / "work" / "runs").exists()

    teacher, distilled = run_of(undisturbed, "teacher"), run_of(undisturbed, "distilled")
    (suite.folder / "results" / "records" / f"{distilled}-01.json").unlink()
    done = suite(*MGD)
    assert done.returncode == 0, done.stderr
    assert "3 runs: 1 recorded already, 2 to execute" in done.stderr
    assert sorted(suite.record_bytes) == sorted(before)
    assert suite.record_bytes[f"{teacher}-01.json"] == before[f"{teacher}-01.json"]
    assert_same_run(suite, undisturbed, teacher)
    assert_same_run(suite, undisturbed, distilled)


def flip_a_bit(path: Path) -> None:
    """One bit, in the middle of the tensors."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_weights_that_nobody_has_scored_teach_nobody(undisturbed, copy_of_undisturbed):
    suite = copy_of_undisturbed
    teacher, distilled = run_of(undisturbed, "teacher"), run_of(undisturbed, "distilled")
    (suite.folder / "results" / "records" / f"{distilled}-01.json").unlink()
    weights = suite.run_folder(teacher).weights
    flip_a_bit(weights)
    done = suite(*MGD)
    assert done.returncode == 1
    assert f"of the teacher's run {teacher} is not the file that its records scored" in done.stderr
    assert suite.records[f"{distilled}-01"].status == "blocked"
    # As the message says.
    weights.unlink()
    done = suite(*MGD)
    assert done.returncode == 0, done.stderr
    assert suite.records[f"{distilled}-02"].metrics == undisturbed.records[f"{distilled}-01"].metrics


@pytest.mark.slow
def test_a_teacher_that_comes_out_as_another_when_made_again_has_a_record_of_its_own(
    undisturbed, copy_of_undisturbed
):
    suite = copy_of_undisturbed
    records = suite.folder / "results" / "records"
    teacher, distilled = run_of(undisturbed, "teacher"), run_of(undisturbed, "distilled")
    # As if another machine had trained it, where the last digits come out otherwise.
    first = suite.records[f"{teacher}-01"]
    elsewhere = first.provenance.model_copy(update={"weights_sha256": "0" * 64})
    first = first.model_copy(update={"provenance": elsewhere, "metrics": {"top1": 1.0, "top5": 2.0}})
    (records / f"{teacher}-01.json").write_text(first.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (records / f"{distilled}-01.json").unlink()
    suite.run_folder(teacher).weights.unlink()
    done = suite(*MGD)
    assert done.returncode == 0, done.stderr
    assert suite.records[f"{teacher}-01"] == first
    second = suite.records[f"{teacher}-02"]
    assert second.metrics == undisturbed.records[f"{teacher}-01"].metrics
    taught_by = suite.records[f"{distilled}-01"].provenance.teacher
    assert taught_by is not None
    assert taught_by.weights_sha256 == second.provenance.weights_sha256


def damage_the_newest(folder: RunFolder, other: RunFolder) -> list[str]:
    flip_a_bit(folder.resume)
    return ["is damaged: its SHA-256 is not the one that it was written with"]


def swap_and_cut_off(folder: RunFolder, other: RunFolder) -> list[str]:
    """The newest is the one of another run, as it sealed it; the one before it lacks its end."""
    shutil.copy(other.resume, folder.resume)
    folder.resume_before.write_bytes(folder.resume_before.read_bytes()[:5000])
    return [f"is of another training ({other.run_id}", "is incomplete, or of an older version"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "resumed"), [(damage_the_newest, "resumed epoch: 3"), (swap_and_cut_off, None)]
)
def test_a_resume_point_that_is_no_good_is_dropped_and_the_run_ends_like_an_undisturbed_one(
    undisturbed, copy_of_undisturbed, plant, resumed
):
    suite = copy_of_undisturbed
    run_id = run_of(undisturbed, "student")
    (suite.folder / "results" / "records" / f"{run_id}-01.json").unlink()
    folder = suite.run_folder(run_id)
    folder.weights.unlink()
    folder.log.unlink()
    said = plant(folder, suite.run_folder(run_of(undisturbed, "teacher")))
    done = suite(*MGD)
    assert done.returncode == 0, done.stderr
    log = folder.log.read_text()
    for line in said:
        assert line in done.stderr
        assert line in log
    assert (resumed is None and "resumed epoch" not in log) or f"{resumed}, " in log
    assert_same_run(suite, undisturbed, run_id)


def parent_of(process: int) -> int:
    """The process that started it."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


@pytest.mark.slow
def test_a_worker_killed_as_it_waits_is_started_again_and_so_is_the_server_that_forks_it(suite, tmp_path):
    claim = ("--claim", "nkd-resnet18-student", "--profile", "smoke", "--device", "cpu")
    (run_id,) = make_plan([find_claim("nkd-resnet18-student")[1]], "smoke", 1).runs
    said = tmp_path / "said"
    with owned(suite.run_folder(run_id).ownership), open(said, "w", encoding="utf-8") as errors:
        process = suite.start("reproduce", *claim, stderr=errors)
        line = f"resnet18, seed 0: another command (process {os.getpid()}) trains it; waiting for it"
        wait_until(lambda: said.read_text().count(line) == 1)
        (worker,) = suite.running()
        os.kill(parent_of(worker), signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: said.read_text().count(line) == 2)
        assert worker not in suite.running()
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said.read_text()
    # Nothing of what is imported again ends up in the results, and nothing was tried that failed.
    assert out.startswith("Profile smoke: ")
    assert [record.status for record in suite.records.values()] == ["finished"]
    assert "suite: " not in said.read_text()


TWO_SEEDS = (
    *("--claim", "nkd-resnet18-student", "--seeds", "2", "--profile", "smoke"),
    *("--device", "cpu", "--jobs", "1", "-v"),
)


def two_seeds() -> list[Run]:
    """The runs of `TWO_SEEDS`, in the order in which they start."""
    return list(make_plan([find_claim("nkd-resnet18-student")[1]], "smoke", 2).runs.values())


@pytest.mark.slow
def test_what_another_command_trains_gives_its_place_to_what_nobody_trains(suite, tmp_path):
    first, second = two_seeds()
    said = tmp_path / "said"
    waits = f"resnet18, seed 0: another command (process {os.getpid()}) trains it; waiting for it"
    with owned(suite.run_folder(first.run_id).ownership), open(said, "w", encoding="utf-8") as errors:
        process = suite.start("reproduce", *TWO_SEEDS, stderr=errors)
        wait_until(lambda: said.read_text().count(waits) == 2)
        assert [record.run_id for record in suite.records.values()] == [second.run_id]
        assert process.poll() is None
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said.read_text()
    assert {record.status for record in suite.records.values()} == {"finished"}
    told = (
        "seed 0: starts",
        waits,
        "seed 0: other runs go first",
        "seed 1: starts",
        "[1/2] resnet18, seed 1: finished",
        "seed 0: starts",
        waits,
        "[2/2] resnet18, seed 0: finished",
    )
    assert re.search(".*".join(map(re.escape, told)), said.read_text(), re.DOTALL), said.read_text()


@pytest.mark.slow
def test_what_another_command_failed_to_train_meanwhile_is_not_tried_again(suite, tmp_path):
    first, second = two_seeds()
    said = tmp_path / "said"
    with owned(suite.run_folder(first.run_id).ownership), open(said, "w", encoding="utf-8") as errors:
        process = suite.start("reproduce", *TWO_SEEDS, stderr=errors)
        wait_until(lambda: "seed 0: other runs go first" in said.read_text())
        error = "its loss is not finite"
        failure = record_of(first, "failed", Provenance(command="another"), error=error)
        write_record(suite.folder / "results" / "records", failure)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said.read_text()
    assert {record.run_id: record.status for record in suite.records.values()} == {
        first.run_id: "failed",
        second.run_id: "finished",
    }
    assert f"[2/2] resnet18, seed 0: failed after 0 s: {error}" in said.read_text()
    assert said.read_text().count("seed 0: starts") == 1


@pytest.mark.parametrize("name", ["log.txt", "owner"])
def test_a_run_writes_through_no_link(tmp_path, name):
    run = next(iter(make_plan([find_claim("nkd-resnet18-student")[1]], "smoke", 1).runs.values()))
    folder = RunFolder(tmp_path, run.run_id)
    folder.path.mkdir(parents=True)
    precious = tmp_path / "thesis.tex"
    precious.write_text("precious", encoding="utf-8")
    (folder.path / name).symlink_to(precious)
    request = RunRequest.of(run, "cpu", 1, Provenance(command="a test"))
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    held, lifeline = context.Pipe(duplex=False)
    process = context.Process(
        target=execute, args=(request, tmp_path / "records", tmp_path, "cpu:0", sending, held)
    )
    process.start()
    sending.close()
    ending = receiving.recv()
    process.join()
    lifeline.close()
    assert ending == Ended(
        "failed",
        error=f"{folder.path / name} is a symbolic link, and nothing is written through one: delete the link "
        "and run the same command again",
        recorded=False,
    )
    assert precious.read_text(encoding="utf-8") == "precious"


ENGINE = """
import sys
from suite.cli import main
status = main(sys.argv[1:])
heavy = {"torch", "mmengine", "mmcv", "mmdet", "mmseg", "mmpretrain"} & set(sys.modules)
print("engine:", status, sorted(heavy))
"""


@pytest.mark.slow
def test_the_engine_trains_without_importing_what_trains(suite):
    words = ("reproduce", "--claim", "nkd-resnet18-student", "--profile", "smoke", "--device", "cpu")
    command = [sys.executable, "-c", ENGINE, *words]
    done = subprocess.run(
        command, env=suite.environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "engine: 0 []"
    assert [record.status for record in suite.records.values()] == ["finished"]
