"""Command lines: every verb, option and kind of override, right and wrong."""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from typing import Any

import yaml
from hypothesis import strategies as st

from suite.cli import VERBS, build_parser
from suite.paths import CONF
from suite.published.finding import load_papers
from tests.campaign import hostile, oracles
from tests.campaign.calling import call
from tests.campaign.experiment import Case, Place, Tried, found
from tests.campaign.searching import Searched

NEVER_TRAINS = ("reproduce",)
"""Verbs that are called with ``--dry-run``: what trains has experiments of its own."""

_OUTPUTS = ("file", "folder", "new/file", "folder/a b", "file/below", "x" * 300)
"""Places below the folder of a case."""

_KNOWN = (
    *("fgd", "mgd", "nkd", "mini", "smoke", "paper", "ours", "baseline", "teacher", "rival", "ablation"),
    *("nkd-resnet18-nkd", "mgd-resnet18", "nkd-resnet18-student", "resnet34", "imagenet", "coco"),
    *("cifar-100",),
    *("json", "csv", "markdown", "html", "table", "auto", "cpu", "local", "1", "2", "5", "500", "file"),
    *("folder",),
)


class CommandLines(Searched):
    """Calls verbs in folders of their own, with some records there."""

    name = "command_lines"
    lane = "light"
    share = 3.2
    unit = "command lines"
    target = 5000

    def cases(self) -> st.SearchStrategy[Case]:
        """Words of a command line."""
        return _command_lines().map(lambda words: {"words": words})

    def replay(self, case: Case, place: Place) -> Tried:
        """Calls the command line."""
        words = [str(word) for word in case["words"]]
        folder = place.fresh()
        (folder / "file").write_text("a file\n", encoding="utf-8")
        (folder / "folder").mkdir()
        inside = {name: folder / name for name in ("results", "work", "data")}
        around = oracles.Surroundings.of(folder, *inside.values())
        done = call(
            words,
            folder,
            {
                "SUITE_RESULTS": str(inside["results"]),
                "SUITE_WORK": str(inside["work"]),
                "SUITE_DATA": str(inside["data"]),
            },
        )
        findings = [
            *oracles.ending(done),
            *oracles.one_line(done),
            *oracles.printable(done),
            *(() if _names_an_output(words) else around.look()),
        ]
        return found(findings, case, Counter({self.unit: 1}))


def _names_an_output(words: list[str]) -> bool:
    """Whether the user names a place to write to; options may be cut short."""
    return any(word.startswith("--o") for word in words)


@functools.cache
def _command_lines() -> st.SearchStrategy[list[str]]:
    known = st.sampled_from([*_KNOWN, *_claims()])
    value = st.one_of(known, st.sampled_from(hostile.TEXTS), st.text(max_size=8))
    verbs = [_verb(verb, value) for verb in VERBS]
    # Overrides are where there is most to get wrong.
    plans = [_verb("plan", value, at_least=1), _verb("reproduce", value, at_least=1)]
    anything = st.lists(st.one_of(value, st.sampled_from(list(VERBS))), max_size=4)
    return st.one_of(*verbs, *plans, anything.filter(_is_light)).filter(_can_be_called).filter(_ends)


def _verb(verb: str, value: st.SearchStrategy[str], at_least: int = 0) -> st.SearchStrategy[list[str]]:
    """A verb with options of its own, in any number and order, and overrides where it takes them."""
    parser = _parser_of(verb)
    pieces = [_option(action, value) for action in parser._actions if action.option_strings]
    positional = [action for action in parser._actions if not action.option_strings]
    if positional:
        choices = [str(choice) for action in positional for choice in action.choices or ()]
        pieces.append(st.one_of(st.sampled_from(choices or list(_KNOWN)), value).map(lambda word: [word]))
    words = st.lists(st.one_of(pieces), max_size=3)
    takes_overrides = bool(parser.get_default("takes_overrides"))
    overrides = st.lists(_overrides(), min_size=at_least, max_size=3) if takes_overrides else st.just([])
    few = [
        [verb, "--claim", claim] if takes_overrides else [verb]
        for claim in ("mgd-resnet18", "nkd-resnet18-nkd")
    ]
    heads = st.sampled_from(few if at_least else [*few, [verb]])
    tail = ["--dry-run"] if verb in NEVER_TRAINS else []
    return st.builds(
        lambda head, options, changes: [
            *head,
            *(word for option in options for word in option),
            *tail,
            *changes,
        ],
        *(heads, words, overrides),
    )


def _parser_of(verb: str) -> argparse.ArgumentParser:
    parser = build_parser(verb)
    (subparsers,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    found: argparse.ArgumentParser = subparsers.choices[verb]
    return found


def _option(action: argparse.Action, value: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    names = st.sampled_from(list(action.option_strings))
    if action.nargs == 0:
        return names.map(lambda name: [name])
    if "--output" in action.option_strings:
        # Whatever is named is written to: it is never left to the word that happens to follow.
        places = st.sampled_from(_OUTPUTS)
        return st.one_of(
            places.map(lambda place: ["--output", place]), places.map(lambda place: [f"--output={place}"])
        )
    if action.choices:
        value = st.one_of(st.sampled_from([str(choice) for choice in action.choices]), value)
    apart = st.builds(lambda name, text: [name, text], names, value)
    joined = st.builds(lambda name, text: [f"{name}={text}"], names, value)
    return st.one_of(apart, apart, joined, names.map(lambda name: [name]))


@functools.cache
def _overrides() -> st.SearchStrategy[str]:
    keys = st.sampled_from(
        [*_keys(), "nothing", "a.b.c", "model@student", "model@teacher", "method", "@", "data@x"]
    )
    values = st.one_of(
        st.sampled_from(hostile.TEXTS),
        st.sampled_from(["3", "null", "x", "1.5", "[]", "{}", "resnet50", "[1,2]"]),
    )
    signs = st.sampled_from(["", "", "", "", "+", "~", "++"])
    return st.builds(lambda sign, key, value: f"{sign}{key}={value}", signs, keys, values)


@functools.cache
def _keys() -> list[str]:
    """Keys of the Hydra groups, under the names by which a recipe has them."""
    keys = set()
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.relative_to(CONF).parts[0].removesuffix(".yaml")
        prefixes = {"model": ("student.", "teacher."), "config": ("",)}.get(group, (f"{group}.",))
        for key in _dotted(yaml.safe_load(path.read_text(encoding="utf-8")) or {}):
            keys |= {prefix + key for prefix in prefixes}
    return sorted(keys)


def _dotted(tree: Any, prefix: str = "") -> list[str]:
    if not isinstance(tree, dict):
        return []
    own = [f"{prefix}{key}" for key in tree if key != "defaults"]
    return own + [deeper for key, value in tree.items() for deeper in _dotted(value, f"{prefix}{key}.")]


def _claims() -> list[str]:
    return [claim.id for paper in load_papers().values() for claim in paper.claims][::7]


def _ends(words: list[str]) -> bool:
    """Whether it ends by itself: what serves the site goes on for ever; options may be cut short."""
    return not ("report" in words and any(word.startswith("--se") for word in words))


def _is_light(words: list[str]) -> bool:
    """Whether no verb among the words would train."""
    return not {"reproduce", "audit", "doctor"} & set(words)


def _can_be_called(words: list[str]) -> bool:
    """Whether the system takes such words: a NUL ends an argument, and lone surrogates have no bytes."""
    return all("\0" not in word and _encodes(word) for word in words)


def _encodes(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
