"""Runs the command line several times a second, each call in a child of a process that has it imported.

A child has caches, signal handlers, limits and folders of its own, so that no call can spoil another, and
none costs the start of Python and its packages.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CPU_SECONDS = 30
"""What a verb that trains nothing may take of a processor; the slowest takes four."""

MEMORY = 4 * 2**30
"""Bytes of address space for such a verb, beside what this process has."""

LARGEST_FILE = 256 * 2**20
"""Bytes. Output counts: it goes to a file."""

_WALL_SECONDS = 300.0
_IDLE_SECONDS = 15.0
_UNREACHABLE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Done:
    """A command that was run.

    Attributes:
        words: what stood behind ``python -m suite``.
        status: the exit status; negative is the signal that ended it.
        out: standard output.
        err: standard error.
        hung: why it had to be stopped; empty where it ended by itself.
    """

    words: tuple[str, ...]
    status: int
    out: str
    err: str
    hung: str = ""


def warm_up() -> None:
    """Imports what verbs import, so that the children have it; nothing of what verbs read is read yet."""
    import hydra  # noqa: F401
    import pandas  # noqa: F401
    import rich.table  # noqa: F401
    import scipy.stats  # noqa: F401

    import suite.cli
    from suite.planning import composing  # noqa: F401

    for verb in suite.cli.VERBS:
        suite.cli.build_parser(verb)


def call(words: Sequence[str], folder: Path, environment: Mapping[str, str], changed: bool = False) -> Done:
    """Calls the command line in a child process, as if nothing that trains were installed.

    Args:
        words: what stands behind ``python -m suite``.
        folder: the current folder.
        environment: variables beside those that this process has; the network cannot be reached.
        changed: whether files that this process may have read before have changed since.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(words, folder, environment, out.fileno(), err.fileno(), changed)
        status, hung = _wait(child)
        return Done(tuple(words), status, text_of(out), text_of(err), hung)


def text_of(file: IO[bytes]) -> str:
    """All that a process wrote to a file."""
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


def _become(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], out: int, err: int, changed: bool
) -> None:
    """The child: never returns."""
    status = 1
    try:
        faulthandler.disable()
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.pop("SUITE_PAPERS", None)
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy"), _UNREACHABLE)
        os.environ.update({**proxies, "COLUMNS": "80", **environment})
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if changed:
            _forget()
        status = _main(words)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _address_space() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    return pages * resource.getpagesize()


def _forget() -> None:
    """Empties the caches of the suite's modules."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "suite":
            for value in vars(module).values():
                if callable(clear := getattr(value, "cache_clear", None)):
                    clear()


def _main(words: Sequence[str]) -> int:
    """The status that Python itself would end with."""
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        import suite.audit.compare
        import suite.doctor
        from suite.cli import main

        # As where nothing that trains is installed: everything up to the first network that would be built.
        suite.doctor.lacks_training = lambda: True
        suite.audit.compare.audit_plan = lambda *arguments: iter(())
        return main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 1


def _wait(child: int) -> tuple[int, str]:
    """Status of a child, and why it had to be killed."""
    descriptor = os.pidfd_open(child)
    hung = ""
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        began = idle_since = time.monotonic()
        used = 0
        while not poll.poll(500):
            now = time.monotonic()
            state, ticks = _activity(child)
            if state != "S" or ticks != used:
                used, idle_since = ticks, now
            if now - idle_since > _IDLE_SECONDS:
                hung = "waits for something that does not come"
            elif now - began > _WALL_SECONDS:
                hung = "does not end"
            if hung:
                os.killpg(child, signal.SIGKILL)
                break
    finally:
        os.close(descriptor)
    _, code = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(code)
    if status == -signal.SIGXCPU:
        hung = f"takes more than {CPU_SECONDS} s of a processor"
    return status, hung


def _activity(process: int) -> tuple[str, int]:
    """State of a process, and the processor time that it and its ended children have used."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "Z", 0
    fields = text.rpartition(")")[2].split()
    return fields[0], sum(map(int, fields[11:15]))
