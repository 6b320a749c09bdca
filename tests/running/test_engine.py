"""The engine: isolation, resuming and sharing, shown with real processes that are really killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from suite.errors import SuiteError
from suite.paths import ROOT
from suite.planning.plan import make_plan
from suite.published.finding import find_claim
from suite.running.engine import Engine, _cause_of_death, check_device, default_jobs
from suite.running.progress import Progress
from tests.conftest import SMALL, CommandLine

MGD = ("reproduce", "--claim", "mgd-resnet18", *SMALL)


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def run_of(suite: CommandLine, arm: str) -> str:
    """Run id of an arm of the undisturbed training."""
    return next(record.run_id for record in suite.records.values() if record.arm == arm)


def forget(suite: CommandLine, run_id: str) -> None:
    """Makes a run one that was never started."""
    shutil.rmtree(suite.run_folder(run_id).path)
    for path in (suite.folder / "results" / "records").glob(f"{run_id}-*"):
        path.unlink()


def assert_same_run(one: CommandLine, other: CommandLine, run_id: str) -> None:
    """The same metrics, digit by digit, and the same weights, bit by bit."""
    assert one.records[f"{run_id}-01"].metrics == other.records[f"{run_id}-01"].metrics
    weights, expected = one.weights(run_id), other.weights(run_id)
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[key], expected[key]) for key in weights)


def kill_all(suite: CommandLine, process: subprocess.Popen[str]) -> None:
    """As a power cut does: engine, server and workers at one time."""
    os.killpg(process.pid, signal.SIGKILL)
    for worker in suite.running():
        os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=60)


def kill_engine(suite: CommandLine, process: subprocess.Popen[str]) -> None:
    """As the system does when memory runs out: the engine alone."""
    assert suite.running()
    process.kill()
    process.communicate(timeout=60)


def interrupt(suite: CommandLine, process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does: the whole process group."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    said = [line for line in err.splitlines() if not line.startswith(("1 runs:", "3 runs:"))]
    assert said == ["suite: interrupted; the same command goes on where this one stopped"]
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
    wait_until(lambda: not suite.running() and not folder.is_running(), 20)
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
def test_two_commands_at_once_train_every_run_once(undisturbed, suite):
    commands = [suite.start(*MGD), suite.start(*MGD)]
    for command in commands:
        _, err = command.communicate(timeout=300)
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
    out, err = process.communicate(timeout=300)

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


@pytest.mark.slow
def test_weights_that_nobody_has_scored_teach_nobody(undisturbed, copy_of_undisturbed):
    suite = copy_of_undisturbed
    teacher, distilled = run_of(undisturbed, "teacher"), run_of(undisturbed, "distilled")
    (suite.folder / "results" / "records" / f"{distilled}-01.json").unlink()
    weights = suite.run_folder(teacher).weights
    content = bytearray(weights.read_bytes())
    # One bit, in the middle of the tensors.
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    done = suite(*MGD)
    assert done.returncode == 1
    assert f"of the teacher's run {teacher} is not what its records have scored" in done.stderr
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


@pytest.mark.slow
def test_an_incomplete_checkpoint_is_dropped_and_the_run_starts_anew(undisturbed, copy_of_undisturbed):
    suite = copy_of_undisturbed
    run_id = run_of(undisturbed, "student")
    (suite.folder / "results" / "records" / f"{run_id}-01.json").unlink()
    folder = suite.run_folder(run_id)
    folder.weights.unlink()
    folder.log.unlink()
    folder.resume.write_bytes(folder.resume.read_bytes()[:5000])
    done = suite(*MGD)
    assert done.returncode == 0, done.stderr
    assert "is incomplete and of no use: deleted" in folder.log.read_text()
    assert_same_run(suite, undisturbed, run_id)


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


@pytest.mark.parametrize(
    ("exit_code", "log", "says"),
    [
        (-9, "", "killed by SIGKILL (out of memory?); the same command resumes it"),
        (-11, "", "killed by SIGSEGV; the same command resumes it"),
        (-40, "", "killed by signal 40; the same command resumes it"),
        (1, "first\nImportError: no mmcv\n\n", "status 1 and no record; see log.txt: ImportError: no mmcv"),
        (1, "", "its process ended with status 1 and no record; see log.txt"),
    ],
)
def test_how_a_worker_died_is_one_line(tmp_path, exit_code, log, says):
    path = tmp_path / "log.txt"
    path.write_text(log, encoding="utf-8")
    assert _cause_of_death(exit_code, path).endswith(says)


def test_a_worker_that_never_had_a_log_died_too():
    assert _cause_of_death(1, Path("nowhere/log.txt")).endswith("see log.txt")


def test_a_gpu_takes_one_run_at_a_time_and_a_cpu_one_a_core_where_memory_allows():
    assert default_jobs("cuda") == 1
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert default_jobs("cpu") == min(len(os.sched_getaffinity(0)), max(1, int(gib / 1.5)))


def test_devices_are_settled_or_refused():
    assert check_device("cpu") == "cpu"
    with pytest.raises(SuiteError, match="unknown device 'cdua': did you mean 'cuda'"):
        check_device("cdua")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused():
    assert check_device("auto") == "cpu"
    with pytest.raises(SuiteError, match="--device cuda: PyTorch sees no GPU; use --device cpu"):
        check_device("cuda")


STATE_OF_CUDA = """
import os, mmengine.device, torch
visible = os.environ.get("CUDA_VISIBLE_DEVICES")
answer.send((visible, torch.cuda._is_in_bad_fork(), mmengine.device.get_device()))
"""


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_worker_can_use_the_gpu_that_it_is_for_and_sees_none_where_it_is_for_the_cpu(device):
    plan = make_plan([find_claim("nkd-resnet18-student")[1]], "smoke", 1)
    engine = Engine(plan, "", device, 1, Progress(), lambda: None)
    engine._start_server(list(plan.runs.values()))
    receiving, sending = engine._context.Pipe(duplex=False)
    process = engine._context.Process(target=exec, args=(STATE_OF_CUDA, {"answer": sending}))
    process.start()
    # So that a worker that dies without an answer ends the waiting.
    sending.close()
    visible, forked, found = receiving.recv()
    process.join()
    if device == "cpu":
        assert (visible, found) == ("-1", "cpu")
    else:
        assert visible != "-1"
        assert not forked
