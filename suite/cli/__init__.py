"""Command line of the suite: one module per verb, imported only when that verb is called."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from suite import __version__
from suite.cli.output import printed_to
from suite.environment import DISTRIBUTION
from suite.errors import LONGEST, SuiteError, did_you_mean, printable
from suite.running.ranks import started_by_torchrun

VERBS = {
    "list": "published claims, and the known gaps",
    "show": "one claim with its sources, or one pair of models across the literature",
    "plan": "the runs a selection needs, their cost, and what a budget buys",
    "data": "published data sets: list, verify and prepare them",
    "audit": "compare the settings of each training with the published ones",
    "reproduce": "train, evaluate, judge and report a selection",
    "evaluate": "score a checkpoint that was trained elsewhere",
    "weights": "published checkpoints: list and fetch them",
    "status": "runs that are recorded, running, interrupted or failed",
    "cancel": "cancel the cluster jobs of a selection",
    "work": "execute one requested run; launchers call this",
    "report": "write tables of claimed and reproduced numbers from the records",
    "compare": "results that changed between two commits, series or stores",
    "nightly": "measure again every night, keep a history, and report what changed",
    "archive": "check, upgrade or archive the whole record store",
    "doctor": "check the installation and the data, and say how to fix what is missing",
}
"""Verb -> one line of help.

The module of a verb is ``suite.cli.<verb>_``. It defines ``add_arguments(parser)`` and ``run(args) -> int``
(the exit status), and imports heavy modules inside ``run``.
"""

CONSOLE_SCRIPT = "distill-repro"

_ASKED_BY_A_SHELL = "_ARGCOMPLETE"
"""Variable that a shell sets to request completions (argcomplete's)."""

_OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@-]*=|~[A-Za-z_]")
"""Beginning of a Hydra override: ``key=value``, or ``~key``, which deletes a key."""


class _Parser(argparse.ArgumentParser):
    """A parser for a verb and its overrides, which raises a `SuiteError` for wrong arguments.

    A word that looks like ``key=value`` is an override wherever it occurs, with one exception: directly after
    an option that takes a value it is that value (``--checkpoint epoch=3.pth``).
    """

    def error(self, message: str) -> NoReturn:
        """Refuses the arguments.

        Raises:
            SuiteError: always.
        """
        raise SuiteError(f"{message}; '{self.prog} --help' lists the options")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses, and refuses unknown arguments here, where the parser's own options can be suggested.

        Raises:
            SuiteError: an argument is unknown or wrong.
        """
        words, overrides = self._apart(sys.argv[1:] if args is None else args)
        found, unknown = super().parse_known_args(words, namespace)
        found.overrides = overrides + list(getattr(found, "overrides", ()))
        if unknown:
            word = unknown[0].partition("=")[0]
            if not word.startswith("-"):
                self.error(f"unexpected argument {unknown[0]!r}")
            options = [option for action in self._actions for option in action.option_strings]
            self.error(f"unknown option {word}: {did_you_mean(word, options)}")
        return found, unknown

    def _apart(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Splits words into those for argparse and overrides; a parser with subparsers leaves it to them."""
        if any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            return list(words), []
        plain: list[str] = []
        overrides: list[str] = []
        is_value = False
        for word in words:
            if not is_value and _OVERRIDE.match(word):
                overrides.append(word)
            else:
                plain.append(word)
            is_value = self._takes_a_value(word)
        return plain, overrides

    def _takes_a_value(self, word: str) -> bool:
        """Whether a word is an option, or an abbreviation of one, whose value is the next word."""
        if not word.startswith("--") or "=" in word:
            return False
        options = self._option_string_actions
        named = {word} & options.keys() or {option for option in options if option.startswith(word)}
        return any(options[option].nargs != 0 for option in named)


def _program() -> str:
    """The name under which this command line was called, which may be the console script."""
    return CONSOLE_SCRIPT if os.path.basename(sys.argv[0]) == CONSOLE_SCRIPT else "python -m suite"


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """Builds the parser; only the module of `verb` is imported, so that every verb starts fast."""
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
            help="folder of papers outside the checkout; may be repeated (default: SUITE_PAPERS)",
        )
        if name == verb:
            importlib.import_module(f"suite.cli.{name}_").add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Words after the verb that look like ``group=value``, ``a.b=c`` or ``~a.b`` are Hydra overrides, which the
    verb gets as ``args.overrides`` (`_Parser`).

    Returns:
        0 success; 1 a run failed or is blocked; 2 wrong usage or input; 3 a verdict deviates (``--strict``);
        130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if _ASKED_BY_A_SHELL in os.environ:
        _complete()
    if argv is None and isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the encoding of the terminal or file lacks are shown as escapes.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _call(words)
        # Flushing may hit a closed pipe or a full disk; here that can still be reported.
        sys.stdout.flush()
        return status
    except SuiteError as error:
        print(f"suite: {_told(error)}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader closed the pipe. Nothing more may be written, not even by the interpreter as it exits.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (open until the process ends)
        return 0
    except OSError as error:
        told = _told(f"operating system error: {error}; fix it and run the same command again")
        print(f"suite: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("suite: interrupted", file=sys.stderr)
        return 130


def _complete() -> None:
    """Prints completions for a shell and ends the process; does nothing if argcomplete is not installed."""
    try:
        # Only needed here, and not a dependency.
        argcomplete = importlib.import_module("argcomplete")
    except ImportError:
        return
    typed = os.environ.get("COMP_LINE", "").split()
    argcomplete.autocomplete(build_parser(next((word for word in typed if word in VERBS), None)))


def _told(message: object) -> str:
    """A message as it is printed: no word longer than `LONGEST`, and the whole no longer than twice that.

    The text beside a name (a place or two, and the remedy) may be as long as a name.
    """
    words = re.sub(rf"\S{{{LONGEST},}}", lambda found: printable(found[0]), str(message))
    return printable(words, 2 * LONGEST)


def _call(words: Sequence[str]) -> int:
    _refuse_unreadable(words)
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        raise SuiteError(f"unknown verb {verb!r}: {did_you_mean(verb, VERBS)}")
    if verb is not None and verb != "work" and started_by_torchrun():
        raise SuiteError(
            f"torchrun started '{verb}' once per process: leave torchrun out; 'reproduce --launcher "
            "torchrun' starts it for each training run"
        )
    args = build_parser(verb).parse_args(words)
    if args.overrides and not getattr(args, "takes_overrides", False):
        raise SuiteError(
            f"'{args.verb}' takes no overrides, but was given {args.overrides[0]!r}: leave it out"
        )
    with _papers(args.papers), printed_to(getattr(args, "output_file", None)):
        return int(importlib.import_module(f"suite.cli.{args.verb}_").run(args))


def _refuse_unreadable(words: Sequence[str]) -> None:
    """Refuses words that cannot be arguments: empty ones, and those that are not text.

    Raises:
        SuiteError: a word, or the value after the ``=`` of an option, is empty; a word has a NUL, or bytes
            that are not UTF-8.
    """
    for position, word in enumerate(words):
        if not word:
            before = f" after {words[position - 1]!r}" if position else ""
            raise SuiteError(f"there is an empty argument{before}: give it a value, or leave it out")
        if word.startswith("--") and word.endswith("="):
            raise SuiteError(f"{word[:-1]} has an empty value: give it one, or leave it out")
        if word.startswith("--") and word.endswith("=--"):
            # argparse would turn it into an empty list.
            raise SuiteError(f"{word[:-3]} has no value but '--': give it one, or leave it out")
        if "\0" in word or any("\ud800" <= letter <= "\udfff" for letter in word):
            raise SuiteError(f"argument {word!r} is not plain UTF-8 text: write it differently")


@contextmanager
def _papers(folders: Sequence[str] | None) -> Iterator[None]:
    """Sets ``SUITE_PAPERS`` while a verb runs, so that its child processes see the folders too.

    Args:
        folders: value of ``--papers``; None leaves the environment unchanged.
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
