"""One process owns a folder: shown with real processes, kills, and machines that are other ones by name."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.store.ownership import (
    STALE,
    Owner,
    TakenOverError,
    _Numbers,
    owned,
    owner_of,
    this_process,
)
from tests.waiting import wait_until

FORK = multiprocessing.get_context("fork")

NEVER = 10.0**6
"""Seconds after which nothing here is stale."""


@pytest.fixture(params=["hard links", "no hard links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without; processes that are forked have the same."""
    if request.param == "no hard links":

        def refuse(*arguments: object, **options: object) -> None:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        monkeypatch.setattr(os, "link", refuse)


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Starts processes, none of which outlives the test."""
    started: list[BaseProcess] = []

    def fork(target: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = FORK.Process(target=target, args=arguments)
        process.start()
        started.append(process)
        return process

    yield fork
    for process in started:
        process.kill()
        process.join()


def note(log: Path, *words: object) -> None:
    with open(log, "a", encoding="utf-8") as file:
        file.write(" ".join(map(str, words)) + "\n")


def notes(log: Path) -> list[list[str]]:
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [line.split() for line in lines]


def own_again_and_again(folder: Path, log: Path, times: int) -> None:
    for _ in range(times):
        with owned(folder, stale=NEVER):
            note(log, "in", os.getpid())
            time.sleep(random.random() / 100)
            note(log, "out", os.getpid())


@pytest.mark.parametrize("seed", [0, 1])
def test_one_process_is_in_however_many_want_and_whoever_is_killed(tmp_path: Path, links, start, seed: int):
    folder, log = tmp_path / "owner", tmp_path / "log"
    chance = random.Random(seed)
    processes = [start(own_again_and_again, folder, log, 4) for _ in range(3)]
    for _ in range(4):
        before = len(notes(log))
        wait_until(lambda before=before: len(notes(log)) > before)  # type: ignore[misc]
        time.sleep(chance.random() / 100)
        victim = chance.choice(processes)
        victim.kill()
        victim.join()
        processes.remove(victim)
        processes.append(start(own_again_and_again, folder, log, 4))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    inside: set[str] = set()
    gone: set[str] = set()
    for what, pid in notes(log):
        assert pid not in gone, "one that another has taken over from was still at work"
        if what == "in":
            gone |= inside
            inside = {pid}
        else:
            inside.remove(pid)
    assert owner_of(folder) is None


def take_at_once(folder: Path, log: Path, barrier: Any, host: str) -> None:
    numbers = _Numbers(folder, this_process(host), stale=1)
    barrier.wait()
    if (number := numbers.take()) is not None:
        note(log, host, number)


def test_a_stale_owner_has_one_successor_of_many_that_see_it_at_the_same_time(tmp_path: Path, links, start):
    log = tmp_path / "log"
    for attempt in range(5):
        folder = tmp_path / f"owner{attempt}"
        folder.mkdir()
        assert _Numbers(folder, this_process("gone"), NEVER).take() == 1
        os.utime(folder / "000001.json", (0, 0))
        barrier = FORK.Barrier(4)
        takers = [start(take_at_once, folder, log, barrier, f"node{number}") for number in range(4)]
        for taker in takers:
            taker.join()
        assert [number for _, number in notes(log)] == ["2"] * (attempt + 1)


def own_until_taken_over(folder: Path, log: Path) -> None:
    with owned(folder, me=this_process("a"), beat=0.05, stale=NEVER) as ownership:
        note(log, "owns")
        while True:
            try:
                ownership.check()
            except TakenOverError as error:
                note(log, "stops:", error)
                return
            time.sleep(0.01)


def test_a_machine_that_stands_still_is_taken_over_and_stops_when_it_goes_on(tmp_path: Path, links, start):
    folder, log = tmp_path / "owner", tmp_path / "log"
    process = start(own_until_taken_over, folder, log)
    wait_until(lambda: notes(log))
    other = this_process("b")
    # It gives signs of life for longer than would make it stale.
    stale = 4.0
    numbers, began = _Numbers(folder, other, stale), time.monotonic()
    while time.monotonic() < began + 1.5 * stale:
        assert numbers.take() is None
        time.sleep(0.2)
    owner = owner_of(folder, other)
    assert owner is not None
    assert (owner.host, owner.pid) == ("a", process.pid)

    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    waited: list[Owner | None] = []
    with owned(folder, on_wait=waited.append, me=other, stale=1.0):
        assert [owner.host for owner in waited if owner] == ["a"]
        os.kill(process.pid, signal.SIGCONT)
        process.join()
        assert notes(log)[1][:6] == ["stops:", "process", str(os.getpid()), "on", "b", "has"]
        # It has neither released nor changed what is no longer its own.
        assert owner_of(folder, other) == other
    assert owner_of(folder, other) is None


def test_a_dead_process_of_this_machine_is_noticed_at_once_and_another_of_its_number_is_not_it(
    tmp_path: Path, start
):
    me = this_process()
    process = start(time.sleep, 60)
    living = me.model_copy(update={"pid": process.pid, "started": None})
    assert living.lives()
    assert _Numbers(tmp_path, living, NEVER).take() == 1
    assert _Numbers(tmp_path, me, 0.0).take() is None
    namesake = living.model_copy(update={"started": 1})
    assert not namesake.lives()
    process.kill()
    # Dead, though nobody has asked how it ended yet.
    wait_until(lambda: not living.lives())
    assert _Numbers(tmp_path, me, NEVER).take() == 2
    process.join()
    assert not living.lives()


def test_who_was_stopped_before_it_created_a_number_that_has_been_since_owns_nothing(tmp_path: Path, links):
    first = _Numbers(tmp_path, this_process("a"), NEVER)
    released = first.me.model_copy(update={"released": True})

    class Slow(_Numbers):
        """Looks before the others, and creates after them."""

        looked = False

        def newest(self) -> int:
            newest = super().newest()
            if not self.looked:
                self.looked = True
                for name in ("b", "c"):
                    with owned(tmp_path, me=this_process(name)):
                        pass
                assert _Numbers(tmp_path, this_process("d"), NEVER).take() == 4
            return newest

    assert first.take() == 1
    (tmp_path / "000001.json").write_text(released.model_dump_json(), encoding="utf-8")
    slow = Slow(tmp_path, this_process("slow"), NEVER)
    slow.is_free = lambda number: True  # type: ignore[method-assign]
    assert slow.take() is None
    assert [path.name for path in tmp_path.glob("*.json")] == ["000004.json"]
    owner = owner_of(tmp_path)
    assert owner is not None
    assert owner.host == "d"


def test_clocks_of_machines_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert _Numbers(tmp_path, this_process("a"), NEVER).take() == 1
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**15)
    monkeypatch.setattr(time, "time", lambda: now / 10**9 + 10**6)
    assert _Numbers(tmp_path, this_process("b"), STALE).take() is None
    # Where the clock of the file system itself was set back, nobody is waited for longer than this.
    os.utime(tmp_path / "000001.json", (4 * 10**9, 4 * 10**9))
    numbers = _Numbers(tmp_path, this_process("b"), 0.3)
    assert numbers.take() is None
    wait_until(lambda: numbers.take() == 2)


def test_a_job_that_a_batch_system_starts_again_goes_on_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert _Numbers(tmp_path, this_process("a"), NEVER).take() == 1
    assert _Numbers(tmp_path, this_process("b"), NEVER).take() is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert _Numbers(tmp_path, this_process("b"), NEVER).take() == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"host": "a"}'])
def test_an_owner_that_cannot_be_told_is_waited_for_until_it_is_stale(tmp_path: Path, content: bytes):
    path = tmp_path / "000007.json"
    path.write_bytes(content)
    assert _Numbers(tmp_path, this_process(), NEVER).take() is None
    os.utime(path, (0, 0))
    assert _Numbers(tmp_path, this_process(), STALE).take() == 8


def test_what_was_released_is_free_and_one_file_is_left(tmp_path: Path):
    for _ in range(3):
        with owned(tmp_path, stale=NEVER) as ownership:
            ownership.check()
            assert owner_of(tmp_path) == this_process()
        assert owner_of(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["000003.json"]


def test_an_owner_whose_folder_is_deleted_owns_nothing(tmp_path: Path):
    folder = tmp_path / "owner"
    with owned(folder) as ownership:
        (folder / "000001.json").unlink()
        folder.rmdir()
        with pytest.raises(TakenOverError, match="another process has taken it over"):
            ownership.check()
    assert not folder.exists()


def test_a_folder_that_is_none_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "owner").write_text("in the way", encoding="utf-8")
    with (
        pytest.raises(SuiteError, match=r"owner: cannot be claimed \(File exists\); make room"),
        owned(tmp_path / "owner"),
    ):
        pass


def test_nothing_to_be_seen_is_nobody(tmp_path: Path):
    assert owner_of(tmp_path / "nowhere") is None
