"""Files that people edit, damaged in every way: one line with file, line and remedy, no hang."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.paths import BASELINES, ROOT
from tests.cli.refusals import outcome_of, refusal_of

TEMPLATE = ROOT / "docs" / "template-paper"
OWN_FILES = sorted(path.relative_to(TEMPLATE) for path in TEMPLATE.rglob("*.yaml"))
SHARED_FILES = sorted(path.relative_to(BASELINES) for path in BASELINES.rglob("*.yaml"))

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in itertools.pairwise("abcdefghij")
)
"""Some hundred letters that stand for three thousand million values."""


@pytest.fixture(autouse=True)
def _nothing_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TEMPLATE, tmp_path / "template-paper"))


def plan(paper: Path) -> list[str]:
    return ["plan", "--paper", "template-paper", "--papers", str(paper), "--format", "json"]


def named(path: Path, message: str) -> str:
    """The message behind the file that it names; of a long one the middle is left out."""
    assert message.startswith(f"{path}:"), message
    return message.removeprefix(f"{path}:")


@pytest.mark.parametrize("file", ["claims.yaml", "models.yaml", "conf/method/template.yaml"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00", r"1: not UTF-8"),
        (b"\x7fELF\x02\x01\x00\x80", r"1: not UTF-8"),
        (b"a: 1\nb: \x00\n", r"2: control characters are not allowed \(#x0000\); fix that line"),
        (b'a: "\\e[2J"\n', r"1: the character \\x1b cannot be printed; fix that line"),
        (b'a: 1\nb: "\\u202e"\n', r"2: the character \\u202e cannot be printed; fix that line"),
        (
            b"a:\n  " + b"[" * 200_000,
            r"2: lists and mappings are nested in more than 40 levels; fix that line",
        ),
        (b"- " * 100_000, r"1: lists and mappings are nested in more than 40 levels; fix that line"),
        (ALIASES.encode(), r"\d+: there are more than 200,000 values, aliases written out; fix that line"),
        (b"a: &a [*a]\n", r"1: \*a is inside the value that it names; fix that line"),
        (b"a: *b\n", r"1: found undefined alias; fix that line"),
        (b"a: 1\na: 2\n", r"2: (found duplicate key|key 'a' appears here twice)"),
        (b"a: !!float [1]\n", r"1: the tag !!float stands before something else; fix that line"),
        (b"a: !!map [a]\n", r"1: the tag !!map stands before something else; fix that line"),
        (b"a: !!seq {a: 1}\n", r"1: the tag !!seq stands before something else; fix that line"),
        (b"a: !!timestamp 2020-13-45\n", r"1: the tag !!timestamp is not read here; fix that line"),
        (
            b"a: !!python/object/apply:os.system [ls]\n",
            r"1: the tag !!python/object/apply:os.system is not read",
        ),
        (b"a: !!int x\n", r"1: 'x' is no int"),
        (b"a: !!bool x\n", r"1: 'x' is no bool"),
        (b"a: !!float x\n", r"1: 'x' is no float"),
        (b"a: " + b"9" * 5000 + b"\n", r"1: '99.* is no int"),
        (b"? [a]\n: b\n", r"1: found unhashable key; fix that line"),
        (b"a: 1\n---\nb: 2\n", r"2: but found another document; fix that line"),
        (b"a: 'open\n", r"\d: .*; fix that line"),
    ],
)
def test_what_no_file_may_hold_is_refused_with_its_line(paper: Path, file: str, content: bytes, says: str):
    (paper / file).write_bytes(content)
    assert re.match(says, named(paper / file, refusal_of(plan(paper))))


@pytest.mark.parametrize("file", ["claims.yaml", "recipes.yaml", "models.yaml", "loss.py"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "a pipe"),
        (os.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a pipe, a socket or a device"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.write_bytes(b"#" * (5 * 2**20)), "has 5,242,880 bytes"),
    ],
    ids=["pipe", "folder", "device", "circle", "large"],
)
def test_what_stands_in_place_of_a_file_is_named_and_never_waited_for(
    paper: Path, file: str, make: Callable[[Path], None], what: str
):
    (paper / file).unlink(missing_ok=True)
    make(paper / file)
    assert what in named(paper / file, refusal_of(plan(paper)))


@pytest.mark.parametrize(
    "content", [b"", b"null\n", b"[]\n", b"3\n", b"text\n", b"- a\n", b"{}\n", b"3: {}\n"]
)
@pytest.mark.parametrize("file", ["claims.yaml", "recipes.yaml"])
def test_a_file_of_another_type_is_refused(paper: Path, file: str, content: bytes):
    (paper / file).write_bytes(content)
    status, error = outcome_of(plan(paper))
    assert status == 2
    assert str(paper) in error


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(paper: Path, change: Callable[[str], str]):
    for file in OWN_FILES:
        text = change((paper / file).read_text(encoding="utf-8"))
        (paper / file).write_bytes(text.encode())
    assert outcome_of(plan(paper)).status == 0


# Any value of any file in place of another one: a bounded sample, the same each time

WORDS = "null x 3 -1 1.5 .inf .nan 1e999 true [] {} [1] [[a]] '' ' @ !!timestamp !own *nowhere ../../x"
VALUES = (
    *WORDS.split(),
    *("!!float [1]", "!!map [a]", "!!timestamp x", "!!int x", "&a [*a]", "{a: 1}", "{null: 1}", "{1.5: 2}"),
    *("<<: 3", "{<<: [1]}", "? [a]", "2020-13-45", "1:30:99.5", "|\n  x", "'${oc.env:HOME}'", "'${b}'"),
    *('"\\e[2J"', "os:system", "x" * 3000, "9" * 5000),
)
DAMAGE = st.tuples(st.floats(0, 1), st.sampled_from(VALUES), st.booleans())
SAMPLE = settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
COUNTER = itertools.count()


def damage(path: Path, where: float, value: str, with_block: bool) -> None:
    """Puts a value in place of that of a key somewhere in a file, and of the block below it."""
    lines = path.read_text(encoding="utf-8").split("\n")
    keys = [number for number, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    number = keys[int(where * (len(keys) - 1))]
    key = lines[number].partition(":")[0]
    lines[number] = f"{key}: {value}"
    if with_block:
        indent = len(key) - len(key.lstrip())
        end = number + 1
        while end < len(lines) and (
            not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent
        ):
            end += 1
        del lines[number + 1 : end]
    path.write_text("\n".join(lines), encoding="utf-8")


@SAMPLE
@given(st.sampled_from(OWN_FILES), DAMAGE)
def test_a_damaged_file_of_a_papers_folder_is_read_or_refused_by_name(
    tmp_path: Path, file: Path, of: tuple[float, str, bool]
):
    folder = Path(shutil.copytree(TEMPLATE, tmp_path / str(next(COUNTER)) / "template-paper"))
    damage(folder / file, *of)
    status, error = outcome_of(plan(folder))
    assert status == 0 or str(folder) in error or "recipe" in error, error
    shutil.rmtree(folder)


@SAMPLE
@given(st.sampled_from(SHARED_FILES), DAMAGE)
def test_a_damaged_file_of_the_baselines_is_read_or_refused_by_name(
    tmp_path: Path, file: Path, of: tuple[float, str, bool]
):
    folder = Path(shutil.copytree(BASELINES, tmp_path / str(next(COUNTER))))
    damage(folder / file, *of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suite.paths.BASELINES", folder)
        for words in (
            ["list", "--format", "json"],
            ["plan", "--claim", "mgd-resnet18", "--format", "json"],
            ["show", "--pair", "resnet34:resnet18", "--format", "json"],
        ):
            status, error = outcome_of(words)
            gone = "unknown claim" in error or "no number is known for a pair" in error
            assert status == 0 or str(folder) in error or gone, error
    shutil.rmtree(folder)
