"""What `reproduce` and `status` print about jobs on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.planning.plan import Plan
    from suite.running.launchers.slurm import SlurmLauncher
    from suite.running.slurm_queue import JobState
    from suite.running.submissions import Submission
    from suite.store.summaries import Evidence


def print_scripts(plan: Plan, states: Mapping[str, str], launcher: SlurmLauncher) -> None:
    """Prints the scripts that would be submitted, and which run waits for which; submits nothing.

    Args:
        plan: the plan.
        states: run id -> its recorded state.
        launcher: launcher of the cluster. If Slurm cannot be queried, a cluster that has what the runs need
            is assumed.

    Raises:
        SuiteError: a run needs more than a node has, or submitit is not installed.
    """
    from suite.running.request import RunRequest
    from suite.store.record import Provenance

    launcher.settle(guess=True)
    open_runs = [run for run in plan.runs.values() if states[run.run_id] != "finished"]
    scripts = launcher.scripts([RunRequest.of(run, launcher.device, 1, Provenance()) for run in open_runs])
    place = {
        request.run_id: f"script {number}" + (f", task {index}" if script.batch.is_array else "")
        for number, script in enumerate(scripts, 1)
        for index, request in enumerate(script.batch.requests)
    }
    for number, script in enumerate(scripts, 1):
        batch = script.batch
        what = f"an array of {len(batch.requests)} runs" if batch.is_array else batch.requests[0].run.label
        jobs = ", ".join(place[run_id] for run_id in batch.needs)
        after = f", submitted with --dependency=afterok: {jobs}" if jobs else ""
        print(f"\nScript {number} of {len(scripts)}: {what}{after}\n{script.text}", end="")
    if not scripts:
        return
    print("\nDependencies:")

    def print_below(needed: str | None, indent: str) -> None:
        for run in open_runs:
            # A run that waits for two others is printed below its teacher, which comes last in `needs`.
            if needed == next((one for one in reversed(run.needs) if one in place), None):
                print(f"{indent}{run.run_id} {run.label} ({place[run.run_id]})")
                print_below(run.run_id, indent + "  ")

    print_below(None, "")


@dataclass(frozen=True)
class QueuedRun:
    """A submitted run that has no record yet.

    Attributes:
        job: the job as Slurm names it.
        run_id: the run.
        label: the run in words.
        kind: its state in a word or two.
        how: its state in detail.
    """

    job: str
    run_id: str
    label: str
    kind: str
    how: str


def queued_runs(records: Sequence[Evidence]) -> tuple[list[QueuedRun], str | None]:
    """Finds the submitted jobs that have no record yet, with their states.

    Args:
        records: all records of the store.

    Returns:
        The runs, and why their states are unknown; None if they are known.
    """
    from suite.errors import SuiteError
    from suite.running.slurm_queue import states_of

    submitted = _without_record(records)
    if not submitted:
        return [], None
    states: Mapping[str, JobState] = {}
    problem = None
    try:
        states = states_of(submitted)
    except SuiteError as error:
        problem = str(error)
    found = []
    for submission in submitted:
        state = states.get(submission.key)
        kind = _kind(state) if problem is None else "of unknown state"
        how = _how(submission, state) if problem is None else f"submitted {submission.submitted_at}"
        found.append(QueuedRun(submission.key, submission.run_id, submission.label, kind, how))
    return found, problem


def print_queued(queued: Sequence[QueuedRun], problem: str | None) -> None:
    """Prints the result of `queued_runs`."""
    from suite.cli.screen import Screen, plain_table

    if not queued:
        return
    out = Screen()
    if problem is not None:
        out.say(f"\nJob states are unknown: {problem}.")
    table = plain_table("job", "run", "what", "state", widths=(None, 16))
    for run in queued:
        table.add_row(run.job, run.run_id, run.label, run.how)
    kinds = Counter(run.kind for run in queued)
    out.say(f"\nOn the cluster: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}.")
    out.print(table)


def _without_record(records: Sequence[Evidence]) -> list[Submission]:
    """The latest submission of each run, if it has left no record, in the order of the jobs."""
    from suite.paths import work_dir
    from suite.running.submissions import all_submissions
    from suite.store.run_folders import RunFolder

    tried = Counter(record.run_id for record in records)
    finished = {record.run_id for record in records if record.status == "finished"}
    found = [
        submission
        for submission in all_submissions(work_dir())
        if tried[submission.run_id] <= submission.attempts
        if submission.run_id not in finished or not RunFolder(work_dir(), submission.run_id).weights.exists()
    ]
    return sorted(found, key=lambda submission: (int(submission.job), submission.index or 0))


def _kind(state: JobState | None) -> str:
    if state is None or state.is_over or state.never_starts:
        return "ended without a record"
    return state.state.lower()


def _how(submission: Submission, state: JobState | None) -> str:
    from suite.errors import printable
    from suite.paths import work_dir
    from suite.running.heartbeats import last_beat
    from suite.running.launchers.slurm import what_became_of
    from suite.store.run_folders import RunFolder

    if state is None or state.is_over:
        return printable(what_became_of(submission, state).removeprefix(f"its job {submission.key} "))
    folder = RunFolder(work_dir(), submission.run_id)
    beat = last_beat(folder.events) if state.state == "RUNNING" and folder.owner() else None
    waits = f" ({', '.join(submission.after.values())})" if state.reason == "Dependency" else ""
    return printable(state.words + waits + (f", {beat.words}" if beat else ""))
