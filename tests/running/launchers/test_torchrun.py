"""Runs on several devices: what is started, told and recorded, and what becomes of it when a process dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.errors import SuiteError
from suite.planning.plan import Run, make_plan
from suite.published.finding import find_claim
from suite.running.events import Died, Ended
from suite.running.launchers import local, torchrun
from suite.running.launchers.torchrun import TorchrunLauncher, processes_for
from suite.running.ranks import ALONE, Rank, this_rank
from suite.running.recording import record_of
from suite.running.request import RunRequest, write_request
from suite.store.record import Provenance
from suite.store.records import write_record
from suite.store.run_folders import RunFolder
from tests.conftest import SMALL, CommandLine, built_once
from tests.waiting import PATIENCE, wait_until


def student(*overrides: str, profile: str = "mini") -> Run:
    plan = make_plan([find_claim("mgd-resnet18-student")[1]], profile, 1, overrides)
    (run,) = plan.runs.values()
    return run


def test_a_run_has_a_process_a_device_of_its_recipe():
    assert processes_for(student()) == 1
    assert processes_for(student("resources.devices=2")) == 2
    assert processes_for(student(profile="paper")) == 8
    plan = make_plan([find_claim("mgd-retinanet-r50")[1]], "paper", 1)
    assert [processes_for(run) for run in plan.runs.values() if not run.trains] == [1]


def test_torchrun_tells_a_process_which_one_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    # Others set these too.
    assert this_rank() == ALONE
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    assert this_rank() == Rank(3, 4, 1)
    assert this_rank().follows


UNDER_TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}


@pytest.mark.parametrize(
    "words", [("reproduce", "--paper", "mgd"), ("reproduce", "--launcher", "torchrun"), ("evaluate",)]
)
def test_what_trains_and_was_started_by_torchrun_itself_says_so_and_does_nothing(suite: CommandLine, words):
    done = suite(*words, env={**suite.environment, **UNDER_TORCHRUN})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"suite: torchrun started '{words[0]}' once per process: leave torchrun out; "
        "'reproduce --launcher torchrun' starts it for each training run\n"
    )


def test_a_run_is_executed_by_as_many_processes_as_it_has_devices(suite: CommandLine):
    run = student()
    write_request(RunFolder(suite.folder / "work", run.run_id), RunRequest.of(run, "cpu", 1, Provenance()))
    done = suite("work", run.run_id, env={**suite.environment, **UNDER_TORCHRUN})
    assert done.returncode == 2
    assert "needs 1 processes, one per device, but torchrun started 2" in done.stderr


def test_jobs_side_by_side_and_devices_that_are_not_there_are_refused(
    suite: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    done = suite("reproduce", "--paper", "mgd", "--launcher", "torchrun", "--jobs", "2")
    assert done.stderr == "suite: --launcher torchrun executes one run at a time: leave --jobs out\n"
    assert done.returncode == 2
    for module in (local, torchrun):
        monkeypatch.setattr(module, "count_gpus", lambda: 2)
    with pytest.raises(
        SuiteError, match=r"trains on 8 devices, but PyTorch sees 2 here; resources\.devices=2 "
    ):
        TorchrunLauncher("auto", 8).prepare([])
    launcher = TorchrunLauncher("auto", 2)
    launcher.prepare([])
    assert (launcher.device, launcher.places) == ("cuda", 1)


@pytest.mark.parametrize(
    ("status", "recorded", "told"),
    [
        (0, ("finished", None), Ended("finished", {"top1": 1.0})),
        (1, ("failed", "process 1 of 2 went"), Ended("failed", {}, "process 1 of 2 went")),
        (75, None, Died("was told to stop and left a resume point; the same command resumes from there")),
        (2, None, Died("its process ended with status 2 and no record; see workers.log: suite: no request")),
        (-9, None, Died("killed by SIGKILL (out of memory?); the same command resumes it")),
    ],
)
def test_how_a_run_ended_its_record_tells_or_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status, recorded, told
):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    end = f"import os, signal; os.kill(os.getpid(), 9) if {status} < 0 else exit({status})"
    monkeypatch.setattr(
        torchrun,
        "command_for",
        lambda request: ["python", "-c", f"print('suite: no request', flush=True); {end}"],
    )
    run = student()
    write_record(
        tmp_path / "results" / "records", record_of(run, "failed", Provenance(), error="an older one")
    )
    launcher = TorchrunLauncher("cpu")
    handle = launcher.start(RunRequest.of(run, "cpu", 1, Provenance()))
    launcher.wait(30)
    if recorded:
        metrics = {"top1": 1.0} if status == 0 else {}
        write_record(
            tmp_path / "results" / "records",
            record_of(run, recorded[0], Provenance(), metrics=metrics, error=recorded[1]),
        )
    assert list(launcher.poll(handle)) == [told]
    launcher.close()


TWO = (*SMALL[:2], "--device", "cpu", *SMALL[6:8], "student.embedded.epochs=8", "resources.devices=2")
ON_TWO = ("reproduce", "--claim", "mgd-resnet18-student", *TWO)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits for a command that starts processes which import PyTorch; returns its status and what it said."""
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err


@pytest.fixture(scope="session")
def undisturbed_on_two(make_command_line: Callable[[Path], CommandLine], common_folder: Path) -> CommandLine:
    """A student alone, trained by two processes in one go."""

    def train(folder: Path) -> None:
        status, err = ended(make_command_line(folder).start(*ON_TWO, "--launcher", "torchrun"))
        assert status == 0, err

    return CommandLine(built_once(common_folder / "undisturbed-on-two", train))


def process_of(log: Path) -> int | None:
    """The process that prints to a log."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "fd" / "1") == str(log):
                return int(process.name)
        except OSError:
            continue
    return None


def written_at(path: Path) -> int | None:
    """When a file was written; None while it is being replaced."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


@pytest.mark.train
@pytest.mark.slow
def test_two_processes_leave_one_record_that_says_two_devices(undisturbed_on_two: CommandLine):
    ((name, record),) = undisturbed_on_two.records.items()
    # The first process writes them, and what it saw itself.
    lines = undisturbed_on_two.scalars(name)
    assert [line.iteration for line in lines] == list(range(1, len(lines) + 1))
    assert len(list((undisturbed_on_two.folder / "results" / "records").glob("*.scalars.jsonl"))) == 1
    assert record.status == "finished"
    assert {name: record.protocol[name] for name in ("devices", "batch_size", "global_batch")} == {
        "devices": 2,
        "batch_size": 32,
        "global_batch": 64,
    }
    assert [str(entry) for entry in record.departures if entry.kind == "resources"] == [
        "devices 2, published 1 (resources.devices=2)",
        "accumulation follows from resources.devices=2",
        "norm_batch follows from resources.devices=2",
    ]


@pytest.mark.train
@pytest.mark.slow
def test_a_killed_process_is_named_a_stopped_run_says_so_and_both_go_on_to_the_same_weights(
    undisturbed_on_two: CommandLine, suite: CommandLine
):
    run_id = student(*TWO[4:]).run_id
    folder = suite.run_folder(run_id)
    training = suite.start(*ON_TWO, "--launcher", "torchrun")
    wait_until(folder.resume.exists)
    os.kill(wait_until(lambda: process_of(folder.log_of(1))), signal.SIGKILL)
    assert ended(training)[0] == 1
    (failed,) = suite.records.values()
    assert failed.status == "failed"
    assert failed.error == (
        "process 1 of 2 was killed by SIGKILL (out of memory?); the same command resumes the run"
    )
    before = written_at(folder.resume)
    work = suite.start("work", run_id)
    wait_until(lambda: written_at(folder.resume) not in (None, before))
    work.send_signal(signal.SIGUSR2)
    status, err = ended(work)
    assert status == os.EX_TEMPFAIL, err
    assert re.search(r"stopped after \d+ of 32 iterations; the same command resumes it", err)
    # One process alone is not what the run is.
    alone = suite(*ON_TWO)
    assert alone.returncode == 1
    assert "its recipe trains on 2 devices, but it was started on 1: --launcher torchrun" in alone.stderr
    assert ended(suite.start(*ON_TWO, "--launcher", "torchrun"))[0] == 0
    assert [record.status for record in suite.records.values()] == ["failed", "blocked", "finished"]
    last = list(suite.records.values())[-1]
    assert last.timings["resumed_iteration"] > 0
    (expected,) = undisturbed_on_two.records.values()
    assert last.metrics == expected.metrics
    assert last.provenance.weights_sha256 == expected.provenance.weights_sha256
