"""Every option and every argument of every verb with hostile values, and which words are overrides."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.cli import VERBS, build_parser
from suite.cli.screen import Screen
from suite.cli.selection import MOST_JOBS
from suite.planning.plan import MOST_SEEDS
from tests.cli.refusals import outcome_of, refusal_of

WORDS = "-1 0 nan 1e9 a=b ../../x /dev/null /proc/x/y null * %s%n {} ' $HOME ~ -- - 1_0 ½ \u0661 🦆"
HOSTILE = (
    *WORDS.split(),
    *("9" * 400, "x" * 5000, "\x1b[2J", "\u202egnp", "a\nb"),
)
NO_TEXT = ("\0", "a\0b", "\ud800", "\udcff.pth")

BESIDE = {
    "plan": {"--claim": "mgd-resnet18"},
    "evaluate": {"--claim": "mgd-resnet18", "--checkpoint": "nowhere.pth"},
    "report": {"--paper": "nkd"},
}
"""Verb -> what it asks for, or is faster with, beside the option in question."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("SUITE_RESULTS", "SUITE_WORK", "SUITE_DATA", "SUITE_WEIGHTS"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)


def options(verb: str) -> Iterator[list[str]]:
    """The options of a verb that take a value, each behind the words that lead to it."""

    def of(parser: argparse.ArgumentParser, words: list[str]) -> Iterator[list[str]]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in action.choices.items():
                    if not words or name in ("list", "fetch"):
                        yield from of(inner, [*words, name])
            elif action.option_strings and action.nargs != 0:
                yield [*words, action.option_strings[0]]
            elif not action.option_strings:
                yield words

    parser = build_parser(verb)
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    yield from of(verbs.choices[verb], [verb])


OPTIONS = [words for verb in VERBS for words in options(verb)]
# The doctor looks at the whole environment, whatever papers are named. --output writes to any file that is
# named, for all verbs in the same few lines; for a report it is a folder.
TRIED = [
    words
    for words in OPTIONS
    if words != ["doctor", "--papers"] and (words[-1] != "--output" or words[0] == "report")
]


def command(words: list[str], value: str) -> list[str]:
    """A command line with a value for an option or an argument."""
    beside = BESIDE.get(words[0], {}).items()
    return [*words, value, *(word for pair in beside if pair[0] != words[-1] for word in pair)]


def test_the_table_has_every_option():
    assert ["reproduce", "--jobs"] in OPTIONS
    assert ["evaluate", "--checkpoint"] in OPTIONS
    assert ["show"] in OPTIONS
    assert ["weights", "fetch"] in OPTIONS
    assert len(OPTIONS) > 40


@pytest.mark.parametrize("words", TRIED, ids=" ".join)
def test_a_hostile_value_is_taken_or_refused_in_one_line(words: list[str]):
    for value in HOSTILE:
        assert outcome_of(command(words, value)).status in {0, 1, 2}


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_what_is_empty_or_no_text_is_refused_everywhere(words: list[str]):
    for value in NO_TEXT:
        assert "is not plain UTF-8 text" in refusal_of(command(words, value))
    assert "empty" in refusal_of(command(words, ""))
    if words[-1].startswith("--"):
        assert f"{words[-1]} has an empty value" in refusal_of([*words[:-1], f"{words[-1]}="])
        assert f"{words[-1]} has no value but '--'" in refusal_of([*words[:-1], f"{words[-1]}=--"])


@pytest.mark.parametrize("verb", ["plan", "reproduce", "audit"])
@pytest.mark.parametrize("number", ["0", "-1", "101", "100000", "1e3", "9" * 5000, "1.0", "²"])
def test_seeds_are_bounded_and_the_bound_is_told(verb: str, number: str):
    message = refusal_of([verb, "--seeds", number])
    assert f"--seeds: must be a whole number from 1 to {MOST_SEEDS}, got " in message
    assert "each seed is one training per arm" in message


@pytest.mark.parametrize("verb", ["reproduce", "audit"])
@pytest.mark.parametrize("number", ["0", "-1", "1025", "1e9", "9" * 5000])
def test_jobs_are_bounded_and_the_bound_is_told(verb: str, number: str):
    message = refusal_of([verb, "--jobs", number])
    assert f"--jobs: must be a whole number from 1 to {MOST_JOBS}, got " in message
    assert "each is a separate process" in message


# Which words are overrides


def overrides_of(*words: str) -> argparse.Namespace:
    return build_parser(words[0]).parse_args(words)


def test_the_value_of_an_option_is_no_override():
    args = overrides_of("evaluate", "--claim", "a", "--checkpoint", "epoch=3.pth", "method.x=1")
    assert (args.checkpoint, args.overrides) == ("epoch=3.pth", ["method.x=1"])
    args = overrides_of("evaluate", "--checkpoint=epoch=3.pth", "--claim", "a")
    assert (args.checkpoint, args.overrides) == ("epoch=3.pth", [])
    # An option may be cut short, as everywhere.
    args = overrides_of("evaluate", "--check", "epoch=3.pth", "--claim", "a")
    assert (args.checkpoint, args.overrides) == ("epoch=3.pth", [])


def test_overrides_stand_anywhere_else():
    args = overrides_of(
        "plan", "a.b=1", "--claim", "one", "two", "c.d=2", "~e.f", "--seeds", "2", "+g=3", "~h.i=4"
    )
    assert (args.claim, args.seeds) == (["one", "two"], 2)
    assert args.overrides == ["a.b=1", "c.d=2", "~e.f", "+g=3", "~h.i=4"]
    # A flag takes no value.
    assert overrides_of("reproduce", "--all", "a.b=1").overrides == ["a.b=1"]


def test_a_checkpoint_of_such_a_name_is_looked_for_as_a_file():
    words = ["evaluate", "--claim", "mgd-resnet18", "--checkpoint", "epoch=3.pth"]
    assert refusal_of(words).startswith("--checkpoint epoch=3.pth: there is no such file")


@pytest.mark.parametrize(
    "words", [["status", "a.b=c"], ["weights", "fetch", "resnet34", "a.b=c"], ["show", "~a"]]
)
def test_a_verb_without_overrides_takes_none(words: list[str]):
    assert f"'{words[0]}' takes no overrides, but was given {words[-1]!r}: leave it out" in refusal_of(words)


def test_tables_show_what_steers_a_terminal_as_an_escape(capsys: pytest.CaptureFixture[str]):
    from rich.table import Table

    table = Table("heading\x1b[2J", title="title\x9b")
    table.add_row("a\x1b]0;t\x07 :bell: [red]\u202e")
    Screen().print(table)
    Screen().print("one\ntwo\x1b")
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert r"a\x1b]0;t\x07 :bell: [red]\u202e" in out
    assert "one\ntwo\\x1b\n" in out
