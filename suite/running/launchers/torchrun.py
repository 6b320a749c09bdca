"""Executes runs on several devices of this machine by torchrun: one run at a time, one process per device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from suite.errors import SuiteError, one_line
from suite.paths import records_dir, work_dir
from suite.planning.plan import Run
from suite.running.events import Died, Ended, RunEvent
from suite.running.heartbeats import Beat, last_beat
from suite.running.launchers import Handle, Launcher, LaunchError
from suite.running.launchers.local import cause_of_death, common_log, count_gpus, settled_device
from suite.running.request import RunRequest
from suite.store.plain_files import append_to
from suite.store.record import standing_by_run
from suite.store.records import read_for_run
from suite.store.run_folders import RunFolder

_SECONDS_TO_END = 40
"""How long the agent may take to end; it gives its own processes 30 seconds."""


def processes_for(run: Run) -> int:
    """How many processes execute a run: one per device that it trains on; scoring alone takes one."""
    return run.recipe.devices_used if run.trains else 1


def command_for(request: RunRequest) -> list[str]:
    """The command line that executes a requested run on this machine, on as many devices as its recipe names.

    For several devices ``work`` runs the agent of torchrun, which starts one process per device. The exit
    status is the same as for one device: 0, 1, 2, or 75 if all were told to stop.
    """
    return [sys.executable, "-m", "suite", "work", request.run_id]


@dataclass(eq=False)
class _Work(Handle):
    """A command that executes a run.

    Attributes:
        request: the run.
        process: the command.
        tried_before: how many records of the run there were before.
        said: the heartbeat that was reported last.
    """

    request: RunRequest
    process: subprocess.Popen[bytes]
    tried_before: int
    said: Beat | None


@dataclass
class TorchrunLauncher(Launcher):
    """Executes one run at a time, each on as many devices as its recipe names.

    Progress is read from the run's folder, and how it ended from its record. If the engine is killed, the
    run continues to its end and records itself.

    Attributes:
        device: `auto` (settled when there is something to train), `cpu` or `cuda`.
        devices: the largest number that one of the runs trains on.
    """

    device: str = "auto"
    devices: int = 1
    places: int | None = 1
    beside: int = 1
    _works: list[_Work] = field(default_factory=list)

    def prepare(self, adapters: Collection[str]) -> None:
        """Settles the device, and checks that there are enough; see `Launcher.prepare`."""
        self.device = settled_device(self.device)
        if self.device == "cuda" and (gpus := count_gpus()) < self.devices:
            raise SuiteError(
                f"--launcher torchrun: a run trains on {self.devices} devices, but PyTorch sees {gpus} "
                f"here; resources.devices={gpus} trains on those and accumulates gradients"
            )

    def start(self, request: RunRequest) -> Handle:
        """Starts the command that executes a run; see `Launcher.start`."""
        folder = RunFolder(work_dir(), request.run_id)
        tried_before = len(read_for_run(records_dir(), request.run_id))
        said = last_beat(folder.events)
        try:
            with append_to(common_log()) as log:
                # In a session of its own it gets no Ctrl-C, which only the engine handles.
                process = subprocess.Popen(
                    command_for(request),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as problem:
            raise LaunchError(f"its process could not be started: {one_line(problem)}") from None
        work = _Work(request, process, tried_before, said)
        self._works.append(work)
        return work

    def wait(self, seconds: float) -> None:
        """Waits for the end of the run; see `Launcher.wait`."""
        try:
            self._works[-1].process.wait(seconds)
        except IndexError:
            time.sleep(seconds)
        except subprocess.TimeoutExpired:
            return

    def poll(self, handle: Handle) -> Sequence[RunEvent]:
        """The events of a run, from its folder and its command; see `Launcher.poll`."""
        assert isinstance(handle, _Work)
        events: list[RunEvent] = []
        beat = last_beat(RunFolder(work_dir(), handle.request.run_id).events)
        if beat is not None and beat != handle.said:
            handle.said = beat
            events += [beat.event] if beat.event else []
        status = handle.process.poll()
        if status is not None:
            self._works.remove(handle)
            events.append(_ending(handle, status))
        return events

    def cancel(self, handle: Handle) -> None:
        """Tells the agent to end, which ends its processes; see `Launcher.cancel`."""
        assert isinstance(handle, _Work)
        handle.process.terminate()

    def close(self) -> None:
        """Waits for commands to end, and kills those that do not; see `Launcher.close`."""
        for work in self._works:
            try:
                work.process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                os.killpg(work.process.pid, signal.SIGKILL)


def _ending(work: _Work, status: int) -> Ended | Died:
    """How a command has ended: from its record, or from its exit status if it left none."""
    records = read_for_run(records_dir(), work.request.run_id)
    if len(records) > work.tried_before:
        return Ended(records[-1].status, records[-1].metrics, records[-1].error)
    if status == 0:
        standing = standing_by_run(records)[work.request.run_id]
        return Ended("finished", standing.metrics)
    if status == os.EX_TEMPFAIL:
        return Died("was told to stop and left a resume point; the same command resumes from there")
    return Died(cause_of_death(status, common_log()))
