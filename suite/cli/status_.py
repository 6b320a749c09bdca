"""``status``: what is recorded, running and left to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from suite.store.run_folders import RunFolder
    from suite.store.summaries import Evidence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb: none."""


def run(args: argparse.Namespace) -> int:
    """Prints the records by paper and profile, jobs, other runs in progress, and the latest failures.

    Raises:
        SuiteError: a record cannot be read.
    """
    from suite.cli.clusters import print_jobs
    from suite.cli.selection import console
    from suite.errors import printable
    from suite.evidence.served import known_trainings
    from suite.paths import records_dir, work_dir
    from suite.store.records import standing_by_run
    from suite.store.run_folders import RunFolder
    from suite.store.summaries import read_summaries

    out = console()
    records = read_summaries(records_dir())
    standing = list(standing_by_run(records).values())
    table = _recorded(standing)
    out.print(table if table.row_count else "No records yet: start with 'make reproduce PAPER=nkd'.")
    queued = print_jobs(records)
    folders = sorted((work_dir() / "runs").glob("*"))
    running = [RunFolder(work_dir(), folder.name) for folder in folders if folder.name not in queued]
    named = ", ".join(described for folder in running if (described := _in_progress(folder)))
    out.print(f"\nIn progress: {named or 'nothing'}.", soft_wrap=True)
    trainings = known_trainings()
    for record in standing:
        if record.status != "finished":
            claims = ", ".join(dict.fromkeys(claim for claim, *_ in trainings.served_by(record)))
            why = printable(record.error or "no error recorded")
            out.print(f"{record.status}: {record.run_id} ({claims}): {why}", soft_wrap=True)
    return 0


def _in_progress(folder: RunFolder) -> str | None:
    """A run that a process executes, how far it is, and where; None where none does."""
    from suite.errors import printable
    from suite.running.heartbeats import last_beat
    from suite.store.ownership import this_process

    owner = folder.owner()
    if owner is None:
        return None
    beat = last_beat(folder.events)
    facts = [beat.words] if beat is not None and beat.is_of(owner) else []
    if not owner.shares_machine_with(this_process()):
        facts.append(f"on {owner.host}")
    return printable(folder.run_id) + (f" ({', '.join(facts)})" if facts else "")


def _recorded(standing: Sequence[Evidence]) -> Table:
    """How many runs of each paper and profile have ended how, and how many claims that finishes."""
    from collections import Counter

    from rich.table import Table

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
    table = Table(box=None, pad_edge=False)
    for heading in ("paper", "profile", "finished", "failed", "blocked", "claims finished"):
        table.add_column(heading)
    order = {paper: number for number, paper in enumerate(papers)}
    for paper, profile in sorted(runs, key=lambda key: (order[key[0]], key[1])):
        counts = (runs[paper, profile][status] for status in ("finished", "failed", "blocked"))
        own = [claim for claim in papers[paper].claims if claim.judged]
        done = sum(
            arms[profile].get((claim.id, claim.kind.arm, ()), Measured()).status == "finished"
            for claim in own
        )
        table.add_row(paper, profile, *map(str, counts), f"{done} of {len(own)}")
    return table
