"""``audit``: compare what a run would really do with what was published, before it costs anything."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

    from suite.audit.compare import Audited, Comparison
    from suite.cli.screen import Screen

VERDICTS: Final = ("match", "departure", "mismatch")
"""Possible verdicts on a setting, in the order of the columns."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_output, add_quiet
    from suite.cli.selection import add_jobs, add_selection

    add_selection(parser)
    add_jobs(parser, "trainings built side by side (default: one per core)")
    parser.add_argument(
        "--all", action="store_true", help="print every setting of every training, including those that match"
    )
    parser.add_argument(
        "--format",
        choices=["table", "json"],
        default="table",
        help="table (default), or json with every setting",
    )
    add_output(parser)
    add_quiet(parser)
    parser.set_defaults(profile="paper")


def run(args: argparse.Namespace) -> int:
    """Builds every training of the selection, prints what differs from its claims, and counts the rest.

    Returns:
        0 if every setting matches or departs as listed; 1 if one does not, or a training cannot be built.

    Raises:
        SuiteError: the selection, the profile or an override is wrong, or the profile's data are embedded.
    """
    from suite.audit.compare import audit_plan
    from suite.catalogue import check_python_files
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
    built = audit_plan(plan, {claim.id for claim in claims}, args.jobs)
    audited = list(_with_progress(built, len(plan.runs), args.verbosity))
    if args.format == "json":
        _print_json(audited)
    else:
        _print_text(audited, args.all)
    return int(any(one.error or one.mismatches for one in audited))


def _with_progress(audited: Iterator[Audited], total: int, verbosity: int) -> Iterator[Audited]:
    import sys

    from rich.console import Console
    from rich.progress import track

    console, hidden = Console(stderr=True), verbosity < 0 or not sys.stderr.isatty()
    yield from track(audited, "building", total=total, console=console, disable=hidden, transient=True)


def _print_json(audited: Sequence[Audited]) -> None:
    import json
    from dataclasses import asdict

    content = {
        "trainings": [
            {
                "run_id": one.run.run_id,
                "label": one.run.label,
                "arm": one.run.arm,
                "claims": one.claims,
                "error": one.error,
                "settings": [asdict(comparison) for comparison in one.comparisons],
                "unstated": one.unstated,
            }
            for one in audited
        ],
        "counts": _counts(audited),
    }
    print(json.dumps(content, indent=1))


def _counts(audited: Sequence[Audited]) -> dict[str, int]:
    """Number of settings that match, depart as listed, and do not match."""
    found = Counter(comparison.verdict for one in audited for comparison in one.comparisons)
    return {verdict: found[verdict] for verdict in VERDICTS}


def _print_text(audited: Sequence[Audited], everything: bool) -> None:
    from suite.cli.screen import Screen

    out = Screen()
    if everything:
        for one in audited:
            _print_settings(out, one)
    differing = [one for one in audited if one.error or any(_differs(one))]
    shown = audited if everything else differing
    if shown:
        out.print(_summary(shown))
    if rest := len(audited) - len(shown):
        others = "other " if shown else ""
        what = f"{rest} {others}training{'s' if rest > 1 else ''}"
        out.say(f"{what}: every setting stated by a source is as published; --all shows them.")
    out.say()
    for line in _faults(differing, everything):
        out.say(line)
    counts = _counts(audited)
    out.say(
        f"Trainings: {len(audited)}; settings stated: {sum(counts.values())}; {counts['match']} match, "
        f"{counts['departure']} depart as listed, {counts['mismatch']} do not match."
    )


def _print_settings(out: Screen, audited: Audited) -> None:
    """Prints every setting of one training, published and effective."""
    from suite.audit.compare import shown
    from suite.cli.screen import plain_table

    out.say(f"{audited.run.label} ({audited.run.arm})")
    widths = (22, 14, 14, 9, 13) if out.is_narrow else ()
    table = plain_table("setting", "published", "effective", "", "stated by", widths=widths)
    for comparison in sorted(audited.comparisons, key=lambda comparison: comparison.setting):
        table.add_row(
            comparison.setting,
            shown(comparison.published),
            shown(comparison.effective),
            comparison.verdict,
            comparison.source,
        )
    out.print(table)
    out.say(f"Not stated by any source: {', '.join(audited.unstated) or 'nothing'}.\n")


def _summary(audited: Sequence[Audited]) -> Table:
    """A table with the number of settings of each training by verdict."""
    from suite.cli.screen import plain_table

    numbers = ("claims", "stated", *VERDICTS)
    table = plain_table("training", "arm", *numbers, right=numbers)
    for one in audited:
        counts = [str(count) for count in _counts([one]).values()]
        stated = str(len(one.comparisons)) if not one.error else "not built"
        table.add_row(one.run.label, one.run.arm, str(one.claims), stated, *counts)
    return table


def _differs(audited: Audited) -> Iterator[Comparison]:
    return (comparison for comparison in audited.comparisons if comparison.verdict != "match")


def _faults(audited: Sequence[Audited], everything: bool) -> Iterator[str]:
    """One line per difference; one that several trainings share is listed once, unless with `everything`."""
    trainings: dict[tuple[str, str], list[str]] = {}
    for one in audited:
        if one.error:
            yield f"{one.run.label}: {one.error}"
        for comparison in _differs(one):
            what = f"{comparison.difference} ({comparison.source})"
            trainings.setdefault((comparison.verdict, what), []).append(one.run.label)
    for (verdict, what), labels in trainings.items():
        if everything or len(labels) == 1:
            yield from (f"{verdict}: {label}: {what}" for label in labels)
        else:
            yield f"{verdict}: {labels[0]} and {len(labels) - 1} more: {what}"
