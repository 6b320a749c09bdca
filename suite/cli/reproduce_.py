"""``reproduce``: train, evaluate, judge and report a selection."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.selection import add_selection, positive

    add_selection(parser)
    parser.add_argument("--device", metavar="D", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--launcher", metavar="NAME", default="local", help="local")
    parser.add_argument(
        "--jobs", metavar="N", type=positive, help="runs side by side (default: one a core, one on a GPU)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--strict", action="store_true", help="exit with status 3 when a verdict deviates")


def run(args: argparse.Namespace) -> int:
    """Carries out the selection and prints the table of every paper it touches.

    Returns:
        0; 1 when a run failed or is blocked; with ``--strict`` 3 when a verdict deviates.

    Raises:
        SuiteError: the selection, the profile, the device or an override is wrong, a record is damaged,
            or there is no room to write.
    """
    from suite.claims import load_papers, select
    from suite.cli.plan_ import print_plan
    from suite.cli.selection import command_of
    from suite.errors import SuiteError, did_you_mean
    from suite.paths import records_dir
    from suite.plan import make_plan
    from suite.progress import Progress
    from suite.records import newest_by_run, read_all
    from suite.report import write_reports
    from suite.runner import Engine, check_device, default_jobs, selected_papers

    if args.launcher != "local":
        raise SuiteError(f"unknown launcher {args.launcher!r}: {did_you_mean(args.launcher, ['local'])}")
    claims = [claim for _, claim in select(args.paper, args.table, args.claim)]
    plan = make_plan(claims, args.profile, args.seeds, args.overrides)
    _say_what_it_shows(plan)
    if args.dry_run:
        recorded = newest_by_run(read_all(records_dir()))
        print_plan(plan, {name: recorded[name].status if name in recorded else "to do" for name in plan.runs})
        return 0
    papers = selected_papers((claim.id for claim in claims), load_papers().values())

    def rewrite() -> None:
        for paper in papers:
            write_reports(paper, args.profile)

    device = check_device(args.device)
    engine = Engine(plan, command_of(args), device, args.jobs or default_jobs(device), Progress(), rewrite)
    try:
        outcome = engine.carry_out()
    except KeyboardInterrupt:
        print("suite: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    deviates = _print_tables(papers, args.profile)
    for run_id, error in outcome.failed.items():
        print(f"suite: {plan.runs[run_id].label}: {error}", file=sys.stderr)
    if outcome.failed:
        return 1
    return 3 if args.strict and deviates else 0


def _say_what_it_shows(plan: Plan) -> None:
    if any(not run.recipe["comparable"] for run in plan.runs.values()):
        print(
            f"Profile {plan.profile}: the data are embedded (handwritten digits), so published numbers are not "
            "comparable; only the sign of a gain is judged.",
            flush=True,
        )


def _print_tables(papers: list[str], profile: str) -> bool:
    """Writes and prints the reports; whether a verdict in them deviates."""
    from suite.claims import find_paper
    from suite.paths import records_dir, results_dir
    from suite.records import read_all
    from suite.report import make_report

    records = read_all(records_dir())
    deviates = False
    for paper in papers:
        report = make_report(find_paper(paper), records, profile)
        paths = report.write(results_dir())
        print(f"\n{report.text('markdown')}\nWritten to {' and '.join(map(str, paths))}.")
        deviates = deviates or report.deviates
    return deviates
