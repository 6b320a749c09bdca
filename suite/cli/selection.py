"""The options by which `plan` and `reproduce` choose claims, and the plan they give."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from suite.planning.plan import Plan
    from suite.store.records import Record

# What is printed to a file or a pipe is as wide as it has to be: no terminal there wraps it.
WIDE = 240


def positive(text: str) -> int:
    """An argument that is a number of at least 1.

    Raises:
        ArgumentTypeError: it is none; argparse puts the name of the option before it.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Adds `--paper`, `--table`, `--claim`, `--profile` and `--seeds`; lets overrides through."""
    parser.add_argument("--paper", metavar="P", help="one paper (default: all)")
    parser.add_argument("--table", metavar="T", help="claims that this table prints")
    parser.add_argument("--claim", metavar="ID", nargs="+", default=[], help="these claims only")
    parser.add_argument("--profile", metavar="NAME", default="mini", help="smoke, mini (default) or paper")
    parser.add_argument("--seeds", metavar="N", type=positive, default=1, help="runs an arm (default 1)")
    parser.set_defaults(takes_overrides=True)


def command_of(args: argparse.Namespace) -> str:
    """The command line that makes the same selection again."""
    words = [str(args.verb)]
    for folder in args.papers or ():
        words += ["--papers", folder]
    for name in ("paper", "table"):
        if getattr(args, name):
            words += [f"--{name}", getattr(args, name)]
    if args.claim:
        words += ["--claim", *args.claim]
    if getattr(args, "all", False):
        words += ["--all"]
    words += ["--profile", args.profile, "--seeds", str(args.seeds)]
    if getattr(args, "again", False):
        words += ["--again"]
    words += args.overrides
    return f"python -m suite {shlex.join(words)}"


def recorded_states(plan: Plan, records: Iterable[Record]) -> dict[str, str]:
    """Run id -> the status of its standing record, or `to do`."""
    from suite.store.records import standing_by_run

    recorded = standing_by_run(records)
    return {run_id: recorded[run_id].status if run_id in recorded else "to do" for run_id in plan.runs}


def console() -> Console:
    """Where verbs print their tables: text is printed as it is, and nothing wraps outside of a terminal."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)
