"""The forest of gains."""

from __future__ import annotations

import pytest

from suite.report.figures.gains import gains_figure
from suite.report.figures.style import CLAIMED, INK, MEASURED
from tests.report.figures.conftest import drawn, marks, parsed, texts

ALONE = [70.0, 70.2, 69.8]


@pytest.fixture
def figure(measured_rows):
    return drawn(gains_figure(*measured_rows(ALONE, kd=[72.0, 72.1, 71.9], plus=[72.0, 74.0, 69.0])))


def test_each_gain_has_its_claim_its_mean_and_its_seeds(figure):
    assert [line.cells[0] for line in figure.table.lines] == ["tiny-kd", "tiny-plus"]
    first = dict(zip(figure.table.headings, figure.table.lines[0].cells, strict=True))
    assert first["gain claimed"] == "+2.06"
    assert first["seed by seed"] == "+2.00, +1.90, +2.10"
    # Two of each, and those of the legend.
    assert len(marks(figure, CLAIMED)) == 3
    assert len(marks(figure, MEASURED)) + len(marks(figure, MEASURED, hollow=True)) == 4
    assert len(marks(figure, "currentColor")) == 7
    assert "KD" in texts(figure)
    assert "Classification, top-1 accuracy" in texts(figure)


def test_marks_lie_where_the_axis_says(figure):
    """Two claims and a mean on one scale: distances are those of the numbers."""
    claims = sorted(x for x, y in marks(figure, CLAIMED) if y > 40)
    dots = sorted(x for x, y in marks(figure, "currentColor") if y > 40)
    scale = (claims[1] - claims[0]) / (2.6 - 2.06)
    assert (dots[-1] - dots[0]) / scale == pytest.approx(3.8 - -0.8, abs=0.05)
    assert (claims[0] - dots[0]) / scale == pytest.approx(2.06 - -0.8, abs=0.05)


def test_a_gain_that_is_not_decided_is_an_outline(measured_rows):
    figure = drawn(gains_figure(*measured_rows(ALONE, kd=[82.0, 82.1, 81.9], plus=[72.0, 74.0, 69.0])))
    verdicts = [line.cells[-1] for line in figure.table.lines]
    assert verdicts == ["GAIN", "GAIN_UNCLEAR"]
    assert len(marks(figure, MEASURED, hollow=True)) == 2
    assert len(marks(figure, MEASURED)) == 2


def test_the_margin_is_a_band_around_zero(figure):
    bands = [path for path in parsed(figure).iter() if path.get("fill-opacity") == "0.08"]
    assert len(bands) == 1
    assert "practical margin" in texts(figure)


def test_ablations_have_a_group_of_their_own_below(measured_rows):
    figure = drawn(gains_figure(*measured_rows(ALONE, less=[71.0, 71.1, 70.9], kd=[72.0, 72.1, 71.9])))
    assert [line.cells[0] for line in figure.table.lines] == ["tiny-kd", "tiny-less"]
    assert "Classification, top-1 accuracy, ablations" in texts(figure)


def test_without_a_gain_there_is_no_figure(measured_rows):
    assert gains_figure(*measured_rows(ALONE)) is None
    assert gains_figure(*measured_rows([], kd=[72.0, 72.1, 71.9])) is None


def test_one_seed_has_no_interval_and_is_drawn(measured_rows):
    figure = drawn(gains_figure(*measured_rows(ALONE[:1], kd=[72.0])))
    assert len(figure.table.lines) == 1
    assert "+2.0" in texts(figure)
    assert INK not in figure.svg
