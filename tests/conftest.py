"""What all tests share: the command line as users call it, and GPU tests skipped where there is none."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from suite.paths import ROOT
from suite.store.records import Record, read_record
from suite.store.run_folders import RunFolder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips ``gpu`` tests without a CUDA device; torch is imported only where such a test is selected."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if torch.cuda.is_available():
        return
    for item in on_gpu:
        item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))


@dataclass(frozen=True)
class CommandLine:
    """The suite's command line, each call in a process of its own, with folders of its own.

    Attributes:
        folder: holds `results` and `work`.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        folders = {"SUITE_RESULTS": str(self.folder / "results"), "SUITE_WORK": str(self.folder / "work")}
        return {**os.environ, **folders, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Starts a verb as the leader of a process group that hears Ctrl-C, as a shell does.

        What a script puts in the background is deaf to it, and so is all that it starts: here, the tests.
        """
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        hear: dict[str, Any] = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        return subprocess.Popen(
            [sys.executable, "-m", "suite", *words],
            **{"env": self.environment, "cwd": ROOT, "start_new_session": True, **pipes, **hear, **options},
        )

    def __call__(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a verb to its end."""
        process = self.start(*words, **options)
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    @property
    def records(self) -> dict[str, Record]:
        """File name without suffix -> record."""
        return {path.stem: read_record(path) for path in sorted(self._store.glob("*.json"))}

    @property
    def record_bytes(self) -> dict[str, bytes]:
        """Every file of the record store, to see whether anything was touched."""
        return {path.name: path.read_bytes() for path in sorted(self._store.iterdir())}

    @property
    def _store(self) -> Path:
        return self.folder / "results" / "records"

    def run_folder(self, run_id: str) -> RunFolder:
        return RunFolder(self.folder / "work", run_id)

    def weights(self, run_id: str) -> dict[str, Any]:
        import torch

        found: dict[str, Any] = torch.load(self.run_folder(run_id).weights, weights_only=True)
        return found

    def running(self) -> dict[int, str]:
        """Process -> the run it is busy with: workers hold the log of their run open as long as they live."""
        runs = str(self.folder / "work" / "runs")
        busy = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                target = os.readlink(process / "fd" / "1")
                if target.startswith(runs) and target.endswith("log.txt"):
                    busy[int(process.name)] = Path(target).parent.name
        return busy


@pytest.fixture(scope="session")
def shared_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is the same for all: built data sets and composed recipes."""
    folder = tmp_path_factory.mktemp("shared")
    for name in ("data", "cache"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="session")
def make_command_line(shared_work: Path) -> Callable[[Path], CommandLine]:
    """Lays out a folder for a command line; data sets and composed recipes are shared."""

    def make(folder: Path) -> CommandLine:
        (folder / "work").mkdir(parents=True)
        for name in ("data", "cache"):
            (folder / "work" / name).symlink_to(shared_work / name)
        return CommandLine(folder)

    return make


@pytest.fixture
def suite(make_command_line: Callable[[Path], CommandLine], tmp_path: Path) -> CommandLine:
    """A command line with nothing recorded."""
    return make_command_line(tmp_path / "suite")


SMALL = (
    *("--profile", "mini", "--device", "cpu", "--jobs", "2"),
    *("+data.train.indices=256", "+data.test_loader.dataset.indices=100", "student.embedded.epochs=4"),
)
"""A training of seconds that does all that a long one does: several epochs, a schedule, an evaluation."""


@pytest.fixture(scope="session")
def undisturbed(
    make_command_line: Callable[[Path], CommandLine], tmp_path_factory: pytest.TempPathFactory
) -> CommandLine:
    """`mgd-resnet18` at `SMALL` scale, run in one go: student, teacher and distilled student."""
    suite = make_command_line(tmp_path_factory.mktemp("undisturbed") / "suite")
    done = suite("reproduce", "--claim", "mgd-resnet18", *SMALL)
    assert done.returncode == 0, done.stderr
    return suite


@pytest.fixture
def copy_of_undisturbed(undisturbed: CommandLine, suite: CommandLine) -> CommandLine:
    """A command line with the records and the run folders of `undisturbed`."""
    shutil.copytree(undisturbed.folder / "results", suite.folder / "results")
    shutil.copytree(undisturbed.folder / "work" / "runs", suite.folder / "work" / "runs")
    return suite
