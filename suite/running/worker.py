"""Executes one run in a process of its own, and records it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path

from suite.contract import StoppedError
from suite.running.attempt import Outcome, attempt, train_and_score
from suite.running.complaints import describe, one_line
from suite.running.events import Ended, News, RunEvent, Training, Waiting
from suite.running.execution import Execution, Tell, announce
from suite.running.heartbeats import Journal
from suite.running.ranks import Group
from suite.running.request import RunRequest
from suite.running.run_log import RunLog
from suite.store.ownership import Owner, Ownership, TakenOverError, owned, this_process
from suite.store.plain_files import append_to, refuse_link
from suite.store.record import Record
from suite.store.records import read_for_run, write_record
from suite.store.run_folders import RunFolder
from suite.store.samples import write_samples
from suite.store.scalars import write_scalars


def execute(
    request: RunRequest, records: Path, work: Path, slot: str, channel: Connection, lifeline: Connection
) -> None:
    """Entry point of the worker process.

    Sends events (`suite.running.events`) through `channel`. Ends at once when the other end of `lifeline`
    closes, since a run whose engine is gone has nobody to report to; its resume point is kept.
    """
    threading.Thread(target=_die_with_engine, args=(lifeline,), daemon=True).start()
    channel.send(execute_here(Execution.of(request, records, work, slot), channel.send))


def execute_here(execution: Execution, tell: Tell) -> Ended:
    """Executes a run in this process, whose output then goes to the log of the run.

    Args:
        execution: the run.
        tell: called with every event of the run except its end.

    Returns:
        How it ended; not recorded if its folder or the record store cannot be written.

    Raises:
        StoppedError: it was asked to stop, and did; there is nothing to record yet.
    """
    try:
        return _execute(execution, tell)
    except StoppedError:
        raise
    except Exception as error:
        return Ended("failed", error=describe(error, execution.work), recorded=False)


def follow(execution: Execution) -> None:
    """Executes a run together with the process that owns it, if the owner decides to; has its own log.

    Raises:
        StoppedError: all processes were asked to stop, and did.
        Exception: whatever stopped this one; the owner has the same error, or is ended by torchrun.
    """
    folder = RunFolder(execution.work, execution.run.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    _log_to(folder.log_of(execution.rank.number), execution.title, lambda text: None)
    if Group(execution.rank, execution.device).follow():
        train_and_score(execution, folder, lambda event: None, Outcome())


def _execute(execution: Execution, tell: Tell) -> Ended:
    folder = RunFolder(execution.work, execution.run.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    _log_to(folder.log, execution.title, lambda text: tell(News(text)))
    group = Group(execution.rank, execution.device)
    journal = Journal(folder.events, execution.slot)
    tried_before = len(read_for_run(execution.records, execution.run.run_id))
    refuse_link(folder.ownership)

    def wait_for(owner: Owner | None) -> None:
        journal.state("waiting")
        tell(_waiting_for(owner))

    while True:
        with owned(folder.ownership, on_wait=wait_for, on_beat=journal.beat) as ownership:
            try:
                return _execute_owned(execution, folder, tell, tried_before, ownership, journal, group)
            except StoppedError:
                journal.state("stopped")
                raise
            except TakenOverError as error:
                # The new owner records the run: this process waits for that, as for any other command.
                tell(News(str(error)))
                journal.state("waiting")
                if execution.rank.size > 1:
                    # The others are in the middle of a step, and have to restart together with this one.
                    raise StoppedError(str(error)) from None


def _waiting_for(owner: Owner | None) -> Waiting:
    if owner is None:
        return Waiting()
    return Waiting(owner.pid, None if owner.shares_machine_with(this_process()) else owner.host)


def _execute_owned(
    execution: Execution,
    folder: RunFolder,
    tell: Tell,
    tried_before: int,
    ownership: Ownership,
    journal: Journal,
    group: Group,
) -> Ended:
    """Executes a run that this process owns, unless its outcome is known already.

    Raises:
        TakenOverError: another process owns it by now; nothing was recorded here.
    """
    records = read_for_run(execution.records, execution.run.run_id)
    finished = next((record for record in records if record.status == "finished"), None)
    known = finished if finished and folder.weights.exists() else None
    if not finished and len(records) > tried_before:
        # Another command tried it while this one waited, and it would fail again here.
        known = records[-1]
    group.decide(known is None)
    if known is not None:
        return _ending(known)

    def tell_step(event: RunEvent) -> None:
        if ownership.lost:
            ownership.check()
        if isinstance(event, Training):
            journal.step(event.step)
        tell(event)

    journal.state("running")
    outcome = attempt(execution, folder, tell_step, ownership)
    record = outcome.record(execution)
    # A finished run is trained again only for its lost weights. On another machine they may come out
    # different: then a record of their own says what the weights score that teach from now on.
    again = finished and record.status == "finished" and record.weights_sha256 == finished.weights_sha256
    ownership.check()
    ending = _ending(record if again else _keep(execution, record, outcome, tell))
    journal.state("ended")
    return ending


def _keep(execution: Execution, record: Record, outcome: Outcome, tell: Tell) -> Record:
    """Records a run with its scalars and samples; if these cannot be written, records it without them."""
    refused: dict[str, OSError] = {}
    digests: dict[str, str] = {}
    folder, run_id = execution.records, record.run_id
    if scalars := outcome.scalars:
        with _noting(refused, "scalars"):
            digests["scalars_sha256"] = write_scalars(folder, run_id, scalars)
    if outcome.samples and record.status == "finished":
        with _noting(refused, "samples"):
            digests["samples_sha256"] = write_samples(folder, run_id, outcome.samples)
    written = write_record(folder, record.model_copy(update=digests))
    # Reported last: if there was no room for the record either, only that error matters.
    for what, error in refused.items():
        announce(f"its {what} are not kept ({one_line(error)})", tell)
    return written


@contextlib.contextmanager
def _noting(refused: dict[str, OSError], what: str) -> Iterator[None]:
    """Notes an error of the file system under `what`, and continues."""
    try:
        yield
    except OSError as error:
        refused[what] = error


def _ending(record: Record) -> Ended:
    return Ended(record.status, record.metrics, record.error)


def _die_with_engine(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)


def _log_to(path: Path, title: str, complain: Callable[[str], None]) -> None:
    """Redirects everything this process prints, C code included, to the run's log."""
    log = RunLog(path, append_to(path), complain)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    print(f"--- {datetime.now(timezone.utc).isoformat(timespec='seconds')} {title}")
