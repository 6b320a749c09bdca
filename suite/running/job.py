"""A run as a job on a cluster: requeues itself after a stop, and records the runs that its failure blocks."""

from __future__ import annotations

import os

from suite.errors import SuiteError
from suite.paths import records_dir, work_dir
from suite.running.recording import blocked_by, record_of
from suite.running.request import read_request
from suite.running.slurm_queue import requeue
from suite.running.submissions import Submission, all_submissions, read_submission
from suite.store.records import read_for_run, write_record
from suite.store.run_folders import RunFolder


def own_submission(folder: RunFolder) -> Submission | None:
    """The submission that this process was started for; None outside the run's own job."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    job = os.environ.get("SLURM_JOB_ID") if task is None else os.environ.get("SLURM_ARRAY_JOB_ID")
    submission = read_submission(folder)
    key = job if task is None else f"{job}_{task}"
    return submission if submission is not None and submission.key == key else None


def start_again(folder: RunFolder) -> str | None:
    """Requeues the job of a run that was stopped.

    Returns:
        The outcome in words; None if this process is not the run's job.
    """
    submission = own_submission(folder)
    if submission is None:
        return None
    try:
        # Not SLURM_JOB_ID: for one task of each array it is the id of the array, which means all its tasks.
        requeue(submission.key)
    except SuiteError as error:
        return f"job {submission.key} could not be put back into the queue: {error}"
    return f"job {submission.key} is back in the queue"


def block_waiting(folder: RunFolder) -> None:
    """Records runs as blocked whose jobs wait in the queue for a run that has failed.

    Slurm ends those jobs silently, and the command that submitted them may be gone by now.
    """
    if (submission := own_submission(folder)) is not None:
        _block_those_behind(submission)


def _block_those_behind(failed: Submission) -> None:
    for waiting in all_submissions(work_dir()):
        if waiting.after.get(failed.run_id) != failed.key:
            continue
        records = read_for_run(records_dir(), waiting.run_id)
        if len(records) > waiting.attempts or any(record.status == "finished" for record in records):
            continue
        request = read_request(RunFolder(work_dir(), waiting.run_id))
        reason = blocked_by(request.run, failed.run_id)
        write_record(records_dir(), record_of(request.run, "blocked", request.provenance, error=reason))
        _block_those_behind(waiting)
