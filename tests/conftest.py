"""What all tests share: the command line as users call it, and which tests run on this machine."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from suite.contract import Scalars
from suite.environment import host_facts
from suite.paths import ROOT
from suite.store.ownership import owned
from suite.store.record import Record
from suite.store.records import read_record
from suite.store.run_folders import RunFolder
from suite.store.scalars import read_scalars
from tests import lanes
from tests.waiting import PATIENCE


def pytest_configure(config: pytest.Config) -> None:
    """Gives every parallel worker one core: several that each take all of them slow each other down."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers of ``-n auto``: one a core that this process may use, as far as memory goes (2 GiB each)."""
    facts = host_facts()
    fit = int(float(facts["memory_gib"]) // 2)
    return max(1, min(int(facts["cores"]), fit, 8))


class _NotHere(pytest.Module):
    """A module that cannot be imported here, and says so in place of its tests."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Skips.

        Raises:
            Exception: always, with the reason.
        """
        pytest.skip(lanes.NEEDS_TRAINING, allow_module_level=True)


class _LeftOut(pytest.Module):
    """A module of tests that were not asked for; it is not even imported, which takes seconds."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Finds nothing."""
        return []


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Keeps modules that import what trains from being imported where that is absent or not asked for."""
    if not lanes.module_trains(module_path):
        return None
    if "not train" in parent.config.option.markexpr:
        left_out: pytest.Module = _LeftOut.from_parent(parent, path=module_path)
        return left_out
    if not lanes.can_train():
        not_here: pytest.Module = _NotHere.from_parent(parent, path=module_path)
        return not_here
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks what needs PyTorch and the mm packages (see `tests.lanes`)."""
    name = getattr(item, "originalname", item.name)
    fixtures = set(getattr(item, "fixturenames", ()))
    if (
        lanes.module_trains(item.path)
        or name in lanes.functions_that_train(item.path)
        or fixtures & lanes.TRAINING_FIXTURES
    ):
        item.add_marker("train")


# Last, so that torch is asked for a GPU only where a test that needs one is still selected.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot run, with the reason, and begins with what takes long."""
    _longest_first(items)
    if not lanes.can_train():
        for item in items:
            if item.get_closest_marker("train"):
                item.add_marker(pytest.mark.skip(reason=lanes.NEEDS_TRAINING))
    for name, (there, reason) in lanes.MACHINE.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and not there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Takes what is there by now out of the garbage collector's sight.

    mmengine collects garbage twice for every training that is built. With thousands of tests and all that
    they import, that would take longer than the rest of the building.
    """
    gc.collect()
    gc.freeze()


def _longest_first(items: list[pytest.Item]) -> None:
    """Moves modules with slow tests to the front, those that mostly wait for a cluster before all others.

    What is left at the end is short then, and shared by all parallel workers. Modules stay whole, so that
    what one has built for its tests is not built again.
    """
    modules = {
        name: {item.path for item in items if item.get_closest_marker(name)} for name in ("slurm", "slow")
    }
    items.sort(key=lambda item: (item.path not in modules["slurm"], item.path not in modules["slow"]))


@pytest.fixture(autouse=True)
def _import_nothing_that_trains(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that imports what trains and is not marked `train`: it would break the fast lane."""
    before = lanes.TRAINING_PACKAGES & set(sys.modules)
    yield
    found = (lanes.TRAINING_PACKAGES & set(sys.modules)) - before
    if found and not request.node.get_closest_marker("train"):
        pytest.fail(f"it imports {', '.join(sorted(found))}: mark it with pytest.mark.train")


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

        What a script puts in the background ignores SIGINT, and so does all that it starts: here, the tests.
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
            out, err = process.communicate(timeout=PATIENCE)
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
        """Every record file of the store, to see whether anything was touched."""
        return {path.name: path.read_bytes() for path in sorted(self._store.glob("*.json"))}

    def scalars(self, name: str) -> list[Scalars]:
        """The series that a record names.

        Args:
            name: of the record's file, without suffix.
        """
        return read_scalars(self._store, self.records[name])

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
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test session; parallel workers share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """A folder that the first worker in need of it builds while others wait; whoever comes later finds it.

    A build that fails leaves nothing, and the next worker tries again.
    """
    finished = folder.with_name(f"{folder.name}.finished")
    # A name of its own: what builds a data set owns its folder too.
    with owned(folder.with_name(f"{folder.name}.built")):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def shared_work(common_folder: Path) -> Path:
    """What is the same for all: built data sets."""
    (common_folder / "work" / "data").mkdir(parents=True, exist_ok=True)
    return common_folder / "work"


@pytest.fixture(scope="session")
def make_command_line(shared_work: Path) -> Callable[[Path], CommandLine]:
    """Lays out a folder for a command line; data sets are shared."""

    def make(folder: Path) -> CommandLine:
        (folder / "work").mkdir(parents=True)
        (folder / "work" / "data").symlink_to(shared_work / "data")
        return CommandLine(folder)

    return make


@pytest.fixture
def suite(make_command_line: Callable[[Path], CommandLine], tmp_path: Path) -> CommandLine:
    """A command line with nothing recorded."""
    return make_command_line(tmp_path / "suite")


SMALL = (
    *("--profile", "mini", "--device", "cpu", "--jobs", "2"),
    *("+data.train.indices=256", "+data.test_loader.dataset.indices=100"),
    *("student.embedded.epochs=4", "teacher.embedded.epochs=4"),
)
"""A training of seconds that does all that a long one does: several epochs, a schedule, an evaluation."""


@pytest.fixture(scope="session")
def undisturbed(make_command_line: Callable[[Path], CommandLine], common_folder: Path) -> CommandLine:
    """`mgd-resnet18` at `SMALL` scale, run in one go: student, teacher and distilled student.

    Each keeps samples of two images.
    """

    def train(folder: Path) -> None:
        done = make_command_line(folder)("reproduce", "--claim", "mgd-resnet18", *SMALL, "--samples", "2")
        assert done.returncode == 0, done.stderr

    return CommandLine(built_once(common_folder / "undisturbed", train))


@pytest.fixture
def copy_of_undisturbed(undisturbed: CommandLine, suite: CommandLine) -> CommandLine:
    """A command line with the records and the run folders of `undisturbed`."""
    shutil.copytree(undisturbed.folder / "results", suite.folder / "results")
    shutil.copytree(undisturbed.folder / "work" / "runs", suite.folder / "work" / "runs")
    return suite
