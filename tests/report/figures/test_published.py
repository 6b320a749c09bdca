"""Figures of what only the published data show: numbers against claims, and shares of claimed gains."""

from __future__ import annotations

import pytest

from suite.report.figures.agreement import agreement_figure
from suite.report.figures.retained import retained_figure
from suite.report.figures.style import CLAIMED, MEASURED
from tests.report.figures.conftest import drawn, marks, texts

ALONE = [69.9, 69.9, 69.9]
METHODS = {"kd": [71.9, 72.0, 72.0], "plus": [70.4, 70.4, 70.5]}


@pytest.fixture
def rows(measured_rows):
    return measured_rows(ALONE, "paper", **METHODS)[0]


def test_a_number_that_is_reproduced_is_a_circle_and_one_that_deviates_a_triangle_with_its_number(rows):
    figure = drawn(agreement_figure(rows))
    assert [(line.cells[0], line.cells[1]) for line in figure.table.lines] == [
        ("1", "tiny-base"),
        ("2", "tiny-kd"),
        ("3", "tiny-plus"),
    ]
    assert figure.table.lines[2].cells[-1].startswith("DEVIATES_LOW")
    # Two triangles are in the legend, and one circle.
    assert len(marks(figure, CLAIMED)) == 3
    assert len(marks(figure, MEASURED)) == 3
    assert "3" in texts(figure)
    assert "2" not in texts(figure)


def test_both_axes_have_one_scale_so_that_the_diagonal_says_the_same(rows):
    figure = drawn(agreement_figure(rows))
    below = [place for place in marks(figure, MEASURED) if place[1] > 40]
    first, second = sorted(below)
    across = (second[0] - first[0]) / (71.96 - 69.9)
    down = (first[1] - second[1]) / (71.9667 - 69.9)
    assert across == pytest.approx(down, rel=0.01)


def test_the_share_that_was_kept_stands_beside_its_mark(rows):
    figure = drawn(retained_figure(rows))
    assert [line.cells[6] for line in figure.table.lines] == ["100%", "21%"]
    assert {"100%", "21%"} <= set(texts(figure))


def test_embedded_data_have_neither(measured_rows):
    embedded, _ = measured_rows(ALONE, **METHODS)
    assert agreement_figure(embedded) is None
    assert retained_figure(embedded) is None
    assert agreement_figure([]) is retained_figure([]) is None
