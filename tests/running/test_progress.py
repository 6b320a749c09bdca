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
        "resnet18, seed 0: another command (process 1234) trains it; waiting for that",
        "suite: resnet18, seed 0: a resume point is damaged",
        "resnet18, seed 0: another command trains it; waiting for that",
    ]


def test_a_clock_that_is_set_back_changes_no_duration(run, capsys, monkeypatch):
    backwards = itertools.count(10**9, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(backwards)))
    with Progress() as progress:
        progress.begin(2, 0, 1)
        progress.started(run)
        progress.ended(run, "finished", {"top1": 50.0}, None)
    assert "[1/2] resnet18, seed 0: finished in 0 s, top1 50.00, about 1 min left" in capsys.readouterr().err
