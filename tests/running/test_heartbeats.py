"""How far a run is, as others read it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from suite.contract import Step
from suite.running.events import Training, Waiting
from suite.running.heartbeats import LARGEST, Beat, Journal, last_beat


def test_the_latest_state_is_read_with_epoch_iteration_loss_host_and_slot(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    journal = Journal(path, "cuda:1")
    journal.state("waiting")
    beat = last_beat(path)
    assert beat is not None
    assert (beat.words, beat.since) == ("waiting", None)
    journal.state("running")
    journal.step(Step(done=0.25, epoch=1, epochs=4, loss=0.5, iteration=25))
    journal.beat()
    beat = last_beat(path)
    assert beat is not None
    assert (beat.slot, beat.pid, beat.iteration, beat.words) == (
        "cuda:1",
        os.getpid(),
        25,
        "epoch 1/4, loss 0.500",
    )
    assert beat.since is not None
    since = beat.since
    journal.step(Step(done=0.5, epoch=2, epochs=4, loss=math.nan))
    journal.beat()
    beat = last_beat(path)
    assert beat is not None
    assert beat.words == "epoch 2/4"
    assert beat.since == since


def test_the_file_stays_small_and_its_end_is_kept(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    journal = Journal(path, None)
    for iteration in range(1, 1001):
        journal.step(Step(0.1, 1, 2, 0.5, iteration))
        journal.beat()
        assert path.stat().st_size <= LARGEST
    beat = last_beat(path)
    assert beat is not None
    assert beat.iteration == 1000


@pytest.mark.parametrize("end", [b'{"at": "2026-', b"\xff\xfe\n", b"{}\n"])
def test_a_line_that_is_cut_short_or_damaged_is_passed_over(tmp_path: Path, end: bytes):
    path = tmp_path / "events.jsonl"
    Journal(path, None).state("running")
    with open(path, "ab") as file:
        file.write(end)
    beat = last_beat(path)
    assert beat is not None
    assert beat.state == "running"


def test_what_cannot_be_written_or_read_stops_nobody(tmp_path: Path):
    precious = tmp_path / "thesis.tex"
    precious.write_text("precious", encoding="utf-8")
    (tmp_path / "link").symlink_to(precious)
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "nowhere/events.jsonl"):
        Journal(tmp_path / name, None).state("running")
        assert last_beat(tmp_path / name) is None
    os.mkfifo(tmp_path / "pipe")
    assert last_beat(tmp_path / "pipe") is None
    assert precious.read_text(encoding="utf-8") == "precious"


BEAT: dict[str, Any] = {"at": "now", "host": "here", "pid": 1}


@pytest.mark.parametrize(
    ("beat", "event"),
    [
        ({"state": "waiting"}, Waiting()),
        ({"state": "running"}, None),
        ({"state": "stopped", "epoch": 1}, None),
        (
            {"state": "running", "epoch": 2, "epochs": 4, "iteration": 6, "done": 0.5, "loss": 1.5},
            Training(Step(0.5, 2, 4, 1.5, 6)),
        ),
    ],
)
def test_what_a_sign_of_life_tells_a_launcher(beat: dict[str, Any], event: Any):
    assert Beat(**BEAT, **beat).event == event
