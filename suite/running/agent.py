"""Runs torchrun's agent in this process: starts the processes of a run, and reports which failed first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from suite.errors import LONGEST, one_line
from suite.paths import records_dir, work_dir
from suite.running.launchers.local import name_of_signal
from suite.running.recording import record_of
from suite.running.request import RunRequest
from suite.store.records import read_for_run, write_record
from suite.store.run_folders import RunFolder


class _Failure(Protocol):
    """How a process ended, as torchrun reports it (`ProcessFailure`)."""

    pid: int
    exitcode: int
    error_file_data: dict[str, Any]


def execute_together(request: RunRequest, processes: int, stops: Callable[[], bool]) -> int:
    """Executes a run in several processes of this machine, each by ``work``.

    SIGUSR2 tells all of them to leave a resume point and stop. If one dies before the others without
    recording its failure, a record is written that says which.

    Args:
        request: the run; the request must be in the run's folder.
        processes: how many.
        stops: whether SIGUSR2 has arrived already.

    Returns:
        As ``work``: 0, 1, 2, or 75 if they were stopped; 128 plus its number if a signal ended this process.
    """
    # Imported here: the command line imports no PyTorch.
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    _hand_on(signal.SIGUSR2, stops)
    if stops():
        return os.EX_TEMPFAIL
    tried_before = len(read_for_run(records_dir(), request.run_id))
    # As `torchrun --standalone` does.
    where = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", f"--rdzv-id={request.run_id}"]
    what = ["-m", "suite", "work", request.run_id]
    config, program, words = config_from_args(parse_args([f"--nproc-per-node={processes}", *where, *what]))
    try:
        elastic_launch(config, program)(*words)
    except ChildFailedError as error:
        failures: Mapping[int, _Failure] = error.failures
        statuses = {failure.exitcode for failure in failures.values()}
        if os.EX_TEMPFAIL in statuses:
            return os.EX_TEMPFAIL
        if len(read_for_run(records_dir(), request.run_id)) == tried_before:
            if 2 in statuses:
                return 2
            rank, first = error.get_first_failure()
            _note(request, f"process {rank} of {processes} {_end_of(first)}")
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _hand_on(number: signal.Signals, has_come: Callable[[], bool]) -> None:
    """Forwards a signal to the processes, which torchrun starts in sessions of their own.

    The signal is blocked in this process, and in each new one until that is ready for it: the default action
    would end them. Once it has arrived, it is sent on every second, since some may not have started yet.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})

    def hand_on() -> None:
        # A library's thread may not block it: then this process's ordinary handler has taken it.
        while signal.sigtimedwait({number}, 1) is None and not has_come():
            pass
        while True:
            _tell_children(number)
            time.sleep(1)

    threading.Thread(target=hand_on, daemon=True).start()


def _tell_children(number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
        for child in children.split():
            with contextlib.suppress(OSError):
                os.kill(int(child), number)


def _end_of(failure: _Failure) -> str:
    """How a process ended, in words that begin with a verb."""
    if failure.exitcode < 0:
        return f"was killed by {name_of_signal(-failure.exitcode)}; the same command resumes the run"
    said: Any = failure.error_file_data.get("message")
    if isinstance(said, dict):
        text = one_line(str(said.get("message")))
        return f"failed: {text if len(text) <= LONGEST else f'{text[:LONGEST]} ...'}"
    return f"(number {failure.pid} of this machine) ended with status {failure.exitcode} and no record"


def _note(request: RunRequest, error: str) -> None:
    """Reports how a run failed, and records it unless another command trains it by now."""
    print(f"suite: {request.run.label}: {error}", file=sys.stderr)
    if RunFolder(work_dir(), request.run_id).owner() is None:
        record = record_of(request.run, "failed", request.provenance_here, error=error)
        write_record(records_dir(), record)
