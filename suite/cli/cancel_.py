"""``cancel``: cancel the cluster jobs of a selection."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.selection import add_selection

    add_selection(parser)
    parser.add_argument("--all", action="store_true", help="every job submitted from this work folder")


def run(args: argparse.Namespace) -> int:
    """Cancels the jobs of a selection, queued and running, including those of any repetition of its runs.

    What they have trained so far is kept, and the command that submitted them resumes from there.

    Raises:
        SuiteError: nothing is selected, the selection, the profile or an override is wrong, or Slurm cannot
            be asked.
    """
    from suite.cli.screen import Screen
    from suite.errors import SuiteError
    from suite.paths import work_dir
    from suite.planning.clusters import split_off
    from suite.planning.plan import make_plan
    from suite.published.finding import select
    from suite.running.launchers.slurm import live_submissions
    from suite.running.slurm_queue import cancel
    from suite.store.run_folders import RunFolder

    selects = bool(args.paper or args.table or args.claim)
    if args.all == selects:
        raise SuiteError("say which jobs to cancel: --paper, --table or --claim, or --all for every job")
    _, overrides = split_off(args.overrides)
    wanted: set[tuple[str, int]] | None = None
    if selects:
        claims = [claim for _, claim in select(args.paper, args.table, args.claim)]
        plan = make_plan(claims, args.profile, args.seeds, overrides)
        wanted = {(run.series, run.seed) for run in plan.runs.values()}
    live = live_submissions().values()
    ended = [entry for entry in live if wanted is None or (entry.series, entry.seed) in wanted]
    cancel(ended)
    out = Screen()
    for entry in ended:
        RunFolder(work_dir(), entry.run_id).submission.unlink(missing_ok=True)
        out.say(f"cancelled: job {entry.key}, {entry.label} ({entry.run_id})")
    left = len(live) - len(ended)
    others = f" Jobs of other selections, not cancelled: {left}." if left else ""
    out.say(f"Jobs cancelled: {len(ended)}.{others}")
    return 0
