"""Slots and processes of this machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.errors import SuiteError
from suite.running.events import Died, Ended, News
from suite.running.launchers.local import (
    LocalLauncher,
    Slot,
    cause_of_death,
    check_device,
    count_gpus,
    cpu_slots,
    gpu_slots,
    runs_on_cores,
)


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
    assert cause_of_death(exit_code, path).endswith(says)


def test_a_worker_that_never_had_a_log_died_too():
    assert cause_of_death(1, Path("nowhere/log.txt")).endswith("see log.txt")


def test_a_cpu_takes_a_run_a_core_where_memory_allows():
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert runs_on_cores() == min(len(os.sched_getaffinity(0)), max(1, int(gib / 1.5)))


def test_devices_are_known_or_refused():
    check_device("cpu")
    with pytest.raises(SuiteError, match="unknown device 'cdua': did you mean 'cuda'"):
        check_device("cdua")


@pytest.mark.train
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if count_gpus():
        pytest.skip("there is a GPU here")
    with pytest.raises(SuiteError, match="--device cuda: PyTorch sees no GPU; use --device cpu"):
        check_device("cuda")
    with pytest.raises(SuiteError, match="--device cuda: PyTorch sees no GPU; use --device cpu"):
        LocalLauncher("cuda").prepare([])


@settings(deadline=None)
@given(st.integers(0, 8), st.one_of(st.none(), st.lists(st.integers(0, 15), unique=True, max_size=8)))
def test_every_gpu_is_one_slot_and_each_is_named_as_the_command_was_given_it(count, given_devices):
    visible = None if given_devices is None else ",".join(map(str, given_devices))
    slots = gpu_slots(count, visible)
    assert [slot.name for slot in slots] == [f"cuda:{number}" for number in range(count)]
    assert len({slot.visible for slot in slots}) == count
    if given_devices and len(given_devices) >= count:
        assert [slot.visible for slot in slots] == [str(device) for device in given_devices[:count]]


def test_devices_may_be_named_by_their_serial_numbers():
    assert gpu_slots(2, "GPU-8932f937, GPU-1f00aa12") == (
        Slot("cuda:0", "GPU-8932f937"),
        Slot("cuda:1", "GPU-1f00aa12"),
    )
    assert cpu_slots(2) == (Slot("cpu:0", "-1"), Slot("cpu:1", "-1"))


def test_jobs_are_counted_in_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("suite.running.launchers.local.count_gpus", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    places = {}
    for jobs in (None, 1, 3, 8):
        launcher = LocalLauncher("auto", jobs)
        launcher.prepare([])
        places[jobs] = (launcher.device, launcher.places)
    # A GPU takes one run, however many were asked for.
    assert places == {None: ("cuda", 4), 1: ("cuda", 1), 3: ("cuda", 3), 8: ("cuda", 4)}


def see(channel: Any, lifeline: Any) -> None:
    """Tells what a worker sees before it imports anything that trains."""
    import sys

    channel.send(News(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {'torch' in sys.modules}"))


def end_with_a_word(channel: Any, lifeline: Any) -> None:
    channel.send(News("one"))
    channel.send(Ended("finished", {"top1": 1.0}))


def end_without(channel: Any, lifeline: Any) -> None:
    channel.send(News("one"))
    os._exit(3)


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalLauncher:
    """A launcher of a machine that has two GPUs, by what it is told; workers are real processes."""
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setattr("suite.running.launchers.local.count_gpus", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    launcher = LocalLauncher("cuda")
    launcher.prepare([])
    return launcher


def told(launcher: LocalLauncher, target: Callable[..., None], slot: Slot) -> list[Any]:
    """All that a worker says until it is gone."""
    worker = launcher._started("0123456789abcdef", slot, target)
    launcher._workers.append(worker)
    events: list[Any] = []
    while not events or not isinstance(events[-1], Ended | Died):
        launcher.wait(10)
        events += launcher.poll(worker)
    return events


def test_each_worker_sees_its_own_gpu_before_it_imports_anything(gpus: LocalLauncher):
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    slots = list(gpus._free)
    seen = [told(gpus, see, slot)[0] for slot in slots]
    assert seen == [News("0 False"), News("1 False")]
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_a_slot_is_free_again_when_its_process_is_gone_with_a_word_or_without(gpus: LocalLauncher):
    slot = gpus._free.pop(0)
    assert told(gpus, end_with_a_word, slot) == [News("one"), Ended("finished", {"top1": 1.0})]
    assert gpus._free[0] == slot
    gpus._free.pop(0)
    news, died = told(gpus, end_without, slot)
    assert news == News("one")
    assert died == Died("its process ended with status 3 and no record; see log.txt")
    assert gpus._free[0] == slot
    gpus.close()


def test_a_server_that_was_killed_and_is_still_dying_is_waited_for(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    launcher = LocalLauncher("cpu", 1)
    launcher.prepare([])
    its: Any = multiprocessing.forkserver._forkserver
    server = its._forkserver_pid
    os.kill(server, signal.SIGKILL)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    asked, ask = [], os.waitpid

    def is_dying_for_a_while(process: int, options: int) -> tuple[int, int]:
        if process == server:
            asked.append(process)
            if len(asked) < 6:
                return 0, 0
        return ask(process, options)

    monkeypatch.setattr(os, "waitpid", is_dying_for_a_while)
    expected = [News("one"), Ended("finished", {"top1": 1.0})]
    assert told(launcher, end_with_a_word, Slot("cpu:0", "-1")) == expected
    assert len(asked) == 6


def test_what_the_server_has_imported_is_out_of_sight_of_the_collectors_of_workers():
    launcher = LocalLauncher("cpu", 1)
    launcher.prepare([])
    receiving, sending = launcher._context.Pipe(duplex=False)
    code = "import gc; answer.send(gc.get_freeze_count())"
    process = launcher._context.Process(target=exec, args=(code, {"answer": sending}))
    process.start()
    sending.close()
    assert receiving.recv() > 10_000
    process.join()


STATE_OF_CUDA = """
import os, mmengine.device, torch
visible = os.environ.get("CUDA_VISIBLE_DEVICES")
answer.send((visible, torch.cuda._is_in_bad_fork(), mmengine.device.get_device()))
"""


@pytest.mark.train
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_worker_can_use_the_gpu_that_it_is_for_and_sees_none_where_it_is_for_the_cpu(
    device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    if device == "cuda":
        monkeypatch.setattr("suite.running.launchers.local.count_gpus", lambda: 1)
    launcher = LocalLauncher(device, 1)
    launcher.prepare(["tasks.adapters.classification:ClassificationAdapter"])
    receiving, sending = launcher._context.Pipe(duplex=False)
    process = launcher._context.Process(target=exec, args=(STATE_OF_CUDA, {"answer": sending}))
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
