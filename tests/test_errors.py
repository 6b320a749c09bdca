"""What is shown on a terminal: one line, no control of the terminal, and no longer than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import LONGEST, printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("resnet34 → resnet18, Müller, 蒸留", "resnet34 → resnet18, Müller, 蒸留"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b2J \x7f", r"\x9b2J \x7f"),
        ("gpj.\u202eexe \u2066", r"gpj.\u202eexe \u2066"),
        ("\u2028\u200b\ufeff\u00ad", r"\u2028\u200b\ufeff\xad"),
        ("\ud800 \udcff", r"\ud800 \udcff"),
        ("\0", r"\x00"),
        (3.5, "3.5"),
        (ValueError("no"), "no"),
    ],
)
def test_what_steers_a_terminal_is_shown_as_an_escape(text: object, line: str):
    assert printable(text) == line


def test_of_a_long_text_the_beginning_and_the_end_are_kept():
    line = printable(f"claims.yaml:3: {'x' * 10**6}; fix that line")
    assert len(line) == LONGEST
    assert line.startswith("claims.yaml:3: xxx")
    assert " ... " in line
    assert line.endswith("xxx; fix that line")
    assert printable("x" * LONGEST) == "x" * LONGEST
    assert printable("0123456789" * 4, longest=25) == "012345678901 ... 23456789"


@given(st.text(st.characters(), max_size=900), st.integers(20, 400))
def test_any_text_is_one_printable_line_of_bounded_length(text: str, longest: int):
    line = printable(text, longest)
    assert line.isprintable()
    assert len(line) <= longest
