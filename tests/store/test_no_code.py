"""Python that a record names is never imported by who reads the record."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from suite.paths import ROOT

OLDER = Path(__file__).parent / "older_records"
REFERENCE = ROOT / "results" / "reference" / "records"

MARK = """
from pathlib import Path
Path(__file__).with_name("mark").touch()
"""
NAMED = {
    "_target_": "leaves_a_mark.run",
    "type": "leaves_a_mark.Network",
    "custom_imports": {"imports": ["leaves_a_mark"]},
    "_base_": "leaves_a_mark.py",
}


def poison(path: Path) -> None:
    """Names a module that leaves a mark, in every place of a record from which a training would import."""
    document = json.loads(path.read_bytes())
    recipe = document["recipe"]
    recipe["adapter"] = "leaves_a_mark:Adapter"
    recipe["data"]["prepare"] = "leaves_a_mark:prepare"
    recipe["data"]["overrides"] |= NAMED
    recipe["student"]["overrides"] |= NAMED
    if document["schema_version"] == 3:
        recipe["student"]["config"] |= NAMED
        document["identity"]["student"]["config"] |= NAMED
    recipe["schedule"] |= NAMED
    document["protocol"] |= NAMED
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize("older", [False, True], ids=["of today", "of an older schema"])
def test_verbs_that_read_records_import_nothing_for_them(tmp_path: Path, older: bool):
    records = tmp_path / "results" / "records"
    records.mkdir(parents=True)
    for source in sorted((OLDER if older else REFERENCE).glob("*.json"))[:8]:
        shutil.copy(source, records)
        poison(records / source.name)
    (tmp_path / "leaves_a_mark.py").write_text(MARK, encoding="utf-8")
    folders = {"SUITE_RESULTS": str(tmp_path / "results"), "SUITE_WORK": str(tmp_path / "work")}
    environment = {**os.environ, **folders, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    verbs = """
from suite.cli import main
for words in (
    ["status"], ["report", "--format", "html"], ["plan", "--claim", "mgd-resnet18"], ["archive", "upgrade"]
):
    assert main(words) == 0, words
"""
    done = subprocess.run(
        [sys.executable, "-c", verbs],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert all("leaves_a_mark" in path.read_text(encoding="utf-8") for path in records.glob("*.json"))
    assert not (tmp_path / "mark").exists()
    # It would have left one.
    subprocess.run([sys.executable, "-c", "import leaves_a_mark"], env=environment, check=True, timeout=60)
    assert (tmp_path / "mark").exists()
