"""The options by which `plan` and `reproduce` choose claims, and the plan they give."""

from __future__ import annotations

import argparse

from suite.errors import SuiteError


def positive(text: str) -> int:
    """An argument that is a number of at least 1.

    Raises:
        SuiteError: it is none.
    """
    if not text.isdigit() or int(text) < 1:
        raise SuiteError(f"{text!r}: give a number of at least 1")
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
    words = ["python -m suite", str(args.verb)]
    words += [f"--{name} {getattr(args, name)}" for name in ("paper", "table") if getattr(args, name)]
    words += [f"--claim {' '.join(args.claim)}"] if args.claim else []
    words += [f"--profile {args.profile}", f"--seeds {args.seeds}", *args.overrides]
    return " ".join(words)
