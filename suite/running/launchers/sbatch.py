"""Writes sbatch scripts for plain commands; submitit validates and submits them.

Submitit's own jobs unpickle a function and restart by submitit's rules. A run is executed by a command that
is safe to repeat (`suite.cli.work_`), so a job is that command and nothing else: the script can be read, and
submitted by hand.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env
from submitit.slurm.slurm import SlurmExecutor

from suite.errors import SuiteError, one_line, printable
from suite.paths import datasets_dir, results_dir, weights_dir, work_dir
from suite.planning.clusters import Cluster
from suite.running.launchers.torchrun import command_for, processes_for
from suite.running.request import RunRequest

_INDEX = "SLURM_ARRAY_TASK_ID"


@dataclass(frozen=True)
class Batch:
    """Runs that are submitted together: one job, or the tasks of one array.

    Attributes:
        requests: the runs, by index.
        processes: how many processes, one per device, each of them takes.
        needs: the runs whose jobs have to succeed first.
    """

    requests: tuple[RunRequest, ...]
    processes: int
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the job."""
        return f"suite-{self.requests[0].run_id}"

    @property
    def is_array(self) -> bool:
        """Whether it is an array, with an index for each run."""
        return len(self.requests) > 1


def batches(requests: Sequence[RunRequest], queued: Collection[str], largest: int) -> list[Batch]:
    """Groups runs that wait for the same runs and take as many processes; needed runs come first.

    Args:
        requests: the runs, each after those that it needs.
        queued: runs that were submitted before and have not ended.
        largest: how many tasks an array may have.
    """
    depth = dict.fromkeys(queued, 0)
    groups: dict[tuple[int, tuple[str, ...], int], list[RunRequest]] = {}
    for request in requests:
        needs = tuple(needed for needed in request.run.needs if needed in depth)
        depth[request.run_id] = max((depth[needed] + 1 for needed in needs), default=0)
        key = (depth[request.run_id], needs, processes_for(request.run))
        groups.setdefault(key, []).append(request)
    return [
        Batch(tuple(group[first : first + largest]), processes, needs)
        for (_, needs, processes), group in sorted(groups.items(), key=lambda item: item[0][0])
        for first in range(0, len(group), largest)
    ]


class _Executor(SlurmExecutor):
    """Submitit's executor, for scripts that run one command and may depend on other jobs."""

    after: Sequence[str] = ()

    @classmethod
    def affinity(cls) -> int:
        """Declares submitit's executor usable here: writing a script needs no Slurm."""
        return 1

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        # Here and not in the script, so that the script is the same as in a dry run.
        after = [f"--dependency=afterok:{':'.join(self.after)}"] if self.after else []
        return ["sbatch", *after, str(submission_file_path)]


class Script:
    """The script of a batch."""

    def __init__(self, batch: Batch, cluster: Cluster, on_gpus: bool) -> None:
        """Composes the script.

        Args:
            batch: the runs.
            cluster: the resources to ask for.
            on_gpus: whether each process gets a GPU.

        Raises:
            SuiteError: submitit refuses a setting.
        """
        self.batch = batch
        self.folder = work_dir().absolute() / "slurm"
        self._executor = _Executor(self.folder)
        try:
            self._executor.update_parameters(**_parameters(batch, cluster, on_gpus))
        except (ValueError, TypeError) as error:
            raise SuiteError(
                f"cluster {cluster.name}: {printable(one_line(error), 200)}; correct it"
            ) from None
        self._executor.parameters["map_count"] = len(batch.requests) if batch.is_array else None

    @property
    def command(self) -> str:
        """What the script runs on the node."""
        *words, run_id = command_for(self.batch.requests[0])
        return f"{shlex.join(words)} " + (f'"${{runs[${_INDEX}]}}"' if self.batch.is_array else run_id)

    @property
    def text(self) -> str:
        """The script, as it is submitted."""
        return str(self._executor._make_submission_file_text(self.command, ""))

    def submit(self, after: Sequence[str]) -> str:
        """Submits the script.

        Args:
            after: the jobs that have to succeed first.

        Returns:
            The id of the job.

        Raises:
            SuiteError: sbatch is not installed, or refuses it.
            OSError: the script cannot be written.
        """
        self._executor.after = after
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            # Submitit prints what sbatch says; the error has it too.
            with contextlib.redirect_stderr(io.StringIO()), _outside_of_jobs():
                return str(self._executor._submit_command(self.command).job_id)
        except FileNotFoundError as error:
            if error.filename != "sbatch":
                raise
            raise SuiteError(
                "there is no sbatch here: --launcher slurm needs a machine that can submit"
            ) from None
        except (FailedJobError, FailedSubmissionError) as error:
            said = printable(one_line(error), 200)
            raise SuiteError(
                f"{said}; correct the cluster's settings (cluster=NAME, cluster.KEY=VALUE)"
            ) from None

    def file_of(self, job: str) -> Path:
        """The script of a job that was submitted."""
        return self.folder / f"{job}_submission.sh"

    def log_of(self, key: str) -> Path:
        """The file of what a job, or a task of an array, prints."""
        return self.folder / f"{key}_0_log.out"


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hides from sbatch that this command runs inside a job, if it does: a job inherits settings from it."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    cluster = os.environ.get("SLURM_CONF")
    with clean_env():
        if cluster is not None:
            os.environ["SLURM_CONF"] = cluster
        yield


def _parameters(batch: Batch, cluster: Cluster, on_gpus: bool) -> dict[str, Any]:
    cores = cluster.cpus and cluster.cpus * (batch.processes if on_gpus else 1)
    parameters: dict[str, Any] = {
        "job_name": batch.name,
        **{name: getattr(cluster, name) for name in ("partition", "account", "qos", "constraint", "time")},
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cores,
        "gpus_per_node": batch.processes if on_gpus else None,
        "mem_per_gpu" if on_gpus else "mem": cluster.memory,
        "array_parallelism": cluster.throttle or len(batch.requests),
        "wckey": None,
        "stderr_to_stdout": True,
        "setup": list(_set_up(batch, cluster)),
        # srun inherits neither from the job.
        "srun_args": ["--open-mode=append", *([f"--cpus-per-task={cores}"] if cores else [])],
        "additional_parameters": {
            "requeue": True,
            "kill-on-invalid-dep": "yes",
            # All processes of the step get it; NCCL uses SIGUSR1 itself.
            "signal": f"USR2@{cluster.notice}",
            "open-mode": "append",
            "chdir": os.getcwd(),
            **cluster.options,
        },
    }
    return parameters


def _set_up(batch: Batch, cluster: Cluster) -> Iterator[str]:
    """Lines before the command: folders, the cluster's own set-up, and the run of each index."""
    folders = {
        "SUITE_RESULTS": results_dir(),
        "SUITE_WORK": work_dir(),
        "SUITE_DATA": datasets_dir(),
        "SUITE_WEIGHTS": weights_dir(),
    }
    for name, folder in folders.items():
        yield f"export {name}={shlex.quote(str(folder.absolute()))}"
    for name in ("SUITE_PAPERS", "PYTHONPATH"):
        if value := os.environ.get(name):
            yield f"export {name}={shlex.quote(value)}"
    yield from cluster.setup
    if batch.is_array:
        yield "runs=("
        yield from (f"  {request.run_id}  # {request.run.label}" for request in batch.requests)
        yield ")"
