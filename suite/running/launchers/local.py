"""Executes runs on this machine: one process per run, in slots of its cores or its GPUs."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from suite.environment import host_facts
from suite.errors import SuiteError, did_you_mean, one_line
from suite.paths import records_dir, work_dir
from suite.running.complaints import last_line
from suite.running.events import Died, Ended, RunEvent
from suite.running.launchers import Handle, Launcher, LaunchError
from suite.running.request import RunRequest
from suite.store.plain_files import append_to
from suite.store.run_folders import RunFolder

DEVICES = ("auto", "cpu", "cuda")

_WORKER = "suite.running.worker"
_PRELOADED = "suite.running.preloaded"

_GIB_A_RUN = 1.5
"""Memory to reserve per run on a CPU, in GiB: twice the measured use of the embedded runs."""

_VISIBLE = "CUDA_VISIBLE_DEVICES"

_NO_GPU = "-1"

_NO_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""pandas imports pyarrow if it is installed, and pyarrow's allocator starts a thread, which a fork does not
copy: this keeps it from starting one in the server that workers are forked from."""

_SECONDS_TO_START = 10
"""For how long to retry starting a worker."""

_SECONDS_TO_END = 5
"""How long a worker may take to end after it was told to."""


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time.

    Attributes:
        name: `cpu:0`, `cpu:1`, ... or `cuda:0`, `cuda:1`, ...
        visible: the value of CUDA_VISIBLE_DEVICES for its worker.
    """

    name: str
    visible: str


def cpu_slots(count: int) -> tuple[Slot, ...]:
    """Slots on the CPU, whose workers see no GPU."""
    return tuple(Slot(f"cpu:{number}", _NO_GPU) for number in range(count))


def gpu_slots(count: int, visible: str | None) -> tuple[Slot, ...]:
    """One slot per GPU, whose worker sees only that GPU.

    Args:
        count: how many GPUs PyTorch sees.
        visible: CUDA_VISIBLE_DEVICES of this command; PyTorch counts the devices that it names.
    """
    names = [name.strip() for name in visible.split(",")] if visible else []
    names = names[:count] if len(names) >= count else [str(number) for number in range(count)]
    return tuple(Slot(f"cuda:{number}", name) for number, name in enumerate(names))


@dataclass(eq=False)
class _Worker(Handle):
    """A process that executes a run."""

    run_id: str
    slot: Slot
    process: BaseProcess
    channel: Connection
    lifeline: Connection
    ending: Ended | None = None


@dataclass
class LocalLauncher(Launcher):
    """Executes each run in a process of its own on this machine.

    Workers on a CPU are forked from a server process that has imported PyTorch and the mm packages once, so
    no run has to import them. Workers on a GPU are spawned: those packages look for GPUs when they are
    imported, and CUDA cannot be used after a fork. A crash affects only its own run.

    Attributes:
        device: `auto` (settled when there is something to train), `cpu` or `cuda`.
        jobs: how many runs in parallel, on GPUs at most one per GPU; None for one per core if memory allows,
            or one per GPU.
    """

    device: str = "auto"
    jobs: int | None = None
    places: int | None = None
    beside: int = 1
    gives_way: bool = True
    _free: list[Slot] = field(default_factory=list)
    _workers: list[_Worker] = field(default_factory=list)

    def prepare(self, adapters: Collection[str]) -> None:
        """Settles device and slots, and starts the server process on a CPU; see `Launcher.prepare`."""
        self.device = settled_device(self.device)
        if self.device == "cuda":
            slots = gpu_slots(count_gpus(), os.environ.get(_VISIBLE))[: self.jobs]
        else:
            slots = cpu_slots(self.jobs or runs_on_cores())
            modules = sorted({adapter.partition(":")[0] for adapter in adapters})
            self._context.set_forkserver_preload([_WORKER, *modules, _PRELOADED])
            with _inherited(**{_VISIBLE: _NO_GPU}, **_NO_THREADS):
                multiprocessing.forkserver.ensure_running()
        self._free = list(slots)
        self.places = self.beside = len(slots)

    @property
    def _context(self) -> Any:
        """The start method of workers; see the class."""
        return multiprocessing.get_context("spawn" if self.device == "cuda" else "forkserver")

    def start(self, request: RunRequest) -> Handle:
        """Starts the worker of a run; see `Launcher.start`."""
        # Imported here: the module imports no mm package, but only workers need it.
        from suite.running.worker import execute

        slot = self._free.pop(0)
        call = (request, records_dir(), work_dir(), slot.name)
        try:
            worker = self._started(request.run_id, slot, execute, *call)
        except LaunchError:
            self._free.insert(0, slot)
            raise
        self._workers.append(worker)
        return worker

    def _started(self, name: str, slot: Slot, target: Callable[..., None], *call: Any) -> _Worker:
        """Starts a process that calls `target` with the arguments, a channel for events and its lifeline.

        Raises:
            LaunchError: no process could be started, for example for lack of memory.
        """
        deadline = time.monotonic() + _SECONDS_TO_START
        while True:
            try:
                return self._asked_for(name, slot, target, *call)
            except (OSError, EOFError) as problem:
                # A server that was killed no longer answers; once it is dead, the next try starts a new one.
                if time.monotonic() > deadline:
                    reason = one_line(problem) or "no answer"
                    raise LaunchError(
                        f"its process could not be started in {_SECONDS_TO_START} s: {reason}"
                    ) from None
            time.sleep(0.1)

    def _asked_for(self, name: str, slot: Slot, target: Callable[..., None], *call: Any) -> _Worker:
        with _inherited(**{_VISIBLE: slot.visible}, **_NO_THREADS):
            if self.device != "cuda":
                # Restarts the server if it was killed.
                multiprocessing.forkserver.ensure_running()
            receiving, sending = self._context.Pipe(duplex=False)
            held, lifeline = self._context.Pipe(duplex=False)
            process = self._context.Process(target=target, args=(*call, sending, held), name=name)
            process.start()
        sending.close()
        held.close()
        return _Worker(name, slot, process, receiving, lifeline)

    def wait(self, seconds: float) -> None:
        """Waits for an event of a worker; see `Launcher.wait`."""
        wait([worker.channel for worker in self._workers], timeout=seconds)

    def poll(self, handle: Handle) -> Sequence[RunEvent]:
        """The events of a worker; see `Launcher.poll`. `Ended` is returned only once its slot is free."""
        assert isinstance(handle, _Worker)
        events: list[RunEvent] = []
        try:
            while handle.channel.poll():
                event: RunEvent = handle.channel.recv()
                if isinstance(event, Ended):
                    handle.ending = event
                else:
                    events.append(event)
        except (EOFError, OSError):
            events.append(self._gone(handle))
        return events

    def _gone(self, worker: _Worker) -> Ended | Died:
        """Frees the slot of a worker that is gone, and says how it ended."""
        worker.process.join()
        worker.lifeline.close()
        worker.channel.close()
        self._workers.remove(worker)
        self._free.insert(0, worker.slot)
        log = RunFolder(work_dir(), worker.run_id).log
        return worker.ending or Died(cause_of_death(worker.process.exitcode, log))

    def cancel(self, handle: Handle) -> None:
        """Tells a worker to end; see `Launcher.cancel`."""
        assert isinstance(handle, _Worker)
        handle.process.terminate()

    def close(self) -> None:
        """Waits for workers to end, and kills those that do not; see `Launcher.close`."""
        deadline = time.monotonic() + _SECONDS_TO_END
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()


def common_log() -> Path:
    """The file for what workers print before they switch to the log of their run."""
    log = work_dir() / "workers.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


@contextlib.contextmanager
def _inherited(**environment: str) -> Iterator[None]:
    """Sets what processes started meanwhile inherit: output to a log, SIGINT ignored, environment variables.

    The mm packages print when they are imported, and standard output is for results. A terminal sends Ctrl-C
    to all processes of a command: only the engine handles it, and stops its workers.
    """
    file = append_to(common_log())
    before = {name: os.environ.get(name) for name in environment}
    sys.stdout.flush()
    sys.stderr.flush()
    outputs = {number: os.dup(number) for number in (1, 2)}
    answer = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    with file:
        for number in outputs:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        for number, output in outputs.items():
            os.dup2(output, number)
            os.close(output)
        signal.signal(signal.SIGINT, answer)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def cause_of_death(exit_code: int | None, log: Path) -> str:
    """One line on how a worker died that did not report how it ended."""
    if exit_code is not None and exit_code < 0:
        return f"killed by {name_of_signal(-exit_code)}; the same command resumes it"
    return f"its process ended with status {exit_code} and no record; see {last_line(log)}"


def name_of_signal(number: int) -> str:
    """The name of a signal that has killed a process."""
    known = {known.value: known.name for known in signal.Signals}
    name = known.get(number, f"signal {number}")
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


def runs_on_cores() -> int:
    """The default number of parallel runs on the CPU: one per core, fewer if memory is short.

    The small models for the embedded data gain nothing from a second core.
    """
    host = host_facts()
    by_memory = int(float(host["memory_gib"]) / _GIB_A_RUN) or 1
    return min(int(host["cores"]), by_memory)


NO_GPU = "--device cuda: PyTorch sees no GPU; use --device cpu, or see 'python -m suite doctor'"


def check_device(device: str) -> None:
    """Checks that a device is known and, for `cuda`, that there is a GPU.

    Raises:
        SuiteError: it is unknown, or PyTorch sees no GPU.
    """
    if device not in DEVICES:
        raise SuiteError(f"unknown device {device!r}: {did_you_mean(device, DEVICES)}")
    if device == "cuda" and not count_gpus():
        raise SuiteError(NO_GPU)


def settled_device(device: str) -> str:
    """`cpu` or `cuda`; `auto` becomes `cuda` if there is a GPU.

    Raises:
        SuiteError: as `check_device`.
    """
    check_device(device)
    return "cuda" if device != "cpu" and count_gpus() else "cpu"


@functools.cache
def count_gpus() -> int:
    """How many GPUs PyTorch sees here; 0 if it is not installed."""
    # Asked in another process, since the engine itself never imports PyTorch.
    question = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    answer = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=False
    ).stdout.split()
    return int(answer[-1]) if answer and answer[-1].isdecimal() else 0
