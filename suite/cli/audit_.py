"""``audit``: what a run would really do, held against what was published, before it costs anything."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.audit.compare import Audited


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.selection import add_jobs, add_selection

    add_selection(parser)
    add_jobs(parser, "built side by side (default: one a core)")
    parser.set_defaults(profile="paper")


def run(args: argparse.Namespace) -> int:
    """Builds every training of the selection and prints how it compares with its claims.

    Returns:
        0 where every setting matches or departs as listed; 1 where one does not, or a training is not built.

    Raises:
        SuiteError: the selection, the profile or an override is wrong, or the profile's data are embedded.
    """
    from suite.audit.compare import audit_plan
    from suite.catalogue import check_python_files
    from suite.cli.selection import console
    from suite.errors import SuiteError
    from suite.planning.plan import make_plan
    from suite.published.finding import select
    from suite.published.recipes import check_profile

    if check_profile(args.profile) != "paper":
        raise SuiteError(
            f"--profile {args.profile}: embedded data depart from everything published; audit --profile paper"
        )
    check_python_files()
    claims = [claim for _, claim in select(args.paper, args.table, args.claim)]
    plan = make_plan(claims, args.profile, 1, args.overrides)
    audited = list(
        _with_progress(audit_plan(plan, {claim.id for claim in claims}, args.jobs), len(plan.runs))
    )
    out = console()
    if args.claim:
        for one in audited:
            _print_settings(one)
    _print_summary(audited)
    for line in _faults(audited):
        out.print(line, soft_wrap=True)
    return int(any(one.error or one.mismatches for one in audited))


def _with_progress(audited: Iterator[Audited], total: int) -> Iterator[Audited]:
    import sys

    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        audited, "building", total=total, console=console, disable=not sys.stderr.isatty(), transient=True
    )


def _print_settings(audited: Audited) -> None:
    """Every setting of one training, published against effective."""
    from rich.table import Table

    from suite.audit.compare import shown
    from suite.cli.selection import console

    table = Table(
        title=f"{audited.run.label} ({audited.run.arm})", title_justify="left", box=None, pad_edge=False
    )
    for heading in ("setting", "published", "effective", "", "stated by"):
        table.add_column(heading, overflow="fold")
    for comparison in sorted(audited.comparisons, key=lambda comparison: comparison.setting):
        table.add_row(
            comparison.setting,
            shown(comparison.published),
            shown(comparison.effective),
            comparison.verdict,
            comparison.source,
        )
    out = console()
    out.print(table)
    unstated = ", ".join(audited.unstated)
    out.print(f"Stated by nobody: {unstated}.\n", soft_wrap=True)


def _print_summary(audited: list[Audited]) -> None:
    from rich.table import Table

    from suite.cli.selection import console

    table = Table(box=None, pad_edge=False)
    for heading in ("training", "arm", "claims", "stated", "match", "departure", "mismatch"):
        table.add_column(heading, overflow="fold")
    for one in audited:
        counts = Counter(comparison.verdict for comparison in one.comparisons)
        stated = str(len(one.comparisons)) if not one.error else "not built"
        table.add_row(
            one.run.label,
            one.run.arm,
            str(one.claims),
            stated,
            *(str(counts[verdict]) for verdict in ("match", "departure", "mismatch")),
        )
    out = console()
    out.print(table)
    total = Counter(comparison.verdict for one in audited for comparison in one.comparisons)
    out.print(
        f"\nTrainings: {len(audited)}; settings stated: {sum(total.values())}; {total['match']} match, "
        f"{total['departure']} depart as listed, {total['mismatch']} do not match.",
        soft_wrap=True,
    )


def _faults(audited: list[Audited]) -> Iterator[str]:
    for one in audited:
        if one.error:
            yield f"{one.run.label}: {one.error}"
        for comparison in one.comparisons:
            if comparison.verdict != "match":
                yield f"{comparison.verdict}: {one.run.label}: {comparison.difference} ({comparison.source})"
