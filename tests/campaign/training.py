"""Trainings that cost seconds, run by commands to which something happens, and what they give undisturbed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.campaign import oracles
from tests.campaign.calling import Done, text_of
from tests.campaign.experiment import Finding, Place
from tests.conftest import CommandLine

TINY = (
    *("--profile", "mini", "--device", "cpu"),
    *("+data.train.indices=64", "+data.test_loader.dataset.indices=32"),
    *("student.embedded.epochs=4", "teacher.embedded.epochs=2"),
)
"""Four epochs and four resume points in a few seconds."""

CLAIMS = {"alone": "nkd-resnet18-student", "distilled": "nkd-resnet18-nkd"}
"""A single training, and the three of a distilled student: teacher, student, both."""

PLANTED = Path(__file__).resolve().parent / "planted"


def command(which: str, *more: str) -> tuple[str, ...]:
    """Words of the command that trains a claim."""
    return ("reproduce", "--claim", CLAIMS[which], *TINY, *more)


@dataclass(frozen=True)
class Planted:
    """What happens to a process at an access to files of its own; see `tests.campaign.planted.sitecustomize`.

    Attributes:
        role: whose: `engine`, `server` or `worker`.
        events: audit events of Python that count, of paths below the folder of the case.
        count: at which of them it happens.
        does: `kill`, `kill all`, or the number of the error that the system answers with.
        forever: whether every later one is refused too.
    """

    role: str
    events: tuple[str, ...]
    count: int
    does: str | int
    forever: bool = False

    def environment(self, under: Path, log: Path) -> dict[str, str]:
        """Variables for the command."""
        told = {**self.__dict__, "under": f"{under}/", "log": str(log)}
        return {"CAMPAIGN_PLANTED": json.dumps(told)}


WRITES = ("open", "os.rename", "os.link", "os.mkdir", "os.symlink", "os.remove", "os.rmdir")
"""Audit events of what changes a folder."""


_started: list[subprocess.Popen[str]] = []


def stop_all() -> None:
    """Kills what was started and has not ended: the campaign breaks off."""
    for process in _started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Scene:
    """Folders of a case: of the suite, around it, and what has been recorded so far.

    Attributes:
        folder: all of it.
        suite: the command line with its `results` and `work`.
        ledger: the records that were seen.
    """

    folder: Path
    suite: CommandLine
    ledger: oracles.Ledger
    around: oracles.Surroundings

    @classmethod
    def fresh(cls, place: Place, data: Path | None = None) -> Scene:
        """An empty scene.

        Args:
            place: of the experiment.
            data: built data sets to use; None: they are built in the scene.
        """
        folder = place.fresh()
        inside = folder / "inside"
        (inside / "work").mkdir(parents=True)
        (folder / "outside").mkdir()
        (folder / "outside" / "precious.txt").write_text("precious\n", encoding="utf-8")
        if data is not None:
            (inside / "work" / "data").symlink_to(data)
        around = oracles.Surroundings.of(folder, inside / "results", inside / "work", folder / "log")
        return cls(folder, CommandLine(inside), oracles.Ledger(inside / "results" / "records"), around)

    @property
    def results(self) -> Path:
        return self.suite.folder / "results"

    @property
    def work(self) -> Path:
        return self.suite.folder / "work"

    def adopt(self, other: CommandLine) -> None:
        """Takes over records and run folders of another command line."""
        shutil.copytree(other.folder / "results", self.results)
        shutil.copytree(other.folder / "work" / "runs", self.work / "runs")

    def start(self, *words: str, planted: Planted | None = None, **options: Any) -> Running:
        """Starts a command; what it prints goes to files, so that no pipe fills up."""
        environment = dict(self.suite.environment)
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        if planted is not None:
            environment |= planted.environment(self.suite.folder, log)
            environment["PYTHONPATH"] = f"{PLANTED}{os.pathsep}{environment['PYTHONPATH']}"
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        process = self.suite.start(*words, **{"env": environment, "stdout": out, "stderr": err, **options})
        _started.append(process)
        return Running(words, process, out, err, log)

    def has_finished(self, expected: Undisturbed) -> bool:
        """Whether every run of a command is recorded as finished."""
        return expected.numbers.keys() <= oracles.numbers_of(self.results / "records").keys()

    def look(self) -> Iterator[Finding]:
        """Nothing recorded is lost, and nothing around has changed."""
        yield from self.ledger.look()
        yield from self.around.look()


class Running(NamedTuple):
    """A command that was started."""

    words: tuple[str, ...]
    process: subprocess.Popen[str]
    out: Any
    err: Any
    log: Path

    def end(self, patience: float) -> Done:
        """Waits for its end, and kills it after so many seconds (`Undisturbed.patience`)."""
        hung = ""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            hung = "does not end"
            self.kill("all")
            self.process.wait()
        with self.out, self.err:
            return Done(self.words, self.process.returncode, text_of(self.out), text_of(self.err), hung)

    def happened(self) -> bool:
        """Whether what was planted has happened."""
        return self.log.exists()

    def members(self) -> dict[str, list[int]]:
        """Role -> the processes of the command that have it and live."""
        found: dict[str, list[int]] = {"engine": [], "server": [], "worker": [], "other": []}
        living = dict(_session(self.process.pid))
        servers = {process for process, (words, _) in living.items() if "forkserver" in words}
        # What is forked from the server has its command line.
        servers -= {process for process in servers if living[process][1] in servers}
        for process, (_, parent) in living.items():
            if process == self.process.pid:
                found["engine"].append(process)
            elif parent in servers:
                found["worker"].append(process)
            elif process in servers:
                found["server"].append(process)
            else:
                found["other"].append(process)
        return found

    def kill(self, whom: str) -> bool:
        """Kills one process of a role, or the whole command; returns whether there was one."""
        if whom == "all":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
                return True
            return False
        for process in self.members()[whom][:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                return True
        return False

    def left_behind(self, seconds: float = 60.0) -> Iterator[Finding]:
        """Nothing lives on after the engine; workers and server have a while to notice."""
        deadline = time.monotonic() + seconds
        while living := [process for group in self.members().values() for process in group]:
            if time.monotonic() > deadline:
                yield Finding("left behind", f"{len(living)} processes live on after the command", "")
                self.kill("all")
                return
            time.sleep(0.1)


def _session(leader: int) -> Iterator[tuple[int, tuple[str, int]]]:
    """Living processes of a session, each with its command line and its parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = (
                (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
            if int(fields[3]) == leader and fields[0] != "Z":
                words = (folder / "cmdline").read_bytes().decode("utf-8", errors="replace")
                yield int(folder.name), (words, int(fields[1]))


@dataclass(frozen=True)
class Undisturbed:
    """What a command gives when nothing happens to it.

    Attributes:
        suite: its records and run folders.
        numbers: run id -> what it measured.
        seconds: how long it took.
    """

    suite: CommandLine
    numbers: Mapping[str, oracles.Numbers]
    seconds: float

    @property
    def patience(self) -> float:
        """Seconds after which a command that does the same has hung, on a busy machine too."""
        return 60 + 10 * self.seconds


def undisturbed(place: Place, which: str) -> Undisturbed:
    """Trains once in a lane, or finds what was trained.

    Raises:
        RuntimeError: even undisturbed it does not end well.
    """
    folder = place.shared / which
    done_file = folder / "seconds"
    suite = CommandLine(folder)
    if not done_file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "work").mkdir(parents=True)
        data_of(place).mkdir(parents=True, exist_ok=True)
        (folder / "work" / "data").symlink_to(data_of(place))
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "suite", *command(which)],
            env=suite.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the undisturbed training ends with {done.returncode}: {done.stderr}")
        done_file.write_text(str(time.monotonic() - began), encoding="utf-8")
    numbers = oracles.numbers_of(folder / "results" / "records")
    return Undisturbed(suite, numbers, float(done_file.read_text(encoding="utf-8")))


def data_of(place: Place) -> Path:
    """Built data sets of a lane."""
    return place.shared / "data"


def wait_until(condition: Callable[[], object], running: Running, patience: float) -> bool:
    """Waits for something to be so; returns whether it was before the command ended."""
    deadline = time.monotonic() + patience
    while not condition():
        if running.process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def recovers(scene: Scene, which: str, expected: Undisturbed, *more: str) -> Iterator[Finding]:
    """Left alone, the same command ends well, and with the numbers of the undisturbed one."""
    for attempt in range(2):
        running = scene.start(*command(which, *more))
        done = running.end(expected.patience)
        yield from oracles.ending(done, refused=False if attempt else None)
        yield from running.left_behind()
        yield from scene.look()
        if done.status == 0:
            break
    yield from oracles.numbers(scene.results, scene.work, expected.numbers, complete=True)
