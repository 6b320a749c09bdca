"""Command line of the suite: one module a verb, imported only when that verb is called."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from suite import __version__
from suite.environment import DISTRIBUTION
from suite.errors import SuiteError, did_you_mean

VERBS = {
    "list": "published claims, and the gaps between them",
    "show": "one claim with its sources, discrepancies and recipe",
    "plan": "the runs a selection needs, what they cost, and what a budget buys",
    "data": "published data sets: verify what is here, prepare what a script can",
    "audit": "what a training would really do, held against what was published",
    "reproduce": "train, evaluate, judge and report a selection",
    "evaluate": "score a checkpoint that was trained elsewhere",
    "weights": "published checkpoints: list them, fetch some",
    "status": "what is recorded, running and left to do",
    "report": "tables of claimed against reproduced numbers",
    "archive": "the record store as a whole: write records of older layouts anew",
    "doctor": "what is installed and present, and how to close each gap",
}
"""Verb -> one line of help.

The module of a verb is ``suite.cli.<verb>_``. It defines ``add_arguments(parser)`` and ``run(args) -> int``
(the exit status), and imports what is heavy inside ``run``.
"""

CONSOLE_SCRIPT = "distill-repro"

_OVERRIDE = re.compile(r"^[+~]{0,2}[A-Za-z_][\w./@-]*=")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like all others: one line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Refuses the arguments.

        Raises:
            SuiteError: always.
        """
        raise SuiteError(f"{message}; '{self.prog} --help' lists what there is")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses, and refuses what it does not know: here its own options are at hand to compare with.

        Raises:
            SuiteError: an argument is unknown or wrong.
        """
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            if not word.startswith("-"):
                self.error(f"unexpected argument {unknown[0]!r}")
            options = [option for action in self._actions for option in action.option_strings]
            self.error(f"unknown option {word}: {did_you_mean(word, options)}")
        return found, unknown


def _program() -> str:
    """How this command line was called: the console script has a name of its own."""
    return CONSOLE_SCRIPT if os.path.basename(sys.argv[0]) == CONSOLE_SCRIPT else "python -m suite"


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser; only the module of `verb` is imported, so that every verb starts fast."""
    parser = _Parser(
        prog=_program(),
        description="Can this distillation paper be reproduced? Claims, runs, verdicts and tables.",
    )
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in VERBS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument(
            "--papers",
            metavar="DIR",
            action="append",
            help="a folder of papers outside of the checkout; may be given again (default: SUITE_PAPERS)",
        )
        if name == verb:
            importlib.import_module(f"suite.cli.{name}_").add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Anything behind the verb that looks like ``group=value`` or ``a.b=c`` is a Hydra override and
    reaches the verb as ``args.overrides``.

    Returns:
        0 done; 1 a run failed or is blocked; 2 wrong usage or input; 3 a verdict deviates (``--strict``);
        130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _call(words)
        # What is still buffered may meet a closed pipe or a full disk; here there is a line to say so.
        sys.stdout.flush()
        return status
    except SuiteError as error:
        print(f"suite: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader has seen enough. Nothing more may be written, not even by the interpreter as it ends.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (open until the process ends)
        return 0
    except OSError as error:
        print(f"suite: the system refuses: {error}; fix that and run the same command again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("suite: interrupted", file=sys.stderr)
        return 130


def _call(words: Sequence[str]) -> int:
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        raise SuiteError(f"unknown verb {verb!r}: {did_you_mean(verb, VERBS)}")
    overrides = [word for word in words if _OVERRIDE.match(word)]
    plain = [word for word in words if not _OVERRIDE.match(word)]
    args = build_parser(verb).parse_args(plain)
    args.overrides = overrides
    if overrides and not getattr(args, "takes_overrides", False):
        raise SuiteError(f"'{args.verb}' takes no overrides, but was given {overrides[0]!r}: leave it out")
    with _papers(args.papers):
        return int(importlib.import_module(f"suite.cli.{args.verb}_").run(args))


@contextmanager
def _papers(folders: Sequence[str] | None) -> Iterator[None]:
    """Names folders of papers in the environment while a verb runs, where its child processes see them too.

    Args:
        folders: of ``--papers``; None leaves the environment as it is.
    """
    if folders is None:
        yield
        return
    before = os.environ.get("SUITE_PAPERS")
    os.environ["SUITE_PAPERS"] = os.pathsep.join(map(os.path.abspath, folders))
    try:
        yield
    finally:
        if before is None:
            del os.environ["SUITE_PAPERS"]
        else:
            os.environ["SUITE_PAPERS"] = before
