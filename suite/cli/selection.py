"""The options with which verbs select claims, and the recorded states of the planned runs."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from suite.errors import printable

if TYPE_CHECKING:
    from suite.planning.plan import Plan
    from suite.store.record import Record

MOST_JOBS = 1024
"""Most runs in parallel: each is a process that takes gigabytes of memory."""


def whole_number(most: int, why: str) -> Callable[[str], int]:
    """The type of an argument that is a whole number from 1 to `most`.

    Args:
        most: the largest number.
        why: why there is a limit; the end of the message.
    """

    def read(text: str) -> int:
        # Longer ones are too large anyway, and int() refuses thousands of digits.
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"must be a whole number from 1 to {most}, got {printable(repr(text), 40)}; {why}"
            )
        return int(text)

    return read


def add_jobs(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds `--jobs`.

    Args:
        parser: the parser of the verb.
        text: help text of the option.
    """
    number = whole_number(MOST_JOBS, "each is a separate process")
    parser.add_argument("--jobs", metavar="N", type=number, help=text)


def add_samples(parser: argparse.ArgumentParser) -> None:
    """Adds `--samples`."""
    from suite.store.samples import MOST_SAMPLES

    parser.add_argument(
        "--samples",
        metavar="N",
        type=_samples,
        default=0,
        help=f"keep each run's predictions for N test images (default: none; at most {MOST_SAMPLES})",
    )


def _samples(text: str) -> int:
    """Parses a number of test images; 0 keeps none.

    Raises:
        ArgumentTypeError: it is not valid; argparse adds the name of the option.
    """
    from suite.store.samples import MOST_SAMPLES

    return 0 if text == "0" else whole_number(MOST_SAMPLES, "0 keeps none")(text)


def add_budget(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds `--budget`.

    Args:
        parser: the parser of the verb.
        text: help text of the option.
    """
    parser.add_argument("--budget", metavar="HOURS", type=_hours, help=text)


def _hours(text: str) -> float:
    """Parses a number of hours.

    Raises:
        ArgumentTypeError: it is not valid; argparse adds the name of the option.
    """
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not (math.isfinite(hours) and hours > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0")
    return hours


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Adds `--paper`, `--table`, `--claim`, `--profile` and `--seeds`, and allows overrides."""
    from suite.planning.plan import MOST_SEEDS

    completed(parser.add_argument("--paper", metavar="P", help="one paper (default: all)"), paper_ids)
    parser.add_argument("--table", metavar="T", help="only the claims in this table")
    claim = parser.add_argument(
        "--claim", metavar="ID", nargs="+", action="extend", default=[], help="only these claims"
    )
    completed(claim, claim_ids)
    parser.add_argument("--profile", metavar="NAME", default="mini", help="smoke, mini (default) or paper")
    seeds = whole_number(MOST_SEEDS, "each seed is one training per arm, and five decide small gains")
    parser.add_argument("--seeds", metavar="N", type=seeds, default=1, help="runs per arm (default: 1)")
    parser.set_defaults(takes_overrides=True)


def completed(action: argparse.Action, names: Callable[..., list[str]]) -> None:
    """Lets a shell complete the values of an option, if argcomplete is installed.

    Args:
        action: the option.
        names: called by argcomplete, with keywords of its own.
    """
    action.completer = names  # type: ignore[attr-defined]  # where argcomplete looks for it


def paper_ids(**_: object) -> list[str]:
    """Ids of the papers, for shell completion."""
    from suite.published.finding import load_papers

    return list(load_papers())


def claim_ids(**_: object) -> list[str]:
    """Ids of the claims, for shell completion."""
    from suite.published.finding import select

    return [claim.id for _, claim in select()]


def command_of(args: argparse.Namespace) -> str:
    """The command line that repeats a selection."""
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
    if getattr(args, "budget", None) and args.verb == "reproduce":
        words += ["--budget", f"{args.budget:.12g}"]
    words += ["--profile", args.profile, "--seeds", str(args.seeds)]
    if getattr(args, "again", False):
        words += ["--again"]
    words += args.overrides
    return f"python -m suite {shlex.join(words)}"


def recorded_states(plan: Plan, records: Iterable[Record]) -> dict[str, str]:
    """Run id -> the status of its standing record, or `to do`."""
    from suite.store.record import standing_by_run

    recorded = standing_by_run(records)
    return {run_id: recorded[run_id].status if run_id in recorded else "to do" for run_id in plan.runs}
