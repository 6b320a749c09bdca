"""Executes runs on a cluster: one job per run, which Slurm starts after what it needs, and requeues."""

from __future__ import annotations

import contextlib
import getpass
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING

from suite.errors import SuiteError
from suite.paths import records_dir, work_dir
from suite.planning.clusters import Cluster
from suite.running import slurm_queue
from suite.running.complaints import last_line
from suite.running.events import Died, Ended, RunEvent
from suite.running.heartbeats import last_beat
from suite.running.launchers import Handle, Launcher
from suite.running.launchers.torchrun import processes_for
from suite.running.recording import blocked_by
from suite.running.request import RunRequest, find_request
from suite.running.slurm_queue import JobState
from suite.running.submissions import Submission, all_submissions, write_submission
from suite.store.ownership import owned
from suite.store.records import read_for_run
from suite.store.run_folders import RunFolder

if TYPE_CHECKING:
    from suite.running.launchers.sbatch import Script

_SHORTEST = 1.0
_LONGEST = 15.0
"""Seconds between two looks at the queue: longer the longer no run ends."""

_GRACE = 30.0
"""Seconds that a record may take to become visible here after its job has ended on another machine."""


@dataclass(eq=False)
class _Queued(Handle):
    """A run that is in the queue, or will be submitted by the next `flush`."""

    run_id: str
    submission: Submission | None = None
    ended_at: float | None = None
    told_at: float = 0.0
    """Modification time of the heartbeat file when it was last reported."""


@dataclass
class SlurmLauncher(Launcher):
    """Submits each run as a job, or as a task of an array, and follows them in Slurm's queue.

    A run that an earlier command has submitted is followed and not submitted again. Only one command at a
    time, on any machine, submits for a work folder; the jobs continue without it.

    Attributes:
        cluster: the resources that jobs ask for.
        device: `auto` (GPUs if the cluster has some; settled by `prepare`), `cpu` or `cuda`.
        tell: called with each line that the user has to see.
    """

    cluster: Cluster
    device: str = "auto"
    tell: Callable[[str], None] = print
    has_queue = True
    listening = _LONGEST
    _gpus: int | None = None
    _largest: int = 1
    _live: dict[str, Submission] = field(default_factory=dict)
    _adopted: int = 0
    _new: list[RunRequest] = field(default_factory=list)
    _handles: dict[str, _Queued] = field(default_factory=dict)
    _states: Mapping[str, JobState] | None = None
    _pause: float = _SHORTEST
    _submitting: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def prepare(self, adapters: Collection[str]) -> None:
        """Asks what the cluster has and what is queued already; see `Launcher.prepare`."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                owned(
                    work_dir() / "slurm" / "submitting",
                    on_wait=lambda owner: self.tell("another command is submitting; waiting for it"),
                )
            )
            self.settle()
            self._live = live_submissions()
            self._submitting = stack.pop_all()

    def settle(self, guess: bool = False) -> None:
        """Finds out the resources of the cluster, and settles the device.

        Args:
            guess: if Slurm cannot be asked, assume that the cluster has what is needed.

        Raises:
            SuiteError: there is no Slurm here, or the cluster lacks what was asked for.
        """
        self._gpus = self.cluster.gpus
        if self._gpus is None and self.device != "cpu":
            with contextlib.suppress(*([SuiteError] if guess else [])):
                self._gpus = slurm_queue.gpus_of_a_node(self.cluster.partition)
        if self.device == "cuda" and self._gpus == 0:
            raise SuiteError(
                f"--device cuda: the nodes of cluster {self.cluster.name} have no GPU; use --device cpu, or "
                "name another partition with cluster.partition=NAME"
            )
        if self.device == "auto":
            self.device = "cpu" if self._gpus == 0 else "cuda"
        self._largest = slurm_queue.largest_array()

    def adopt(self, run_id: str) -> Handle | None:
        """Follows a run that is in the queue already; see `Launcher.adopt`."""
        if run_id not in self._live:
            return None
        self._adopted += 1
        self._handles[run_id] = _Queued(run_id, self._live[run_id])
        return self._handles[run_id]

    def start(self, request: RunRequest) -> Handle:
        """Queues a run for `flush`, which submits it; see `Launcher.start`."""
        self._new.append(request)
        self._handles[request.run_id] = _Queued(request.run_id)
        return self._handles[request.run_id]

    def scripts(self, requests: Sequence[RunRequest]) -> list[Script]:
        """The scripts of runs, in the order in which they are submitted.

        Raises:
            SuiteError: submitit is not installed, or a run takes more GPUs than a node has.
        """
        try:
            from suite.running.launchers.sbatch import Script, batches
        except ModuleNotFoundError as error:
            raise SuiteError(
                f"--launcher slurm needs {error.name}, which is not installed: pip install '.[slurm]'"
            ) from None
        for request in requests:
            self._check_size(request)
        queued = self._live.keys() & self._handles.keys()
        on_gpus = self.device == "cuda"
        return [Script(batch, self.cluster, on_gpus) for batch in batches(requests, queued, self._largest)]

    def _check_size(self, request: RunRequest) -> None:
        processes = processes_for(request.run)
        if self.device == "cuda" and self._gpus is not None and processes > self._gpus:
            raise SuiteError(
                f"{request.run.label} trains on {processes} GPUs, but a node of cluster {self.cluster.name} "
                f"has {self._gpus}: resources.devices={self._gpus} accumulates gradients to its batch"
            )

    def flush(self) -> None:
        """Submits the runs that `start` has queued; see `Launcher.flush`.

        Raises:
            SuiteError: sbatch refuses. Jobs submitted before continue, and the same command follows them.
            OSError: a submission cannot be written to the run's folder.
        """
        if self._adopted:
            self.tell(f"{_count(self._adopted, 'run')} already submitted")
        if self._new:
            scripts = self.scripts(self._new)
            for script in scripts:
                self._submit(script)
            self.tell(f"submitted {_count(len(self._new), 'run')} in {_count(len(scripts), 'script')}")
        self._adopted = 0
        self._new.clear()
        self._submitting.close()

    def _submit(self, script: Script) -> None:
        batch = script.batch
        needed = {run_id: self._handles[run_id].submission for run_id in batch.needs}
        after = {run_id: submission.key for run_id, submission in needed.items() if submission}
        attempts = [len(read_for_run(records_dir(), request.run_id)) for request in batch.requests]
        job = script.submit(list(after.values()))
        for index, request in enumerate(batch.requests):
            key = f"{job}_{index}" if batch.is_array else job
            submission = Submission(
                run_id=request.run_id,
                series=request.series,
                seed=request.run.seed,
                label=request.run.label,
                job=job,
                index=index if batch.is_array else None,
                name=batch.name,
                user=getpass.getuser(),
                after=after,
                script=str(script.file_of(job)),
                log=str(script.log_of(key)),
                submitted_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                attempts=attempts[index],
            )
            write_submission(RunFolder(work_dir(), request.run_id), submission)
            self._handles[request.run_id].submission = submission

    def wait(self, seconds: float) -> None:
        """Sleeps, then looks at the queue; see `Launcher.wait`."""
        time.sleep(min(seconds, self._pause))
        self._pause = min(self._pause * 1.5, _LONGEST)
        followed = [handle.submission for handle in self._handles.values() if handle.submission]
        # A controller that does not answer now may do so later, and its jobs continue meanwhile.
        with contextlib.suppress(SuiteError):
            self._states = slurm_queue.states_of(followed)

    def poll(self, handle: Handle) -> Sequence[RunEvent]:
        """How far a job is, or how it has ended; see `Launcher.poll`."""
        assert isinstance(handle, _Queued)
        if handle.submission is None or self._states is None:
            return []
        state = self._states.get(handle.submission.key)
        if state is not None and not state.is_over and not state.never_starts:
            handle.ended_at = None
            return _sign_of_life(handle)
        ending = _ending(handle, handle.submission, state)
        if ending is None:
            return []
        del self._handles[handle.run_id]
        self._pause = _SHORTEST
        return [ending]

    def cancel(self, handle: Handle) -> None:
        """Cancels a job; see `Launcher.cancel`."""
        assert isinstance(handle, _Queued)
        if handle.submission is not None:
            slurm_queue.cancel([handle.submission])

    def close(self) -> None:
        """Lets other commands submit; the jobs continue. See `Launcher.close`."""
        self._submitting.close()


def live_submissions() -> dict[str, Submission]:
    """Runs of this work folder that are in the queue, by id.

    Raises:
        SuiteError: Slurm cannot be asked.
    """
    found = list(all_submissions(work_dir()))
    states = slurm_queue.states_of(found)
    return {
        submission.run_id: submission
        for submission in found
        if (state := states.get(submission.key)) and not state.is_over and not state.never_starts
    }


def _sign_of_life(handle: _Queued) -> list[RunEvent]:
    events = RunFolder(work_dir(), handle.run_id).events
    try:
        changed = events.stat().st_mtime
    except OSError:
        return []
    if changed == handle.told_at:
        return []
    handle.told_at = changed
    beat = last_beat(events)
    return [] if beat is None or beat.event is None else [beat.event]


def _ending(handle: _Queued, submission: Submission, state: JobState | None) -> Ended | Died | None:
    """How a run has ended whose job is over; None if its record may just not be visible yet."""
    folder = RunFolder(work_dir(), handle.run_id)
    records = read_for_run(records_dir(), handle.run_id)
    finished = [record for record in records if record.status == "finished"]
    # Weights that are trained again may equal the earlier ones, and then there is nothing to record.
    if finished and folder.weights.exists():
        return Ended("finished", finished[0].metrics)
    if new := records[submission.attempts :]:
        return Ended(new[-1].status, error=new[-1].error)
    if state is not None and state.never_starts and submission.after:
        return Ended("blocked", error=_blocked(folder, submission), recorded=False)
    handle.ended_at = handle.ended_at or time.monotonic()
    said_so = state is not None and state.state in ("COMPLETED", "FAILED")
    if said_so and time.monotonic() - handle.ended_at < _GRACE:
        return None
    return Died(what_became_of(submission, state))


def _blocked(folder: RunFolder, submission: Submission) -> str:
    """Why a job can never start: names the first run that it waits for and that did not finish."""
    request = find_request(folder)
    missing = next(filterfalse(_is_finished, submission.after), next(iter(submission.after)))
    return blocked_by(request.run, missing) if request else f"run {missing}, which it needs, did not finish"


def _is_finished(run_id: str) -> bool:
    return any(record.status == "finished" for record in read_for_run(records_dir(), run_id))


def what_became_of(submission: Submission, state: JobState | None) -> str:
    """One line on a job that has ended and left no record."""
    how = state.words if state is not None else "is no longer known to Slurm"
    log = Path(submission.log)
    told = f", with no record (see {last_line(log)})" if log.exists() else ""
    return f"its job {submission.key} {how}{told}; the same command resumes it"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
