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
    from suite.running.worker import Execution
    from suite.store.run_folders import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_verbosity

    parser.add_argument("run_id", metavar="RUN_ID", help="id of a run whose request is in the work folder")
    add_verbosity(parser)


def run(args: argparse.Namespace) -> int:
    """Executes the run in this process, from its newest resume point; a finished one is left alone.

    It may be called as often as one likes, on any machine that sees the same folders. Told so by SIGUSR2, it
    leaves a resume point and stops. As the job of a cluster it is then queued again; where it fails, the runs
    that wait for it are recorded as blocked. A run on several devices is executed by as many processes, which
    torchrun starts: each calls this verb again.

    Returns:
        0 when the run has finished, now or before; 1 when it failed or is blocked; 75 when it was stopped and
        is to be called again (EX_TEMPFAIL of ``sysexits.h``).

    Raises:
        SuiteError: the id is none, the request is missing or damaged, what trains is not installed, a record
            is damaged, there is no room to write, or torchrun has started another number of processes than
            the run has devices.
    """
    # Before anything that takes time to import: the signal itself would end a process that does not know it.
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
    # Of several processes the first looks and decides for all.
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
        # Packages look for GPUs as they are imported.
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if processes > rank.size:
        status = execute_together(request, processes, stops)
    else:
        from suite.running.worker import Execution

        execution = Execution.of(request, records_dir(), work_dir(), stops=stops, rank=rank)
        try:
            status = _follow(execution) if rank.follows else _execute(execution, args.verbosity)
        finally:
            # What comes now comes too late, and would end the interpreter as it ends.
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # Of several processes, the one that has started them.
    if not started_by_torchrun():
        _tell_the_queue(folder, status)
    return status


def _execute(execution: Execution, verbosity: int) -> int:
    """Executes a run as its owner, and shows how far it is."""
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
    """What is to be done at the end of a run that is executed as the job of a cluster."""
    from suite.running.job import block_waiting, start_again

    if status == os.EX_TEMPFAIL and (said := start_again(folder)) is not None:
        print(f"suite: {said}", file=sys.stderr)
    elif status == 1:
        block_waiting(folder)


def _follow(execution: Execution) -> int:
    """Executes a run with its owner; an error is told to torchrun, and the owner is let go first."""
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
    # What others of the group never answer would keep the interpreter from ending.
    os._exit(status)


def _told_to_stop() -> Callable[[], bool]:
    """Whether SIGUSR2 has come since; Slurm and others send it some time before they end a job."""
    told = threading.Event()
    signal.signal(signal.SIGUSR2, lambda *_: told.set())
    # The agent of several processes holds it back until they are ready for it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    return told.is_set


@contextlib.contextmanager
def _screen() -> Iterator[TextIO]:
    """Standard error as it is now: a run that is executed here sends both outputs to its log meanwhile."""
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
    """The id of a run, which becomes a path.

    Raises:
        SuiteError: it is none.
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
