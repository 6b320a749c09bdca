"""Files of published facts, of Hydra groups and of paper folders, mutated by bytes, tokens and lines.

The lane runs a copy of the code and its data, so that the files of the checkout stay as they are.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from suite.paths import BASELINES, CONF, ROOT
from tests.campaign import hostile, oracles
from tests.campaign.calling import call
from tests.campaign.experiment import COPY, Case, Place, Tried, found
from tests.campaign.searching import Searched

VERBS = (
    ["list"],
    ["list", "--format", "json"],
    ["list", "--format", "csv"],
    ["show", "nkd-resnet18-nkd"],
    ["plan", "--claim", "nkd-resnet18-nkd", "--profile", "smoke"],
    ["plan", "--claim", "nkd-resnet18-student", "--profile", "paper"],
    ["audit", "--claim", "nkd-resnet18-nkd"],
    ["report", "--paper", "nkd", "--format", "markdown"],
    ["data"],
    ["weights", "list"],
)
"""What is called over a file that was changed."""

TEMPLATE = ("docs/template-paper", "tests/papers/toy")
"""Paper folders that ``--papers`` is tried with."""

_SUFFIXES = frozenset({".yaml", ".csv", ".json"})
_KINDS = ("empty", "folder", "fifo", "dangling link", "link to itself", "device", "unreadable bytes")


class Files(Searched):
    """Changes one file in a few places, or puts something else in its place, and calls a verb."""

    name = "files"
    lane = "light"
    share = 5.2
    unit = "mutated files"
    target = 5000

    def prepare(self, place: Place) -> None:
        """Makes sure that it is a copy whose files are about to be changed."""
        if not (ROOT / COPY).exists():
            raise RuntimeError("files are mutated in a copy of the code: run 'python -m tests.campaign'")

    def cases(self) -> st.SearchStrategy[Case]:
        """A file, what happens to it, and a verb."""
        files = st.sampled_from(_mutable())
        change = st.one_of(
            st.lists(_edits(), min_size=1, max_size=3).map(lambda edits: {"edits": edits}),
            st.lists(_edits(), min_size=1, max_size=3).map(lambda edits: {"edits": edits}),
            st.lists(_edits(), min_size=1, max_size=3).map(lambda edits: {"edits": edits}),
            st.sampled_from(_KINDS).map(lambda kind: {"becomes": kind}),
        )
        return st.builds(
            lambda file, change, words: {"file": file, **change, "words": words}, *(files, change), _words()
        )

    def replay(self, case: Case, place: Place) -> Tried:
        """Puts the changed file in its place, calls, and puts the file back."""
        folder = place.fresh()
        file = str(case["file"])
        words = list(case["words"])
        path = ROOT / file
        if file.startswith(TEMPLATE):
            name = next(name for name in TEMPLATE if file.startswith(name))
            papers = folder / "papers" / Path(name).name.replace("template-paper", "template")
            shutil.copytree(ROOT / name, papers)
            path = papers / Path(file).relative_to(name)
            words += ["--papers", "papers"]
        before = path.read_bytes()
        change(path, case)
        try:
            around = oracles.Surroundings.of(folder, folder / "results", folder / "work")
            environment = {"SUITE_RESULTS": str(folder / "results"), "SUITE_WORK": str(folder / "work")}
            done = call(words, folder, environment, changed=True)
            findings = [
                *oracles.ending(done),
                *oracles.one_line(done),
                *oracles.printable(done),
                *around.look(),
            ]
        finally:
            restore(path, before)
        return found(findings, case, Counter({self.unit: 1}))


@functools.cache
def _mutable() -> list[str]:
    """Files that are read, those of one paper more often: it is what the verbs are about."""
    shared = [path for path in BASELINES.glob("*") if path.suffix in _SUFFIXES]
    papers = [path for path in (BASELINES / "papers").rglob("*") if path.suffix in _SUFFIXES]
    groups = [path for path in CONF.rglob("*.yaml") if path.parent.name != "model" or "resnet" in path.stem]
    outside = [path for name in TEMPLATE for path in (ROOT / name).rglob("*") if path.suffix in _SUFFIXES]
    nkd = [path for path in papers if path.parent.name == "nkd"]
    # What is read in every call counts more often than one of fifty models.
    weighted = [*shared * 4, *papers * 2, *nkd * 8, *groups, *outside * 3]
    return sorted(path.relative_to(ROOT).as_posix() for path in weighted)


def _words() -> st.SearchStrategy[list[str]]:
    return st.sampled_from([list(words) for words in VERBS])


def _edits() -> st.SearchStrategy[dict[str, Any]]:
    """An edit: where (a part of the file), how, and what is put there."""
    where = st.integers(0, 9999)
    token = st.one_of(st.sampled_from(hostile.YAML_TOKENS), st.text(max_size=4))
    whole = st.sampled_from(
        ["value", "value", "value", "key", "line", "insert", "delete line", "repeat line", "indent"]
    )
    return st.one_of(
        st.builds(lambda how, at, text: {"how": how, "at": at, "text": text}, whole, where, token),
        st.builds(
            lambda at, byte: {"how": "byte", "at": at, "text": byte}, where, st.integers(0, 255).map(chr)
        ),
        st.builds(lambda at: {"how": "cut", "at": at, "text": ""}, where),
    )


def change(path: Path, case: Case) -> None:
    """Changes a file as a case says."""
    if becomes := case.get("becomes"):
        _replace(path, str(becomes))
        return
    content = path.read_bytes()
    for edit in case["edits"]:
        content = edited(content, str(edit["how"]), int(edit["at"]), _encoded(str(edit["text"])))
    path.write_bytes(content)


def restore(path: Path, content: bytes) -> None:
    """Puts a regular file with this content where anything may be now."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
    path.write_bytes(content)


def _encoded(text: str) -> bytes:
    """Text as bytes; a single character below 256 is a byte, valid in UTF-8 or not."""
    return text.encode("latin-1") if text and max(text) <= "\xff" else text.encode("utf-8", "surrogatepass")


def edited(content: bytes, how: str, at: int, text: bytes) -> bytes:
    """Content after one edit.

    Args:
        content: of the file.
        how: a byte replaced, the rest cut off, or something done to a line.
        at: where, in ten-thousandths of the file.
        text: what is put there.
    """
    position = len(content) * at // 10_000
    if how == "byte":
        return content[:position] + text[:1] + content[position + 1 :]
    if how == "cut":
        return content[:position]
    lines = content.splitlines(keepends=True) or [b""]
    number = len(lines) * at // 10_000
    line = lines[number].rstrip(b"\n")
    key, colon, value = line.partition(b":")
    lines[number : number + 1] = {
        "value": [key + colon + b" " + text + b"\n"],
        "key": [text + colon + value + b"\n"],
        "line": [text + b"\n"],
        "insert": [text + b"\n", line + b"\n"],
        "delete line": [],
        "repeat line": [line + b"\n", line + b"\n"],
        "indent": [b" " + line + b"\n"],
    }[how]
    return b"".join(lines)


def _replace(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "unreadable bytes":
        path.write_bytes(bytes(range(256)) * 40)
    else:
        path.touch()
