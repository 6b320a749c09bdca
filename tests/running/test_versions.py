"""A loss whose numbers have changed says so by its version, and what it measured before is not lost."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from suite.paths import ROOT
from tests.conftest import SMALL, CommandLine

pytestmark = [pytest.mark.train, pytest.mark.slow]


def rows(suite: CommandLine) -> list[dict[str, str]]:
    with (suite.folder / "results" / "mgd.csv").open(encoding="utf-8", newline="") as lines:
        return [
            row for row in csv.DictReader(lines) if (row["claim"], row["metric"]) == ("mgd-resnet18", "top1")
        ]


def test_with_a_raised_version_the_run_is_trained_again_and_the_older_number_stays_in_sight(
    copy_of_undisturbed: CommandLine, tmp_path: Path
):
    suite = copy_of_undisturbed
    before = suite.record_bytes
    (old,) = [record for record in suite.records.values() if record.arm == "distilled"]
    tree = tmp_path / "tree"
    for name in ("suite", "tasks", "baselines"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", tree)
    loss = tree / "tasks" / "methods" / "mgd.py"
    text = loss.read_text(encoding="utf-8")
    loss.write_text(
        text.replace('@register_loss("MGDLoss", version=1)', '@register_loss("MGDLoss", version=2)')
    )
    assert loss.read_text(encoding="utf-8") != text

    environment = {**suite.environment, "PYTHONPATH": str(tree)}
    done = suite("reproduce", "--claim", "mgd-resnet18", *SMALL, cwd=tree, env=environment)
    assert done.returncode == 0, done.stderr
    assert "3 runs: 2 recorded already, 1 to execute" in done.stderr
    new = [record for record in suite.records.values() if record.arm == "distilled" and record != old]
    assert [record.identity["method"]["losses"][0]["version"] for record in new] == [2]
    assert {name: content for name, content in suite.record_bytes.items() if name in before} == before

    (row,) = [row for row in rows(suite) if row["variant"]]
    assert float(row["reproduced"]) == pytest.approx(new[0].metrics["top1"])
    assert row["older_records"] == "1"
    assert row["older"].startswith(f"{old.metrics['top1']:.2f} (1 run, ")
