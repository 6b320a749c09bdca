"""Talks to Slurm: states of jobs, resources of nodes, cancelling and requeueing.

Everything goes through Slurm's own commands. `squeue` knows what is queued and what has ended in the last
minutes; `sacct` knows more if the cluster keeps accounts, and nothing here requires it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from suite.errors import SuiteError, one_line, printable
from suite.running.submissions import Submission

_SECONDS = 60
"""Timeout of a Slurm command."""

_COLUMNS = ("JobArrayID", "Name", "State", "Reason", "exit_code", "NodeList")

_ENDED = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "was cancelled",
    "TIMEOUT": "was ended by its time limit",
    "OUT_OF_MEMORY": "ran out of memory",
    "NODE_FAIL": "was lost with its node",
    "BOOT_FAIL": "was lost as its node started",
    "PREEMPTED": "was preempted",
    "DEADLINE": "was ended by its deadline",
    "REVOKED": "was revoked",
}
"""State of a job that has ended -> what happened to it."""

_WAITING = {
    "Dependency": "waits for another run",
    "DependencyNeverSatisfied": "cannot start: the job of a run that it needs did not succeed",
    "BeginTime": "starts again shortly",
    "JobArrayTaskLimit": "waits for another task of its array",
    "Resources": "waits for a free node",
    "Priority": "waits for its turn",
    "JobHeldUser": "is held by its user",
    "JobHeldAdmin": "is held by an administrator",
}
"""Why a job is pending -> the same in words."""

NEVER = "DependencyNeverSatisfied"

_DEFAULT_ARRAY = 1001
"""Slurm's default `MaxArraySize`, for when Slurm cannot be asked."""


@dataclass(frozen=True)
class JobState:
    """The state of a job.

    Attributes:
        name: of the job.
        state: Slurm's name for it, such as `PENDING`.
        reason: Slurm's name for why it is pending, or has ended.
        exit_status: of the script, as `wait` returns it; None if not known.
        nodes: where it runs, or ran last.
    """

    name: str
    state: str
    reason: str = ""
    exit_status: int | None = None
    nodes: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good; a requeued job has not."""
        return self.state in _ENDED

    @property
    def never_starts(self) -> bool:
        """Whether it can never start, because a job that it waits for did not succeed."""
        return self.reason == NEVER

    @property
    def words(self) -> str:
        """Its state in words that continue "its job"."""
        if self.never_starts:
            return _WAITING[NEVER]
        if self.state == "PENDING":
            return _WAITING.get(self.reason, f"is pending ({self.reason})")
        if not self.is_over:
            return f"is {self.state.lower()}" + (f" on {self.nodes}" if self.nodes else "")
        return f"{_ENDED[self.state]}{self._how}"

    @property
    def _how(self) -> str:
        if self.state != "FAILED" or not self.exit_status:
            return ""
        status = os.waitstatus_to_exitcode(self.exit_status)
        # A shell and srun report a signal as an exit status above 128.
        number = -status if status < 0 else status - 128
        known = {entry.value: entry.name for entry in signal.Signals}
        return f" (killed by {known[number]})" if number in known else f" (exit status {status})"


def _ask(*words: str) -> str:
    """Runs a Slurm command, and returns what it prints.

    Raises:
        SuiteError: it is not installed, fails, or does not answer in time.
    """
    try:
        answer = subprocess.run(
            words, capture_output=True, text=True, errors="replace", check=True, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise SuiteError(
            f"there is no {words[0]} here: --launcher slurm needs a machine that submits to a Slurm cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise SuiteError(f"{words[0]} does not answer: is the cluster up? Try again later") from None
    except subprocess.CalledProcessError as error:
        said = printable(one_line(error.stderr) or f"exit status {error.returncode}", 200)
        raise SuiteError(f"{said}; see whether '{words[0]}' works here") from None
    return answer.stdout


def states_of(submissions: Iterable[Submission]) -> dict[str, JobState]:
    """The states of the jobs of submissions; those that Slurm no longer knows are left out.

    Returns:
        `Submission.key` -> state.

    Raises:
        SuiteError: `squeue` is not installed, or fails.
    """
    asked = {submission.key: submission for submission in submissions}
    if not asked:
        return {}
    users = ",".join(sorted({submission.user for submission in asked.values()}))
    columns = ",".join(f"{column}:|" for column in _COLUMNS)
    known = read_squeue(
        _ask("squeue", "--noheader", "--array", "--states=all", f"--user={users}", "-O", columns)
    )
    found = _of(asked, known)
    if older := [submission for key, submission in asked.items() if key not in found]:
        found |= _of(asked, _accounts(older))
    return found


def _of(asked: Mapping[str, Submission], known: Mapping[str, JobState]) -> dict[str, JobState]:
    """The jobs that were asked for; one with the same id on another, or an earlier, cluster is left out."""
    return {key: state for key, state in known.items() if key in asked and state.name == asked[key].name}


def read_squeue(text: str) -> dict[str, JobState]:
    """Job -> state, from what `squeue` prints: the columns, each followed by a bar."""
    found = {}
    for line in text.splitlines():
        fields = line.rstrip("\n").split("|")
        # The name of another user's job may contain a bar.
        if len(fields) == len(_COLUMNS) + 1:
            key, name, state, reason, status, nodes, _ = (field.strip() for field in fields)
            found[key] = JobState(name, state, reason, int(status) if status.isdecimal() else None, nodes)
    return found


def _accounts(submissions: Sequence[Submission]) -> dict[str, JobState]:
    """The states of jobs according to the cluster's accounting; empty if it has none."""
    if shutil.which("sacct") is None:
        return {}
    jobs = ",".join(sorted({submission.job for submission in submissions}))
    try:
        return read_sacct(
            _ask(
                "sacct",
                "--noheader",
                "--parsable2",
                "--allocations",
                f"--jobs={jobs}",
                "--format=" + _ACCOUNTS,
            )
        )
    except SuiteError:
        return {}


_ACCOUNTS = "JobID,JobName,State,ExitCode,NodeList"


def read_sacct(text: str) -> dict[str, JobState]:
    """Job -> state, from what `sacct` prints."""
    found = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != len(_ACCOUNTS.split(",")):
            continue
        key, name, state, status, nodes = fields
        # "CANCELLED by 1000", and an exit status of "1:0": the script's own, and the signal that ended it.
        own, _, number = status.partition(":")
        exit_status = int(own) << 8 | int(number) if own.isdecimal() and number.isdecimal() else None
        found[key] = JobState(name, state.partition(" ")[0], "", exit_status, nodes)
    return found


def gpus_of_a_node(partition: str | None) -> int:
    """The largest number of GPUs of any node of a partition; None for the whole cluster.

    Raises:
        SuiteError: `sinfo` is not installed, or fails.
    """
    where = [f"--partition={partition}"] if partition else []
    return read_gres(_ask("sinfo", "--noheader", "--format=%G", *where))


def read_gres(text: str) -> int:
    """The largest number of GPUs of a node, from lines such as ``gpu:a100:8(S:0-1),nvme:1``."""
    most = 0
    for line in text.splitlines():
        counts = re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", line)
        most = max(most, sum(map(int, counts)))
    return most


def largest_array() -> int:
    """How many tasks an array may have; Slurm's own default if Slurm cannot be asked."""
    try:
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    except SuiteError:
        found = None
    return max(1, int(found[1])) if found else _DEFAULT_ARRAY


def cancel(submissions: Iterable[Submission]) -> None:
    """Cancels jobs, queued or running.

    Raises:
        SuiteError: `scancel` is not installed, or fails.
    """
    if keys := [submission.key for submission in submissions]:
        _ask("scancel", *keys)


def requeue(job: str) -> None:
    """Puts a running job back into the queue; Slurm ends its remaining processes.

    Raises:
        SuiteError: Slurm refuses.
    """
    _ask("scontrol", "requeue", job)
