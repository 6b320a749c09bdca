"""``status``: what is recorded, running and left to do."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb: none."""


def run(args: argparse.Namespace) -> int:
    """Prints the records by paper and profile, the runs in progress, and the latest failures.

    Raises:
        SuiteError: a record cannot be read.
    """
    from rich.table import Table

    from suite.cli.selection import console
    from suite.evidence.gathered import Measured, measured_arms
    from suite.evidence.served import claims_served
    from suite.paths import records_dir, work_dir
    from suite.published.finding import load_papers
    from suite.report import recorded_profiles
    from suite.store.records import read_all, standing_by_run
    from suite.store.run_folders import RunFolder

    out = console()
    standing = standing_by_run(read_all(records_dir())).values()
    table = Table(box=None, pad_edge=False)
    for heading in ("paper", "profile", "finished", "failed", "blocked", "claims finished"):
        table.add_column(heading)
    for paper in load_papers().values():
        judged = [claim for claim in paper.claims if claim.judged]
        ids = {claim.id for claim in judged}
        for profile in recorded_profiles(paper, standing):
            own = [
                record
                for record in standing
                if record.profile == profile and any(claim in ids for claim, *_ in claims_served(record))
            ]
            count = {
                name: sum(record.status == name for record in own)
                for name in ("finished", "failed", "blocked")
            }
            arms = measured_arms(own, profile)
            finished = sum(
                arms.get((claim.id, claim.kind.arm, ()), Measured()).status == "finished" for claim in judged
            )
            table.add_row(paper.id, profile, *map(str, count.values()), f"{finished} of {len(judged)}")
    out.print(table if table.row_count else "No records yet: start with 'make reproduce PAPER=nkd'.")
    folders = sorted((work_dir() / "runs").glob("*"))
    running = [folder.name for folder in folders if RunFolder(work_dir(), folder.name).is_running()]
    out.print(f"\nIn progress: {', '.join(running) if running else 'nothing'}.", soft_wrap=True)
    for record in standing:
        if record.status != "finished":
            claims = ", ".join(dict.fromkeys(claim for claim, *_ in claims_served(record)))
            out.print(f"{record.status}: {record.run_id} ({claims}): {record.error}", soft_wrap=True)
    return 0
