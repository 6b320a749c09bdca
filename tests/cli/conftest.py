"""A night's surroundings: a store that points are planted in, and a ``gh`` that writes its calls down."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from suite.store.records import write_record
from tests.report.conftest import record

__all__ = ["record"]

CLAIM = "nkd-resnet18-nkd"
NOW = datetime.datetime.now(datetime.timezone.utc)


class FakeGitHub:
    """A ``gh`` on the PATH.

    Attributes:
        folder: where it lies, with its issues and what it was called with.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        shutil.copy(Path(__file__).with_name("fake_gh"), folder / "gh")
        (folder / "gh").chmod(0o755)

    @property
    def issues(self):
        file = self.folder / "issues.json"
        return json.loads(file.read_text()) if file.exists() else []

    def calls(self):
        """What was called since the last time, without the search."""
        file = self.folder / "calls.json"
        found = json.loads(file.read_text()) if file.exists() else []
        file.unlink(missing_ok=True)
        return [words[1] for words in found if words[1] != "list"]


@pytest.fixture
def github(tmp_path, monkeypatch):
    """A fake ``gh`` in front of everything else."""
    found = FakeGitHub(tmp_path / "bin")
    path = os.pathsep.join([str(found.folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    return found


@pytest.fixture
def store(tmp_path, monkeypatch, shared_work, record):
    """A results folder, and what plants a night in it: its value, so many nights ago."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_WORK", str(shared_work))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "datasets"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr("suite.cli.night.lacks_training", lambda: [])

    def plant(values, until=0, finished_at=None):
        for number, value in enumerate(values):
            ago = until + len(values) - 1 - number
            write_record(
                tmp_path / "results" / "records",
                record(
                    CLAIM,
                    "distilled",
                    1000 + ago if finished_at is None else 0,
                    profile="paper",
                    top1=value,
                    finished_at=(finished_at or NOW - datetime.timedelta(days=ago)).isoformat(),
                ),
            )
        return tmp_path / "results"

    return plant
