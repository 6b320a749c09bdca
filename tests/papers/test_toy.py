"""A task that exists only in a paper's folder: planned, audited, run, recorded, judged and reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from suite.published.finding import select
from suite.published.metrics import load_metrics
from suite.published.tasks import load_tasks
from tests.conftest import CommandLine

PAPERS = str(Path(__file__).parent)
SELECTION = ("--paper", "toy", "--profile", "paper", "--seeds", "3", "--papers", PAPERS)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[CommandLine, str]:
    """The toy paper with three seeds, trained once for all tests, and what the command printed."""
    suite = CommandLine(tmp_path_factory.mktemp("toy"))
    answer = suite("reproduce", *SELECTION, "--device", "cpu")
    assert answer.returncode == 0, answer.stderr
    return suite, answer.stdout


def rows(suite: CommandLine) -> dict[str, dict[str, str]]:
    (path,) = (suite.folder / "results").glob("toy*.csv")
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["claim"]: row for row in csv.DictReader(lines)}


def test_the_suite_knows_nothing_of_it(monkeypatch):
    monkeypatch.delenv("SUITE_PAPERS", raising=False)
    assert "regression" not in load_tasks()
    assert "R2" not in load_metrics()
    assert "toy" not in {paper.id for paper, _ in select()}


def test_its_plan_shares_the_student_and_the_teacher(suite: CommandLine):
    answer = suite("plan", *SELECTION, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    plan: dict[str, Any] = json.loads(answer.stdout)
    arms = [run["arm"] for run in plan["runs"]]
    assert {arm: arms.count(arm) for arm in arms} == {"teacher": 1, "student": 3, "distilled": 6}
    assert {run["recipe"]["task"] for run in plan["runs"]} == {"regression"}


@pytest.mark.slow
@pytest.mark.train
def test_the_audit_holds_it_against_its_own_protocol(suite: CommandLine):
    answer = suite("audit", "--paper", "toy", "--papers", PAPERS)
    assert answer.returncode == 0, answer.stderr
    assert "0 do not match" in answer.stdout


@pytest.mark.slow
@pytest.mark.train
def test_every_run_is_recorded_with_its_metric_and_protocol(reproduced):
    records = list(reproduced[0].records.values())
    assert [record.status for record in records] == ["finished"] * 10
    assert all(record.metrics["R2"] > 0 for record in records)
    assert {record.protocol["epochs"] for record in records} == {12}


@pytest.mark.slow
@pytest.mark.train
def test_what_has_a_recipe_is_judged_by_its_own_prior_and_what_has_none_is_quoted(reproduced):
    found = rows(reproduced[0])
    for name in ("toy-wide-teacher", "toy-narrow-student", "toy-narrow-predictions", "toy-narrow-half"):
        assert found[name]["status"] == "finished"
        assert found[name]["verdict"] not in ("", "NOT_COMPARABLE")
        assert float(found[name]["p_value"]) > 0
    for name in ("toy-narrow-predictions", "toy-narrow-half"):
        assert found[name]["gain_verdict"]
        assert float(found[name]["gain"]) == pytest.approx(
            float(found[name]["reproduced"]) - float(found["toy-narrow-student"]["reproduced"])
        )
    assert found["toy-narrow-forest"]["status"] == "quoted"
    assert found["toy-narrow-forest"]["verdict"] == ""


@pytest.mark.slow
@pytest.mark.train
def test_the_report_says_which_role_counts_as_what(reproduced):
    words = " ".join(reproduced[1].split())
    assert "4 of 4 claims finished, 1 number of rivals quoted" in words
    assert "Sign test over 1 pair" in words
    assert "Rivals, not in the sign test: 1 gain" in words


@pytest.mark.slow
@pytest.mark.train
def test_nothing_is_trained_twice(reproduced):
    suite = reproduced[0]
    before = suite.record_bytes
    answer = suite("reproduce", *SELECTION, "--device", "cpu")
    assert answer.returncode == 0, answer.stderr
    assert suite.record_bytes == before
