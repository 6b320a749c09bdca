"""Executes a plan: every run in a process of its own, side by side, resumed and recorded."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from suite.environment import git_state, host_facts, installed_versions, lock_hash
from suite.errors import SuiteError, did_you_mean, one_line
from suite.paths import records_dir, work_dir
from suite.planning.plan import Plan, Run
from suite.running.events import Ended, News, RunEvent, Waiting
from suite.running.progress import Progress
from suite.running.recording import record_of
from suite.running.scheduler import Scheduler
from suite.store.plain_files import append_to
from suite.store.records import (
    Provenance,
    Status,
    check_writable,
    read_for_run,
    standing_by_run,
    write_record,
)
from suite.store.run_folders import RunFolder
from suite.store.summaries import read_summaries

DEVICES = ("auto", "cpu", "cuda")

_WORKER = "suite.running.worker"

_GIB_A_RUN = 1.5
"""Memory to leave for a run on a CPU, in GiB: twice what the embedded runs were measured to take."""


class StoreError(SuiteError):
    """The outcome of a run could not be recorded: the run has failed, and so would every other."""

    exit_status = 1


@dataclass
class Outcome:
    """How a plan ended.

    Attributes:
        trained: runs that were executed now and finished.
        skipped: runs that had finished before.
        failed: run id -> why a run failed or is blocked.
    """

    trained: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class _Worker:
    """A run that is being executed."""

    run: Run
    process: BaseProcess
    channel: Connection
    lifeline: Connection
    ending: Ended | None = None
    waits: bool = False
    """Whether another command trains the run, by what the worker said last."""


class Engine:
    """Executes the runs of one plan.

    Workers on a CPU are forked from a server process that has imported PyTorch and the mm packages once, so
    a run costs no import. Workers on a GPU are started afresh: those packages look for GPUs as they are
    imported, and CUDA cannot be used after a fork. A crash takes down nothing but its run.
    """

    def __init__(
        self,
        plan: Plan,
        command: str,
        device: str,
        jobs: int | None,
        progress: Progress,
        on_record: Callable[[], None],
    ) -> None:
        """Prepares; nothing is started yet.

        Args:
            plan: the runs.
            command: the command that asked for them, for records and logs.
            device: `auto` (looked for when there is something to train), `cpu` or `cuda`.
            jobs: how many runs side by side; None: `default_jobs` of the device.
            progress: shows how far things are.
            on_record: called after every run that was recorded.
        """
        self.plan = plan
        self.device = device
        self.jobs = jobs or 1
        self.progress = progress
        self.on_record = on_record
        self.outcome = Outcome()
        self._asked_jobs = jobs
        code = git_state()
        self._provenance = Provenance(
            commit=code.commit,
            dirty=code.dirty,
            command=command,
            packages=installed_versions(),
            lock_sha256=lock_hash(),
            host=host_facts(),
        )
        self._workers: list[_Worker] = []
        self._started_again: set[str] = set()

    def execute(self) -> Outcome:
        """Executes what is not finished yet.

        Raises:
            SuiteError: a record cannot be read, or the store cannot be written to.
            StoreError: the store could no longer be written to when a run ended.
            KeyboardInterrupt: passed on after the workers were stopped.
        """
        waiting = self._to_do()
        if waiting:
            check_writable(records_dir())
            self._settle_device()
        self._scheduler = Scheduler({run.run_id: run.teacher for run in waiting}, self.jobs)
        self.progress.begin(len(self.plan.runs), len(self.outcome.skipped), self.jobs)
        if not waiting:
            return self.outcome
        try:
            self._prepare_server(waiting)
            with self.progress:
                while not self._scheduler.done:
                    self._start()
                    if self._workers:
                        self._listen()
        finally:
            self._stop_workers()
        return self.outcome

    def _settle_device(self) -> None:
        if self.device == "auto":
            self.device = check_device("auto")
        self.jobs = self._asked_jobs or default_jobs(self.device)

    @property
    def _context(self) -> Any:
        """How workers are started; see the class."""
        return multiprocessing.get_context("spawn" if self.device == "cuda" else "forkserver")

    def _prepare_server(self, waiting: list[Run]) -> None:
        """Says what the process imports that workers on a CPU are forked from, and starts it."""
        if self.device == "cuda":
            return
        adapters = sorted({run.recipe.adapter.partition(":")[0] for run in waiting})
        self._context.set_forkserver_preload([_WORKER, *adapters])
        self._ensure_server()

    def _ensure_server(self) -> None:
        """Starts that process where it does not run: at first, and when somebody has killed it."""
        if self.device == "cuda":
            return
        with _inherited(CUDA_VISIBLE_DEVICES="-1"):
            multiprocessing.forkserver.ensure_running()

    def _to_do(self) -> list[Run]:
        """The runs without a finished record, and finished teachers whose weights are needed and gone."""
        recorded = standing_by_run(read_summaries(records_dir()))
        finished = {run_id for run_id, record in recorded.items() if record.status == "finished"}
        open_runs = {run_id for run_id in self.plan.runs if run_id not in finished}
        for run in self.plan.runs.values():
            if run.run_id in open_runs and run.teacher and not self._folder(run.teacher).weights.exists():
                open_runs.add(run.teacher)
        self.outcome.skipped = [run_id for run_id in self.plan.runs if run_id not in open_runs]
        return [run for run in self.plan.runs.values() if run.run_id in open_runs]

    @staticmethod
    def _folder(run_id: str) -> RunFolder:
        return RunFolder(work_dir(), run_id)

    def _start(self) -> None:
        """Starts what may start."""
        while (run_id := self._scheduler.next()) is not None:
            self._launch(self.plan.runs[run_id])

    def _launch(self, run: Run) -> None:
        """Starts the worker of a run, or records that it could not be started."""
        try:
            try:
                self._fork(run)
            except (OSError, EOFError):
                # The server died as it was asked: the next one is a new one.
                self._fork(run)
        except (OSError, EOFError) as problem:
            # No process or no memory left for one.
            reason = one_line(problem) or "no answer"
            self._note(run, "failed", f"its process could not be started, twice: {reason}")

    def _fork(self, run: Run) -> None:
        # Imported here: the module imports no mm package, but only workers have a use for it.
        from suite.running.worker import RunRequest, execute

        request = RunRequest(
            run=run,
            records=records_dir(),
            work=work_dir(),
            device=self.device,
            threads=self._threads(run),
            provenance=self._provenance,
            title=f"{run.label} ({self._provenance.command})",
        )
        self._ensure_server()
        receiving, sending = self._context.Pipe(duplex=False)
        held, lifeline = self._context.Pipe(duplex=False)
        process = self._context.Process(target=execute, args=(request, sending, held), name=run.run_id)
        # Of a forked one, the server has it already.
        with _inherited() if self.device == "cuda" else contextlib.nullcontext():
            process.start()
        sending.close()
        held.close()
        self._workers.append(_Worker(run, process, receiving, lifeline))
        self.progress.started(run)

    def _threads(self, run: Run) -> int:
        """Cores for a run. The order in which threads add up shows in the last digits of a number.

        So a run on embedded data always gets one, whatever runs beside it: resumed with other `--jobs`, or
        repeated on a larger machine of the same kind, it ends with the same number.
        """
        if run.recipe.scale == "embedded":
            return 1
        return max(1, int(host_facts()["cores"]) // self.jobs)

    def _listen(self) -> None:
        """Waits for news of the workers and takes it in."""
        by_channel = {worker.channel: worker for worker in self._workers}
        for channel in wait(list(by_channel), timeout=0.5):
            worker = by_channel[channel]  # type: ignore[index]
            try:
                event: RunEvent = worker.channel.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                worker.process.join()
                self._ended(worker)
                continue
            if isinstance(event, Ended):
                worker.ending = event
            else:
                # News may come at any time.
                if not isinstance(event, News):
                    worker.waits = isinstance(event, Waiting)
                self.progress.update(worker.run, event)

    def _ended(self, worker: _Worker) -> None:
        """Takes in that a worker is gone, with a word or without."""
        run = worker.run
        worker.lifeline.close()
        ending = worker.ending or self._found_in_store(run)
        if ending is None and worker.waits:
            self._died_waiting(run, worker.process.exitcode)
        elif ending is None:
            log = self._folder(run.run_id).log
            self._note(run, "failed", _cause_of_death(worker.process.exitcode, log))
        elif not ending.recorded:
            self._note(run, ending.status, ending.error or "no reason given")
        else:
            self.progress.ended(run, ending.status, ending.metrics, ending.error)
            self.on_record()
            self._settle(run, ending.error if ending.status != "finished" else None)

    def _died_waiting(self, run: Run, exit_code: int | None) -> None:
        """Takes in that a worker died before its turn. It has tried nothing, so there is nothing to record.

        A record would tell all others who wait that the run has failed, while somebody trains it.
        """
        if run.run_id not in self._started_again:
            self._started_again.add(run.run_id)
            self._launch(run)
            return
        death = _cause_of_death(exit_code, self._folder(run.run_id).log)
        error = f"waited for another command that trains it, and ended before: {death}"
        self.progress.ended(run, "failed", {}, error)
        self._settle(run, error)

    def _found_in_store(self, run: Run) -> Ended | None:
        """The outcome of a worker that was killed after it had recorded its run, but before it said so."""
        record = standing_by_run(read_for_run(records_dir(), run.run_id)).get(run.run_id)
        if record is None or record.status != "finished" or not self._folder(run.run_id).weights.exists():
            return None
        return Ended("finished", record.metrics)

    def _settle(self, run: Run, error: str | None) -> None:
        """Takes in how a run has ended, and records those that it blocks."""
        if error is None:
            self.outcome.trained.append(run.run_id)
            self._scheduler.finished(run.run_id)
            return
        self.outcome.failed[run.run_id] = error
        for student, teacher in self._scheduler.failed(run.run_id).items():
            reason = f"its teacher, run {teacher}, did not finish"
            self.outcome.failed[student] = reason
            self._record(self.plan.runs[student], "blocked", reason)

    def _note(self, run: Run, status: Status, error: str) -> None:
        """Records a run that could not record itself."""
        self._record(run, status, error)
        self._settle(run, error)

    def _record(self, run: Run, status: Status, error: str) -> None:
        record = record_of(run, status, self._provenance, error=error)
        try:
            write_record(records_dir(), record)
        except OSError as problem:
            raise StoreError(
                f"{run.label}: {error}; and no record of it can be written to {records_dir()} "
                f"({problem.strerror}): make room there and run the same command again, which goes on"
            ) from None
        self.progress.ended(run, status, {}, error)
        self.on_record()

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + 5
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()


@contextlib.contextmanager
def _inherited(**environment: str) -> Iterator[None]:
    """What a process has that is started meanwhile: a log, SIGINT ignored, environment variables.

    The mm packages print as they are imported, and standard output is for results. A terminal sends Ctrl-C to
    all processes of a command: the engine alone answers it, and stops its workers.
    """
    log = work_dir() / "workers.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    file = append_to(log)
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


def _cause_of_death(exit_code: int | None, log: Path) -> str:
    """One line on a worker that ended without a word."""
    if exit_code is not None and exit_code < 0:
        known = {number.value: number.name for number in signal.Signals}
        name = known.get(-exit_code, f"signal {-exit_code}")
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}; the same command resumes it"
    return f"its process ended with status {exit_code} and no record; see {_last_line(log)}"


def _last_line(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return f"{log.name}: {lines[-1]}" if lines else log.name


def default_jobs(device: str) -> int:
    """Runs side by side unless told otherwise: one a core on a CPU, one on a GPU.

    The small models of the embedded data gain nothing from a second core; memory sets the limit where
    there are many.
    """
    if device == "cuda":
        return 1
    host = host_facts()
    by_memory = int(float(host["memory_gib"]) / _GIB_A_RUN) or 1
    return min(int(host["cores"]), by_memory)


def check_device(device: str) -> str:
    """Settles `auto` and makes sure that a GPU that is asked for is there.

    Raises:
        SuiteError: the device is unknown, or PyTorch sees no GPU.
    """
    if device not in DEVICES:
        raise SuiteError(f"unknown device {device!r}: {did_you_mean(device, DEVICES)}")
    if device == "cpu":
        return device
    # Asked in another process, for the engine itself never imports PyTorch.
    question = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, check=False)
    if answer.returncode == 0:
        return "cuda"
    if device == "cuda":
        raise SuiteError(
            "--device cuda: PyTorch sees no GPU; use --device cpu, or ask 'python -m suite doctor'"
        )
    return "cpu"


def selected_papers(claims: Iterable[str], papers: Iterable[Any]) -> list[str]:
    """Ids of the papers that any of the claims belongs to, in their order."""
    wanted = set(claims)
    return [paper.id for paper in papers if any(claim.id in wanted for claim in paper.claims)]
