"""``report``: writes the tables of claimed against reproduced numbers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--paper", metavar="P", help="one paper (default: all)")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="one profile (default: every profile with records of the paper, or mini)",
    )
    parser.add_argument(
        "--format", choices=["markdown", "csv", "html"], help="one format (default: markdown and csv)"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder to write to (default: results)")
    parser.add_argument("--strict", action="store_true", help="exit with status 3 when a verdict deviates")


def run(args: argparse.Namespace) -> int:
    """Writes the reports and prints their paths; says so where scalars of their runs are missing or altered.

    Returns:
        0, or with ``--strict`` 3 when a verdict of a written report contradicts its claim.

    Raises:
        SuiteError: the paper or the profile is unknown, a record cannot be read, or nothing can be written.
    """
    return 3 if _write(args) and args.strict else 0


def _write(args: argparse.Namespace) -> bool:
    """Writes the selected reports; returns whether a verdict of theirs contradicts its claim."""
    from suite.errors import SuiteError
    from suite.paths import records_dir, results_dir
    from suite.published.finding import find_paper, load_papers
    from suite.published.recipes import check_profile
    from suite.report import DEFAULT_FORMATS, DEFAULT_PROFILE, make_report, recorded_profiles
    from suite.store.scalars import faults_of_scalars
    from suite.store.summaries import read_summaries

    papers = [find_paper(args.paper)] if args.paper else list(load_papers().values())
    records = read_summaries(records_dir())
    folder = args.output or results_dir()
    formats = [args.format] if args.format else DEFAULT_FORMATS
    deviates, reported = False, set()
    for paper in papers:
        profiles = (
            [check_profile(args.profile)]
            if args.profile
            else recorded_profiles(paper, records) or [DEFAULT_PROFILE]
        )
        for profile in profiles:
            report = make_report(paper, records, profile)
            try:
                print(*report.write(folder, formats), sep="\n")
            except OSError as error:
                raise SuiteError(
                    f"cannot write to {folder} ({error.strerror}); name another folder with --output"
                ) from None
            deviates = deviates or report.deviates
            reported.add(profile)
    looked_at = [record for record in records if record.profile in reported]
    if fault := faults_of_scalars(records_dir(), looked_at):
        print(f"suite: {fault}", file=sys.stderr)
    return deviates
