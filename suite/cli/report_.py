"""``report``: write the tables of claimed and reproduced numbers, or the site that shows them."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.published.claims import Paper
    from suite.report import Report
    from suite.store.summaries import Evidence

    Written = tuple[Paper, str, Report, list[Path]]

FORMATS = ("markdown", "csv", "html", "latex", "parquet", "hugging-face", "pytorch")
"""The formats of `suite.report` and `suite.report.exports`, repeated here so that parsing imports neither."""

DEFAULT_PORT = "8000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--paper", metavar="P", help="one paper (default: all)")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="one profile (default: every profile with records of the paper, or mini)",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        choices=FORMATS,
        help=f"write one format: {', '.join(FORMATS[:-1])} or {FORMATS[-1]} (default: markdown and csv); "
        "html is the site of all papers",
    )
    parser.add_argument(
        "--serve",
        metavar="PORT",
        nargs="?",
        const=DEFAULT_PORT,
        help="write the site, serve it to this machine only, and print the command for a tunnel to it "
        f"(default: {DEFAULT_PORT})",
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder to write to (default: results)")
    parser.add_argument(
        "--control",
        action="store_true",
        help="write nothing; print what the embedded rows of all papers can detect, and its own control",
    )
    parser.add_argument("--strict", action="store_true", help="exit with status 3 when a verdict deviates")


def run(args: argparse.Namespace) -> int:
    """Writes the reports; on a terminal prints the answer that they give, elsewhere their paths.

    Warns if scalars of their runs are missing or altered. With ``--serve`` it then serves the site until it
    is interrupted.

    Returns:
        0, or with ``--strict`` 3 if a verdict of a written report deviates.

    Raises:
        SuiteError: the paper or the profile is unknown, a record cannot be read, or nothing can be written.
    """
    from suite.cli.serving import checked_port, serve
    from suite.paths import results_dir

    if args.control:
        _print_control(args)
        return 0
    if args.serve is None:
        return 3 if _write(args) and args.strict else 0
    port = checked_port(args)
    _write(args)
    serve(args.output or results_dir(), port)
    return 0


def _print_control(args: argparse.Namespace) -> None:
    """Prints the power of the embedded study, and the false alarm rate of its verdicts."""
    from suite.cli.screen import Screen, plain_table
    from suite.errors import SuiteError
    from suite.paths import records_dir
    from suite.published.finding import load_papers
    from suite.published.recipes import check_profile
    from suite.report import DEFAULT_PROFILE
    from suite.report.control import study_of_all
    from suite.store.summaries import read_summaries

    if args.paper or args.format or args.output or args.strict or args.serve:
        raise SuiteError("--control covers all papers and only prints; its only option is --profile")
    profile = check_profile(args.profile or DEFAULT_PROFILE)
    section = study_of_all(load_papers().values(), read_summaries(records_dir()), profile)
    screen = Screen()
    if section is None:
        screen.say(
            f"No student was trained alone on embedded data at profile {profile}; 'python -m suite "
            "reproduce --paper nkd --seeds 6' starts with that."
        )
        return
    for grid in section.grids:
        table = plain_table(*grid.headings)
        for line in grid.lines:
            table.add_row(*line.cells)
        screen.say(grid.title)
        screen.print(table)
        screen.say(grid.note)
    screen.say(section.remark)


def _write(args: argparse.Namespace) -> bool:
    """Writes the selected reports; returns whether a verdict in them deviates."""
    from suite.errors import SuiteError
    from suite.paths import records_dir, results_dir
    from suite.published.finding import find_paper, load_papers
    from suite.published.recipes import check_profile
    from suite.store.companions import faults_of
    from suite.store.scalars import SCALARS
    from suite.store.summaries import read_summaries

    papers = [find_paper(args.paper)] if args.paper else list(load_papers().values())
    if args.profile:
        check_profile(args.profile)
    records = read_summaries(records_dir())
    folder = args.output or results_dir()
    writer = _write_site if args.serve or args.format == "html" else _write_files
    try:
        written = writer(args, papers, records, folder)
    except OSError as error:
        raise SuiteError(
            f"cannot write to {folder} ({error.strerror}); name another folder with --output"
        ) from None
    if not any(paths for *_, paths in written):
        raise SuiteError(
            f"nothing to write as {args.format}: no recorded run belongs there at profile "
            f"{' or '.join(sorted({profile for _, profile, *_ in written}))}; docs/exports.md says which do"
        )
    counted = _counted(written)
    in_order = sorted(counted, key=lambda run: (run.run_id, run.attempt))
    if fault := faults_of(records_dir(), in_order, SCALARS):
        print(f"suite: {fault}", file=sys.stderr)
    if sys.stdout.isatty():
        _answer(written, [run for run in counted if run.status != "finished"])
    return any(report.deviates for _, _, report, _ in written)


def _pages(paths: Sequence[Path], folder: Path) -> list[Path]:
    """The written files directly in a folder, and the folders in it that contain the others."""
    return list(dict.fromkeys(folder / path.relative_to(folder).parts[0] for path in paths))


def _counted(written: Sequence[Written]) -> list[Evidence]:
    """The runs that count in the tables of the written reports, grouped by profile."""
    from suite.evidence.gathered import counted_runs

    claims: dict[str, set[str]] = {}
    for paper, profile, *_ in written:
        claims.setdefault(profile, set()).update(claim.id for claim in paper.claims)
    arms = {profile: report.arms for _, profile, report, _ in written}
    return [run for profile, reported in claims.items() for run in counted_runs(arms[profile], reported)]


def _write_files(
    args: argparse.Namespace, papers: Sequence[Paper], records: Sequence[Evidence], folder: Path
) -> list[Written]:
    """Writes the formats with separate files for each paper, and prints their paths."""
    from suite.evidence.gathered import measured_arms
    from suite.report import DEFAULT_FORMATS, DEFAULT_PROFILE, make_report, recorded_profiles
    from suite.report.exports import EXPORTS, Material, write_export

    formats = [args.format] if args.format else DEFAULT_FORMATS
    arms = functools.cache(functools.partial(measured_arms, records))
    written: list[Written] = []
    for paper in papers:
        recorded = recorded_profiles(paper, records) or [DEFAULT_PROFILE]
        for profile in [args.profile] if args.profile else recorded:
            report = make_report(paper, records, profile, arms(profile))
            if args.format in EXPORTS:
                paths = write_export(args.format, Material(paper, profile, report, records), folder)
            else:
                paths = report.write(folder, formats)
            _print_paths(paths)
            written.append((paper, profile, report, _pages(paths, folder)))
    return written


def _print_paths(paths: Sequence[Path]) -> None:
    """Prints the paths, unless standard output is a terminal, which shows the answer instead."""
    if paths and not sys.stdout.isatty():
        print(*paths, sep="\n")


def _write_site(
    args: argparse.Namespace, papers: Sequence[Paper], records: Sequence[Evidence], folder: Path
) -> list[Written]:
    """Writes the site, which covers all papers; returns the selected reports."""
    from suite.paths import records_dir, work_dir
    from suite.published.finding import load_papers
    from suite.report.addresses import INDEX, paper_page
    from suite.report.site import write_site

    profiles = [args.profile] if args.profile else []
    everything = list(load_papers().values())
    world = write_site(folder, everything, records, records_dir(), work_dir(), profiles)
    selected = {paper.id for paper in papers}
    written = [
        (one.paper, one.profile, one.report, [folder / INDEX, folder / paper_page(one.report.name)])
        for one in world.reports
        if one.paper.id in selected and args.profile in (None, one.profile)
    ]
    _print_paths(list(dict.fromkeys(path for *_, paths in written for path in paths)))
    return written


def _answer(written: Sequence[Written], unfinished: Sequence[Evidence]) -> None:
    """Prints what the written reports say, and why some of their runs did not finish."""
    from suite.cli.answer import Answer, print_answers
    from suite.cli.runs import failure_of
    from suite.cli.screen import Screen

    answers = [Answer.of(*one, asked=None) for one in written]
    print_answers(Screen(), answers, list(map(failure_of, unfinished)))
