"""An experiment beside a claim: it leaves the claim's row and verdict as they were."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CommandLine

pytestmark = [pytest.mark.train, pytest.mark.slow]

CLAIM = "nkd-resnet18-nkd"
SMOKE = ("--profile", "smoke", "--device", "cpu")


@pytest.fixture(scope="module")
def finished(
    make_command_line: Callable[[Path], CommandLine], tmp_path_factory: pytest.TempPathFactory
) -> CommandLine:
    """A claim that was reproduced as it stands in its recipe."""
    suite = make_command_line(tmp_path_factory.mktemp("variants") / "suite")
    done = suite("reproduce", "--claim", CLAIM, *SMOKE)
    assert done.returncode == 0, done.stderr
    return suite


def rows(suite: CommandLine) -> dict[str, dict[str, str]]:
    """Variant -> the row of the claim's top-1; the claim's own is under ''."""
    with (suite.folder / "results" / "nkd-smoke.csv").open(encoding="utf-8", newline="") as lines:
        return {
            row["variant"]: row
            for row in csv.DictReader(lines)
            if (row["claim"], row["metric"]) == (CLAIM, "top1")
        }


def test_an_experiment_that_fails_or_is_strange_stands_beside_the_claim_and_spoils_nothing(
    finished: CommandLine,
):
    suite = finished
    own = rows(suite)[""]
    assert own["status"] == "finished"
    teachers = [record.run_id for record in suite.records.values() if record.arm == "teacher"]

    gamma = "method.losses.nkd.arguments.gamma=nan"
    failed = suite("reproduce", "--claim", CLAIM, *SMOKE, gamma)
    assert failed.returncode == 1
    assert "loss_nkd is nan" in failed.stderr
    found = rows(suite)
    assert found[""] == own
    assert found[gamma]["origin"] == "variant"
    assert found[gamma]["status"] == "failed"
    assert "loss_nkd is nan in epoch 1, iteration 1" in found[gamma]["reason"]

    plain = suite("reproduce", "--claim", CLAIM, *SMOKE)
    assert plain.returncode == 0
    assert "3 recorded already, 0 to execute" in plain.stderr
    assert rows(suite)[""] == own

    for override, learner in (("method=mgd-channel", "resnet18"), ("model@student=resnet50", "resnet50")):
        tried = suite("reproduce", "--claim", CLAIM, *SMOKE, override)
        assert tried.returncode == 0, tried.stderr
        found = rows(suite)
        assert found[""] == own
        assert found[override]["status"] == "finished"
        assert found[override]["gain"]
        newest = max(suite.records.values(), key=lambda record: record.finished_at)
        assert newest.recipe["student"]["name"] == learner
        assert newest.recipe["teacher"]["name"] == "resnet34"
        # The section of the report has it beside the claim.
        assert f"| {CLAIM} | {override} | top1 |" in tried.stdout
    assert [record.run_id for record in suite.records.values() if record.arm == "teacher"] == teachers


def test_measuring_again_adds_a_repetition_and_the_first_stands(finished: CommandLine):
    own = rows(finished)[""]
    again = finished("reproduce", "--claim", CLAIM, *SMOKE, "--again")
    assert again.returncode == 0, again.stderr
    assert "2 to execute" in again.stderr
    repeated = [record for record in finished.records.values() if record.repetition == 1]
    assert {record.arm for record in repeated} == {"student", "distilled"}
    assert {record.series for record in repeated} <= {
        record.series for record in finished.records.values() if record.repetition == 0
    }
    found = rows(finished)[""]
    assert (found["reproduced"], found["n"], found["repetitions"]) == (own["reproduced"], own["n"], "1")
