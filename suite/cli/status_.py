"""``status``: print the runs that are recorded, running, interrupted or failed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from suite.cli.clusters import QueuedRun
    from suite.cli.runs import OpenRun
    from suite.cli.screen import Screen
    from suite.report.answer import Failure
    from suite.store.summaries import Evidence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_output

    parser.add_argument("--format", choices=["table", "json"], default="table", help="how to print it")
    add_output(parser)


@dataclass(frozen=True)
class Recorded:
    """The recorded runs of one paper at one profile.

    Attributes:
        paper: id of the paper.
        profile: the profile.
        finished: number of finished runs.
        failed: number of failed runs.
        blocked: number of runs that were blocked from starting.
        claims_finished: number of judged claims whose own arm has only finished runs.
        claims: number of judged claims.
    """

    paper: str
    profile: str
    finished: int
    failed: int
    blocked: int
    claims_finished: int
    claims: int


@dataclass(frozen=True)
class _Failed:
    """A run that did not finish, with the claims that need it."""

    status: str
    claims: list[str]
    failure: Failure


@dataclass(frozen=True)
class _Standing:
    """Everything that the verb reports."""

    recorded: list[Recorded]
    queued: list[QueuedRun]
    queue_problem: str | None
    open_runs: list[OpenRun]
    failed: list[_Failed]

    def of_state(self, state: str) -> list[OpenRun]:
        """The runs in a state: `running` or `interrupted`."""
        return [run for run in self.open_runs if run.state == state]


def run(args: argparse.Namespace) -> int:
    """Prints the records by paper and profile, jobs, other runs in progress, and what failed.

    Raises:
        SuiteError: a record cannot be read.
    """
    standing = _look()
    if args.format == "json":
        _print_json(standing)
    else:
        _print_text(standing)
    return 0


def _look() -> _Standing:
    from suite.cli.clusters import queued_runs
    from suite.cli.runs import claims_of, failure_of, open_runs
    from suite.paths import records_dir
    from suite.store.record import standing_by_run
    from suite.store.summaries import read_summaries

    records = read_summaries(records_dir())
    standing = list(standing_by_run(records).values())
    queued, problem = queued_runs(records)
    return _Standing(
        recorded=list(_recorded(standing)),
        queued=queued,
        queue_problem=problem,
        open_runs=list(open_runs(records, {run.run_id for run in queued})),
        failed=[
            _Failed(record.status, claims_of(record), failure_of(record))
            for record in standing
            if record.status != "finished"
        ],
    )


def _print_json(standing: _Standing) -> None:
    import json

    content = {
        "recorded": [asdict(row) for row in standing.recorded],
        "queued": [asdict(run) for run in standing.queued],
        "running": [run.as_json() for run in standing.of_state("running")],
        "interrupted": [run.as_json() for run in standing.of_state("interrupted")],
        "failed": [
            {"status": one.status, "claims": one.claims, **one.failure.as_json()} for one in standing.failed
        ],
    }
    print(json.dumps(content, indent=1))


def _print_text(standing: _Standing) -> None:
    from suite.cli.clusters import print_queued
    from suite.cli.screen import Screen, plain_table

    out = Screen()
    numbers = ("finished", "failed", "blocked", "claims finished")
    table = plain_table("paper", "profile", *numbers, right=numbers)
    for row in standing.recorded:
        counts = (row.finished, row.failed, row.blocked)
        done = f"{row.claims_finished} of {row.claims}"
        table.add_row(row.paper, row.profile, *map(str, counts), done)
    if table.row_count:
        out.print(table)
    else:
        out.say("No records yet: start with 'make reproduce PAPER=nkd'.")
    print_queued(standing.queued, standing.queue_problem)
    running, interrupted = standing.of_state("running"), standing.of_state("interrupted")
    out.say("\nIn progress:" if running else "\nIn progress: nothing.")
    _print_runs(out, running)
    if interrupted:
        out.say("\nInterrupted:")
        _print_runs(out, interrupted)
        for command in dict.fromkeys(run.command for run in interrupted if run.command):
            out.command("The same command resumes from there:", command)
    if standing.failed:
        out.say("\nNot finished:")
    for one in standing.failed:
        failure = one.failure
        out.say(f"  {one.status}: {failure.run}: {failure.why}")
        needed = f"; needed for {', '.join(one.claims)}" if one.claims else ""
        out.say(f"    run {failure.run_id}{_log(out, failure.log)}{needed}")


def _print_runs(out: Screen, runs: Sequence[OpenRun]) -> None:
    for run in runs:
        out.say(f"  {run.label}: {run.words}")
        out.say(f"    run {run.run_id}{_log(out, run.log)}")


def _log(out: Screen, log: Path | None) -> str:
    return "" if log is None else f", log: {out.path(log)}"


def _recorded(standing: Sequence[Evidence]) -> Iterator[Recorded]:
    """Counts the runs of each paper and profile by status, and the claims that are finished with them."""
    from collections import Counter

    from suite.evidence.gathered import Measured, measured_arms
    from suite.evidence.served import known_trainings
    from suite.published.finding import load_papers

    papers, trainings = load_papers(), known_trainings()
    paper_of = {claim.id: paper.id for paper in papers.values() for claim in paper.claims}
    judged = {claim.id for paper in papers.values() for claim in paper.claims if claim.judged}
    runs: dict[tuple[str, str], Counter[str]] = {}
    for record in standing:
        claims = {claim for claim, *_ in trainings.served_by(record) if claim in paper_of}
        counting = {paper_of[claim] for claim in claims & judged}
        for paper in {paper_of[claim] for claim in claims}:
            runs.setdefault((paper, record.profile), Counter())[record.status] += paper in counting
    arms = {profile: measured_arms(standing, profile) for profile in {profile for _, profile in runs}}
    order = {paper: number for number, paper in enumerate(papers)}
    for paper, profile in sorted(runs, key=lambda key: (order[key[0]], key[1])):
        own = [claim for claim in papers[paper].claims if claim.judged]
        done = sum(
            arms[profile].get((claim.id, claim.kind.arm, ()), Measured()).status == "finished"
            for claim in own
        )
        counts = {status: runs[paper, profile][status] for status in ("finished", "failed", "blocked")}
        yield Recorded(paper, profile, **counts, claims_finished=done, claims=len(own))
