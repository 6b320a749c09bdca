"""Command line of the suite: one module a verb, imported only when that verb is called."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence

from suite.errors import SuiteError, did_you_mean

VERBS = {
    "list": "published claims, and the gaps between them",
    "show": "one claim with its sources, discrepancies and recipe",
    "plan": "the runs a selection needs, shared arms counted once",
    "reproduce": "train, evaluate, judge and report a selection",
    "status": "what is recorded, running and left to do",
    "report": "tables of claimed against reproduced numbers",
    "doctor": "what is installed and present, and how to mend each gap",
}
"""Verb -> one line of help. The module of a verb is ``suite.cli.<verb>_``; see `Verb modules`.

Verb modules define ``add_arguments(parser)`` and ``run(args) -> int`` (the exit status). They import
what is heavy inside ``run``.
"""

_OVERRIDE = re.compile(r"^[+~]{0,2}[A-Za-z_][\w./@-]*=")


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser; only the module of `verb` is imported, so that every verb starts fast."""
    parser = argparse.ArgumentParser(
        prog="python -m suite",
        description="Can this distillation paper be reproduced? Claims, runs, verdicts and tables.",
    )
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in VERBS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == verb:
            importlib.import_module(f"suite.cli.{name}_").add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Anything behind the verb that looks like ``group=value`` or ``a.b=c`` is a Hydra override and
    reaches the verb as ``args.overrides``.

    Returns:
        0 done; 1 a run failed or is blocked; 2 wrong usage or input; 3 a verdict deviates (``--strict``).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        print(f"suite: unknown verb {verb!r}: {did_you_mean(verb, VERBS)}", file=sys.stderr)
        return 2
    overrides = [word for word in words if _OVERRIDE.match(word)]
    args = build_parser(verb).parse_args([word for word in words if not _OVERRIDE.match(word)])
    args.overrides = overrides
    try:
        if overrides and not getattr(args, "takes_overrides", False):
            raise SuiteError(f"'{args.verb}' takes no overrides, but was given {overrides[0]!r}: leave it out")
        return int(importlib.import_module(f"suite.cli.{args.verb}_").run(args))
    except SuiteError as error:
        print(f"suite: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        return 0
