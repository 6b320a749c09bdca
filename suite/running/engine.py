"""Executes a plan: starts each run that may start, follows it and records failures, with any launcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from suite.environment import git_state, host_facts, installed_versions, lock_hash
from suite.errors import SuiteError
from suite.paths import records_dir, work_dir
from suite.planning.plan import Plan, Run
from suite.running.complaints import describe
from suite.running.events import Died, Ended, News, RunEvent, Waiting
from suite.running.launchers import Handle, Launcher, LaunchError
from suite.running.progress import Progress
from suite.running.recording import blocked_by, record_of
from suite.running.request import RunRequest, write_request
from suite.running.scheduler import Scheduler
from suite.store.record import Provenance, Status, standing_by_run
from suite.store.records import check_writable, read_for_run, write_record
from suite.store.run_folders import RunFolder
from suite.store.summaries import read_summaries


class StoreError(SuiteError):
    """The outcome of a run could not be recorded: the run has failed, and every other one would too."""

    exit_status = 1


@dataclass
class Outcome:
    """How a plan ended.

    Attributes:
        trained: runs that this command executed and that finished.
        skipped: runs that had finished before.
        failed: run id -> why a run failed or is blocked.
    """

    trained: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class _Started:
    """A run that was started."""

    run: Run
    handle: Handle
    waits: bool = False
    """Whether another command trains the run, according to its latest event."""
    gives_way: bool = False
    """Whether it was cancelled, so that another run can have its place."""


class Engine:
    """Executes the runs of one plan: the scheduler says which, a launcher starts them."""

    def __init__(
        self,
        plan: Plan,
        command: str,
        launcher: Launcher,
        progress: Progress,
        on_record: Callable[[], None],
        log_to: str | None = None,
        samples: int = 0,
    ) -> None:
        """Prepares; starts nothing yet.

        Args:
            plan: the runs.
            command: the command that asked for them, for records and logs.
            launcher: what starts them.
            progress: shows how far the runs are.
            on_record: called after every run that was recorded.
            log_to: where else the runs are logged (`suite.running.loggers`).
            samples: for how many test images each run keeps its predictions.
        """
        self.plan = plan
        self.launcher = launcher
        self.progress = progress
        self.on_record = on_record
        self.log_to = log_to
        self.samples = samples
        self.outcome = Outcome()
        code = git_state()
        self._provenance = Provenance(
            commit=code.commit,
            dirty=code.dirty,
            command=command,
            packages=installed_versions(),
            lock_sha256=lock_hash(),
            host=host_facts(),
        )
        self._started: list[_Started] = []
        self._started_again: set[str] = set()
        self._set_aside: dict[str, int] = {}

    def execute(self, waits: bool = True) -> Outcome:
        """Executes the runs that are not finished yet.

        Args:
            waits: whether to wait for the end of runs that continue without this command.

        Raises:
            SuiteError: a record cannot be read, the store cannot be written to, or the launcher lacks what
                was asked for.
            StoreError: the store could no longer be written to when a run ended.
            KeyboardInterrupt: passed on after the runs were ended, or left in the queue that they are in.
        """
        open_runs = self._to_do()
        if open_runs:
            check_writable(records_dir())
            self.launcher.prepare({run.recipe.adapter for run in open_runs})
        places = self.launcher.places
        self.progress.begin(len(self.plan.runs), len(self.outcome.skipped), places)
        self._scheduler = Scheduler(
            {run.run_id: run.needs for run in open_runs}, places, self.launcher.has_queue
        )
        if not open_runs:
            return self.outcome
        try:
            with self.progress:
                while not self._scheduler.done:
                    while (run_id := self._scheduler.next()) is not None:
                        self._launch(self.plan.runs[run_id])
                    self.launcher.flush()
                    self._make_way()
                    if not waits and self.launcher.has_queue:
                        break
                    if self._started:
                        self._listen()
        finally:
            if not self.launcher.has_queue:
                for started in self._started:
                    self.launcher.cancel(started.handle)
            self.launcher.close()
        return self.outcome

    def _to_do(self) -> list[Run]:
        """The runs without a finished record, and finished ones whose weights are needed but gone."""
        recorded = standing_by_run(read_summaries(records_dir()))
        finished = {run_id for run_id, record in recorded.items() if record.status == "finished"}
        open_runs = {run_id for run_id in self.plan.runs if run_id not in finished}
        # In reverse: a run that is trained again for its weights needs the weights of others itself.
        for run in reversed(self.plan.runs.values()):
            if run.run_id in open_runs:
                open_runs.update(one for one in run.needs if not self._folder(one).weights.exists())
        self.outcome.skipped = [run_id for run_id in self.plan.runs if run_id not in open_runs]
        return [run for run in self.plan.runs.values() if run.run_id in open_runs]

    @staticmethod
    def _folder(run_id: str) -> RunFolder:
        return RunFolder(work_dir(), run_id)

    def _launch(self, run: Run) -> None:
        """Requests and starts a run, or adopts one already started; records one that could not be started.

        A run that was set aside, and that the other command then failed to train, is not tried again.
        """
        if (ending := self._failed_elsewhere(run)) is not None:
            self._recorded(run, ending)
            return
        if (adopted := self.launcher.adopt(run.run_id)) is not None:
            self._took(run, adopted)
            return
        folder = self._folder(run.run_id)
        launcher = self.launcher
        request = RunRequest.of(
            run, launcher.device, launcher.beside, self._provenance, self.log_to, self.samples
        )
        try:
            write_request(folder, request)
            handle = self.launcher.start(request)
        except LaunchError as problem:
            self._note(run, "failed", str(problem))
        except OSError as problem:
            self._note(run, "failed", describe(problem, folder.path))
        else:
            self._took(run, handle)

    def _took(self, run: Run, handle: Handle) -> None:
        self._started.append(_Started(run, handle))
        self.progress.started(run)

    def _make_way(self) -> None:
        """Cancels a run that only waits for another command, if a run that may start has no place.

        So two commands that train the same runs share the work, instead of one waiting for the other.
        """
        if not self.launcher.gives_way or not self._scheduler.held_up:
            return
        waiting = [started for started in self._started if started.waits]
        if waiting and not any(started.gives_way for started in waiting):
            waiting[0].gives_way = True
            self.launcher.cancel(waiting[0].handle)

    def _listen(self) -> None:
        """Waits for events of the runs and handles them."""
        self.launcher.wait(self.launcher.listening)
        for started in list(self._started):
            for event in self.launcher.poll(started.handle):
                self._take_in(started, event)

    def _take_in(self, started: _Started, event: RunEvent) -> None:
        if isinstance(event, Ended | Died):
            self._started.remove(started)
            self._ended(started, event)
            return
        # News may come at any time.
        if not isinstance(event, News):
            started.waits = isinstance(event, Waiting)
        self.progress.update(started.run, event)

    def _ended(self, started: _Started, event: Ended | Died) -> None:
        """Handles the end of a run, whether or not it reported how it ended."""
        run = started.run
        ending = event if isinstance(event, Ended) else self._found_in_store(run)
        if ending is None:
            assert isinstance(event, Died)
            if started.gives_way:
                self.progress.set_aside(run)
                self._set_aside[run.run_id] = len(read_for_run(records_dir(), run.run_id))
                self._scheduler.set_aside(run.run_id)
            elif started.waits:
                self._died_waiting(run, event)
            else:
                self._note(run, "failed", event.cause)
        elif not ending.recorded:
            self._note(run, ending.status, ending.error or "no reason given")
        else:
            self._recorded(run, ending)

    def _recorded(self, run: Run, ending: Ended) -> None:
        """Handles the end of a run that is on record."""
        error = None if ending.status == "finished" else ending.error or "no reason given"
        self.progress.ended(run, ending.status, ending.metrics, error)
        self.on_record()
        self._settle(run, error)

    def _died_waiting(self, run: Run, death: Died) -> None:
        """Handles the death of a process that waited for another command: restarts it once, never records it.

        It has not tried to train, and a record would tell all others who wait that the run has failed, while
        that command still trains it.
        """
        if run.run_id not in self._started_again:
            self._started_again.add(run.run_id)
            self._launch(run)
            return
        error = f"waited for another command that trains it, and ended before: {death.cause}"
        self.progress.ended(run, "failed", {}, error)
        self._settle(run, error)

    def _failed_elsewhere(self, run: Run) -> Ended | None:
        """How a run that was set aside has failed since, if it has; it would fail again here."""
        if run.run_id not in self._set_aside:
            return None
        records = read_for_run(records_dir(), run.run_id)
        if len(records) == self._set_aside[run.run_id] or records[-1].status == "finished":
            return None
        return Ended(records[-1].status, error=records[-1].error)

    def _found_in_store(self, run: Run) -> Ended | None:
        """The outcome of a run whose worker was killed after recording it, but before reporting it."""
        record = standing_by_run(read_for_run(records_dir(), run.run_id)).get(run.run_id)
        if record is None or record.status != "finished" or not self._folder(run.run_id).weights.exists():
            return None
        return Ended("finished", record.metrics)

    def _settle(self, run: Run, error: str | None) -> None:
        """Notes how a run has ended, and records the runs that it blocks."""
        if error is None:
            self.outcome.trained.append(run.run_id)
            self._scheduler.finished(run.run_id)
            return
        self.outcome.failed[run.run_id] = error
        for run_id, needed in self._scheduler.failed(run.run_id).items():
            blocked = self.plan.runs[run_id]
            reason = blocked_by(blocked, needed)
            self.outcome.failed[run_id] = reason
            self._record(blocked, "blocked", reason)

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
                f"({problem.strerror}): make room there and run the same command again, which resumes"
            ) from None
        self.progress.ended(run, status, {}, error)
        self.on_record()


def selected_papers(claims: Iterable[str], papers: Iterable[Any]) -> list[str]:
    """Ids of the papers that any of the claims belongs to, in the order of `papers`."""
    wanted = set(claims)
    return [paper.id for paper in papers if any(claim.id in wanted for claim in paper.claims)]
