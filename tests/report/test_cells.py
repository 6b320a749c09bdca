"""Cells keep what they mean up to the page, and nobody reads it out of their words."""

from __future__ import annotations

import copy
import pickle

import pytest

from suite.report import make_report
from suite.report.addresses import claim_page, file_stem
from suite.report.answer import answer_lines, asked_rows
from suite.report.cells import gain_verdict_cell, tone_of, verdict_cell
from suite.report.html import to_html
from suite.report.layout import Cell, Grid, Line, Page, Section
from suite.verdicts import DEVIATES_LOW, GAIN, GAIN_UNCLEAR, LOSS, NOT_COMPARABLE

ROW = {"reproduced": 70.0, "marked": True, "strength": "strong", "equivalent": False, "gain": 1.0}


def test_a_cell_is_its_text_and_keeps_tone_and_link():
    cell = Cell("GAIN", "good", "claims/a.html")
    assert cell == "GAIN"
    for again in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert (again, again.tone, again.link) == ("GAIN", "good", "claims/a.html")


@pytest.mark.parametrize(
    ("verdict", "tone"),
    [(GAIN, "good"), (LOSS, "bad"), (GAIN_UNCLEAR, "open"), (NOT_COMPARABLE, None), (None, None)],
)
def test_the_tone_is_that_of_the_verdict_whatever_is_written_beside_it(verdict, tone):
    assert tone_of(verdict) == tone
    assert verdict_cell(ROW | {"verdict": verdict}).tone == tone
    assert gain_verdict_cell(ROW | {"gain_verdict": verdict, "gain_marked": True}).tone == tone


def test_a_word_that_looks_like_a_verdict_has_no_tone():
    line = Line(("GAIN (mine)", Cell("strange words", "bad")))
    page = Page("A page", (), (), (Section("A table", (Grid(("a", "b"), (line,)),)),), (), (), ())
    text = to_html(page)
    assert "<td>GAIN (mine)</td>" in text
    assert '<td class="bad">strange words</td>' in text


def test_the_answer_takes_word_and_tone_from_the_row(paper, pair_records):
    report = make_report(
        paper, pair_records([69.9, 70.1, 70.0], [65.0, 65.2, 65.1], profile="paper"), "paper"
    )
    number = next(line for line in answer_lines(asked_rows(report.rows, None)) if line.claim == "tiny-kd")
    assert number.verdict.startswith(f"{DEVIATES_LOW} (")
    assert (number.word, number.verdict.tone) == (DEVIATES_LOW, "bad")


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "<b>", "x" * 101, "a\nb", "\udcff"])
def test_an_id_that_is_no_file_name_becomes_digits(name):
    assert len(file_stem(name)) == 16
    assert set(file_stem(name)) <= set("0123456789abcdef")
    assert claim_page(name) == f"claims/{file_stem(name)}.html"
    assert claim_page("mgd-resnet18") == "claims/mgd-resnet18.html"
