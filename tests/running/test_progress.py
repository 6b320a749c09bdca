"""What a command says while it runs, where nobody looks at a terminal."""

from __future__ import annotations

import itertools
import time

import pytest

from suite.contract import Step
from suite.planning.plan import Run, make_plan
from suite.published.finding import find_claim
from suite.running.events import News, Training, Waiting
from suite.running.progress import Progress


@pytest.fixture
def run() -> Run:
    plan = make_plan([find_claim("nkd-resnet18-student")[1]], "smoke", 1)
    return next(iter(plan.runs.values()))


def test_waiting_for_another_command_is_one_line_and_so_is_news(run, capsys):
    with Progress() as progress:
        progress.started(run)
        progress.update(run, Waiting(1234))
        progress.update(run, Training(Step(0.5, 1, 2)))
        progress.update(run, News("a resume point is damaged"))
        progress.update(run, Waiting())
    assert capsys.readouterr().err.splitlines() == [
        "resnet18, seed 0: another command (process 1234) trains it; waiting for it",
        "suite: resnet18, seed 0: a resume point is damaged",
        "resnet18, seed 0: another command trains it; waiting for it",
    ]


def test_a_clock_that_is_set_back_changes_no_duration(run, capsys, monkeypatch):
    backwards = itertools.count(10**9, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(backwards)))
    with Progress() as progress:
        progress.begin(2, 0, 1)
        progress.started(run)
        progress.ended(run, "finished", {"top1": 50.0}, None)
    assert "[1/2] resnet18, seed 0: finished in 0 s, top1 50.00, about 1 min left" in capsys.readouterr().err


def told(run, verbosity: int, capsys) -> list[str]:
    """What is said of a run that begins, is trained for two epochs and finishes, and of one that fails."""
    with Progress(verbosity=verbosity) as progress:
        progress.begin(2, 0, 1)
        progress.started(run)
        for epoch in (1, 1, 2):
            progress.update(run, Training(Step(0.5, epoch, 2, 1.5)))
        progress.ended(run, "finished", {"top1": 50.0}, None)
        progress.ended(run, "failed", {}, "loss is nan")
    return list(capsys.readouterr().err.splitlines())


def test_more_is_said_on_request_what_begins_with_its_log_and_every_epoch(run, capsys, monkeypatch):
    monkeypatch.setenv("SUITE_WORK", "/elsewhere")
    lines = told(run, 1, capsys)
    assert f"resnet18, seed 0: starts; log /elsewhere/runs/{run.run_id}/log.txt" in lines
    assert [line for line in lines if "epoch" in line] == [
        "resnet18, seed 0: epoch 1/2, loss 1.500",
        "resnet18, seed 0: epoch 2/2, loss 1.500",
    ]
    assert [line for line in lines if "epoch" not in line and "starts" not in line] == told(run, 0, capsys)


def test_less_is_said_on_request_only_what_goes_wrong(run, capsys):
    (line,) = told(run, -1, capsys)
    assert line.startswith("suite: [2/2] resnet18, seed 0: failed after ")
