"""Two machines on one shared folder, which has neither locks nor hard links.

A machine is a name space of its own for processes and host names: no process of it can be seen, asked or
killed from the other, as if a cable lay between them. The folder refuses both calls to every process.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from suite.paths import ROOT
from suite.store.ownership import STALE
from tests.conftest import SMALL, CommandLine
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow

MGD = ("reproduce", "--claim", "mgd-resnet18", *SMALL)

NEITHER_LOCKS_NOR_LINKS = """\
import errno, os, sys

def refuse(event, arguments):
    if event in ("fcntl.flock", "fcntl.lockf", "os.link"):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

sys.addaudithook(refuse)
"""

_AS_ROOT = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
_WAYS = (_AS_ROOT, (*_AS_ROOT, "--map-root-user"))


@functools.cache
def own_machine() -> tuple[str, ...] | None:
    """How to start a command on a machine of its own; None where nobody may."""
    for words in _WAYS:
        with contextlib.suppress(OSError):
            tried = subprocess.run([*words, "hostname", "elsewhere"], capture_output=True, check=False)
            if tried.returncode == 0:
                return words
    return None


@pytest.fixture
def start(suite: CommandLine, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts the command on a machine of a name; nothing outlives the test."""
    machine = own_machine()
    if machine is None:
        pytest.skip("name spaces for processes and host names are not allowed here")
    (tmp_path / "sitecustomize.py").write_text(NEITHER_LOCKS_NOR_LINKS, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    started: list[subprocess.Popen[str]] = []

    def on(name: str) -> subprocess.Popen[str]:
        script = f'hostname {name} && exec "$@"'
        with open(tmp_path / name, "w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                [*machine, "sh", "-c", script, "sh", sys.executable, "-m", "suite", *MGD, "--jobs", "1"],
                env={**suite.environment, "PYTHONPATH": path},
                cwd=ROOT,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
            )
        started.append(process)
        return process

    yield on
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def assert_like(suite: CommandLine, undisturbed: CommandLine) -> None:
    """Every run has one record, and what it measured is what an undisturbed command measures."""
    assert sorted(suite.records) == sorted(undisturbed.records)
    for name, record in suite.records.items():
        expected = undisturbed.records[name]
        assert (record.metrics, record.provenance.weights_sha256) == (
            expected.metrics,
            expected.provenance.weights_sha256,
        )


def test_two_machines_at_once_train_every_run_once(undisturbed, suite, start, tmp_path):
    processes = [start("node-a"), start("node-b")]
    for process in processes:
        assert process.wait(timeout=PATIENCE) == 0, [
            (tmp_path / name).read_text() for name in ("node-a", "node-b")
        ]
    assert_like(suite, undisturbed)
    for record in suite.records.values():
        assert suite.run_folder(record.run_id).log.read_text().count("Epoch(train) [1][") == 1
    assert {record.provenance.host["hostname"] for record in suite.records.values()} <= {"node-a", "node-b"}


def test_a_run_of_a_machine_that_died_is_taken_over_when_it_has_been_quiet_for_long(
    undisturbed, suite, start, tmp_path
):
    first = start("node-a")
    wait_until(lambda: list((suite.folder / "work" / "runs").glob("*/resume.pth")))
    (folder,) = (path.parent for path in (suite.folder / "work" / "runs").glob("*/resume.pth"))
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    resumed = suite.run_folder(folder.name)
    owner = resumed.owner()
    assert owner is not None
    assert owner.host == "node-a"

    second = start("node-b")
    # Nobody there can tell a dead process of another machine from a busy one.
    wait_until(lambda: "on node-a) trains it; waiting for it" in (tmp_path / "node-b").read_text())
    assert second.poll() is None
    (sign_of_life,) = resumed.ownership.glob("*.json")
    long_ago = time.time() - 2 * STALE
    os.utime(sign_of_life, (long_ago, long_ago))
    assert second.wait(timeout=PATIENCE) == 0, (tmp_path / "node-b").read_text()
    assert "resumed epoch:" in resumed.log.read_text()
    assert_like(suite, undisturbed)
