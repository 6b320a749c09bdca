"""``work``: execute one run that was requested before."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from suite.running.execution import Execution
    from suite.store.run_folders import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_verbosity

    parser.add_argument("run_id", metavar="RUN_ID", help="id of a run whose request is in the work folder")
    add_verbosity(parser)


def run(args: argparse.Namespace) -> int:
    """Executes the run in this process, from its newest resume point; does nothing if it has finished.

    It may be called repeatedly, on any machine that sees the same folders. On SIGUSR2 it leaves a resume
    point and stops. As a cluster job it is then queued again; if it fails, the runs that wait for it are
    recorded as blocked. A run on several devices is executed by as many processes: torchrun starts them, and
    each calls this verb again.

    Returns:
        0 if the run has finished, now or before; 1 if it failed or is blocked; 75 if it was stopped and has
        to be called again (EX_TEMPFAIL of ``sysexits.h``).

    Raises:
        SuiteError: the id is not valid, the request is missing or damaged, packages for training are not
            installed, a record is damaged, the disk is full, or torchrun started a different number of
            processes than the run has devices.
    """
    # Before any slow import: without a handler, the signal would kill the process.
    stops = _told_to_stop()
    from suite.catalogue import check_python_files
    from suite.doctor import lacks_training
    from suite.errors import SuiteError
    from suite.paths import records_dir, work_dir
    from suite.running.agent import execute_together
    from suite.running.launchers.torchrun import processes_for
    from suite.running.ranks import started_by_torchrun, this_rank
    from suite.running.request import read_request
    from suite.store.records import check_writable, read_for_run
    from suite.store.run_folders import RunFolder

    folder = RunFolder(work_dir(), _run_id(args.run_id))
    request, rank = read_request(folder), this_rank()
    processes = processes_for(request.run)
    if started_by_torchrun() and rank.size != processes:
        raise SuiteError(
            f"{request.run.label}: needs {processes} processes, one per device, but torchrun started "
            f"{rank.size}; leave torchrun out, which is started where it is needed"
        )
    records = read_for_run(records_dir(), folder.run_id)
    finished = any(record.status == "finished" for record in records) and folder.weights.exists()
    # With several processes, the first one checks and decides for all.
    if finished and rank.size == 1:
        print(f"{request.run.label}: recorded already")
        return 0
    if lacks_training():
        raise SuiteError(
            "training needs PyTorch and the mm packages, and none is installed: 'python -m suite doctor' "
            "says how to install them"
        )
    check_python_files()
    check_writable(records_dir())
    if request.device == "cpu":
        # Packages look for GPUs when they are imported.
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if processes > rank.size:
        status = execute_together(request, processes, stops)
    else:
        from suite.running.execution import Execution

        execution = Execution.of(request, records_dir(), work_dir(), stops=stops, rank=rank)
        try:
            status = _follow(execution) if rank.follows else _execute(execution, args.verbosity)
        finally:
            # A signal is too late now, and would kill the interpreter while it exits.
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # With several processes, only the one that started torchrun.
    if not started_by_torchrun():
        _tell_the_queue(folder, status)
    return status


def _execute(execution: Execution, verbosity: int) -> int:
    """Executes a run as its owner, and shows its progress."""
    from suite.contract import StoppedError
    from suite.running.progress import Progress
    from suite.running.worker import execute_here

    with _screen() as screen:
        progress = Progress(screen, verbosity)
        progress.begin(1, 0, 1)
        progress.started(execution.run)
        try:
            ending = execute_here(execution, lambda event: progress.update(execution.run, event))
        except StoppedError as stop:
            print(f"suite: {execution.run.label}: {stop}; the same command resumes it", file=screen)
            return os.EX_TEMPFAIL
        error = None if ending.status == "finished" else ending.error or "no reason given"
        progress.ended(execution.run, ending.status, ending.metrics, error)
    return 0 if error is None else 1


def _tell_the_queue(folder: RunFolder, status: int) -> None:
    """Queues a cluster job again if it was stopped, or blocks the runs that wait for it if it failed."""
    from suite.running.job import block_waiting, start_again

    if status == os.EX_TEMPFAIL and (said := start_again(folder)) is not None:
        print(f"suite: {said}", file=sys.stderr)
    elif status == 1:
        block_waiting(folder)


def _follow(execution: Execution) -> int:
    """Executes a run together with its owner; reports an error to torchrun, and lets the owner exit first."""
    from suite.contract import StoppedError
    from suite.running.ranks import SECONDS_FOR_FIRST, tell_torchrun
    from suite.running.worker import follow

    try:
        follow(execution)
        return 0
    except StoppedError:
        status = os.EX_TEMPFAIL
    except Exception as error:
        traceback.print_exc()
        tell_torchrun(error)
        status = 1
    time.sleep(SECONDS_FOR_FIRST)
    # Pending communication with the process group would keep the interpreter from exiting.
    os._exit(status)


def _told_to_stop() -> Callable[[], bool]:
    """Installs a handler for SIGUSR2, which Slurm and others send before they end a job.

    Returns:
        A function that tells whether the signal has arrived.
    """
    told = threading.Event()
    signal.signal(signal.SIGUSR2, lambda *_: told.set())
    # The agent of several processes blocks the signal until they are ready for it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    return told.is_set


@contextlib.contextmanager
def _screen() -> Iterator[TextIO]:
    """Standard error as it is now, while a run that is executed here redirects both outputs to its log."""
    outputs = {number: os.dup(number) for number in (1, 2)}
    streams = sys.stdout, sys.stderr
    try:
        with open(os.dup(2), "w", encoding="utf-8", errors="backslashreplace") as screen:
            yield screen
    finally:
        sys.stdout, sys.stderr = streams
        for number, output in outputs.items():
            os.dup2(output, number)
            os.close(output)


def _run_id(text: str) -> str:
    """Validates the id of a run, which becomes part of a path.

    Raises:
        SuiteError: it is not the id of a run.
    """
    from pydantic import TypeAdapter, ValidationError

    from suite.errors import SuiteError, printable
    from suite.strict import RunId

    try:
        return str(TypeAdapter(RunId).validate_python(text))
    except ValidationError:
        raise SuiteError(
            f"{printable(repr(text), 60)} is not the id of a run, which has 16 hexadecimal digits: 'python "
            "-m suite plan' lists them"
        ) from None
