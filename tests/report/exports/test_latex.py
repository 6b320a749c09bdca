r"""LaTeX of any table: text is printed, and nothing of it is a command, a comment or the end of a cell."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.report.exports import export
from suite.report.exports.latex import escaped, tabular
from suite.report.layout import NOTES, Grid, Line

COMMANDS = (
    *(r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", r"\textless{}", r"\textgreater{}"),
    *(r"\textbar{}", r"\char34{}", r"$\rightarrow$", r"$\pm$", r"$\times$", r"$\geq$", r"$\leq$", "$-$"),
    *(rf"\{letter}" for letter in "{}$&#_%"),
    *("{[}", "{]}", "{*}", "{}", "{---}", "{--}"),
)
"""All that a text may turn into, besides letters that stand for themselves."""

HOSTILE = r"\input{/etc/passwd} % $x$ a_b & c # ~^ {\catcode 0} [1ex] * | <b> \\ \end{tabular}"


def left_of(text: str) -> str:
    """A text without the commands that stand for letters."""
    return re.sub("|".join(map(re.escape, COMMANDS)), "", text)


def test_hostile_text_is_printed_and_does_nothing():
    found = escaped(f"{HOSTILE}\n\\write18{{rm}}\x00\u202e")
    assert found.startswith(r"\textbackslash{}input\{/etc/passwd\} \% \$x\$ a\_b \& c \#")
    assert "\n" not in found
    assert not set(left_of(found)) & set('\\{}$&#_%~^[]*|<>"')


SPECIAL = "\\{}$&#_%~^[]*|<>\"-'`,+0(→±—\u2013\n\r\t\x1b"


@given(st.text(alphabet=st.one_of(st.sampled_from(SPECIAL), st.characters())))
def test_no_text_keeps_a_letter_that_latex_would_act_on(text: str):
    found = escaped(text)
    assert len(found.splitlines()) <= 1
    assert not set(left_of(found)) & set('\\{}$&#_%~^[]*|<>"\u2192\u00b1')
    assert "--" not in found.replace("{---}", "").replace("{--}", "")


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("-8.77", "$-$8.77"),
        ("-9.65 (-14.41 to -4.89)", r"$-$9.65 ($-$14.41 to $-$4.89)"),
        ("tf-NKD", "tf-NKD"),
        ("mgd-2", "mgd-2"),
        ("--again", "-{}-again"),
        ("38.23 ± 1.0", r"38.23 $\pm$ 1.0"),
        ("a → b", r"a $\rightarrow$ b"),
        ("1\u20132 — three", "1{--}2 {---} three"),
    ],
)
def test_numbers_have_a_minus_and_words_a_hyphen(text: str, set_as: str):
    assert escaped(text) == set_as


def test_a_table_has_the_rules_of_booktabs_and_its_footnotes():
    grid = Grid(
        ("claim", "value", NOTES),
        (Line(("a_b", "+1.00"), (2, 1)), Line(("[c]", "-2.00"))),
        title="Of 50 %",
        note="A & B",
    )
    assert tabular("Table 1", grid, ("first", "second %")).splitlines() == [
        r"% \usepackage{booktabs}",
        "% Table 1",
        r"% Of 50 \%",
        r"\begin{tabular}{@{}lrl@{}}",
        r"\toprule",
        r"claim & value & notes \\",
        r"\midrule",
        r"a\_b & +1.00 & \textsuperscript{1, 2} \\",
        r"{[}c{]} & $-$2.00 &  \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip A \& B",
        r"\par\textsuperscript{1} first",
        r"\par\textsuperscript{2} second \%",
    ]


def test_every_table_of_the_page_is_a_file_named_after_its_section(material, pair_records):
    of = material(pair_records([69.9, 70.1, 70.0], [71.0, 71.4, 71.1]))
    files = export("latex", of)
    assert len(files) == sum(len(section.grids) + len(section.figures) for section in of.report.page.sections)
    assert "tiny-latex/table-1-students-of-resnet-34.tex" in files
    for content in files.values():
        text = content.decode()
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
        head = text[text.index(r"\toprule") : text.index(r"\midrule")]
        columns = len(re.findall(r"(?<!\\)&", head))
        body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {columns}


def test_what_a_record_says_is_text_in_latex(material, record):
    failed = record("tiny-plus", "distilled", 0, status="failed", error=HOSTILE)
    own = record("tiny-kd", "distilled", 0, top1=71.0, skipped={HOSTILE: 1})
    text = b"".join(export("latex", material([failed, own])).values()).decode()
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert r"\input" not in text
    assert r"\catcode" not in text
