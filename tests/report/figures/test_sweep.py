"""Sweeps: claimed and measured in the order of the paper."""

from __future__ import annotations

from suite.report.figures.style import CLAIMED, MEASURED
from suite.report.figures.sweep import sweep_figures
from tests.report.figures.conftest import marks, texts

METHODS = {"less": [75.0, 75.2], "kd": [79.0, 79.4], "plus": [77.0, 77.4]}


def own(rows):
    """The distilled rows of the paper that were printed with ResNet-18."""
    return [row for row in rows if row["origin"] == "claim" and row["role"] in ("ours", "ablation")]


def test_settings_stand_in_the_order_of_the_paper_on_both_sides(measured_rows):
    rows, _ = measured_rows([70.0, 70.0], **METHODS)
    (figure,) = sweep_figures(own(rows), "tab-1")
    names = [line.cells[0] for line in figure.table.lines]
    assert names == ["tiny-kd", "tiny-plus", "tiny-less"]
    assert figure.name == "sweep-tab-1-resnet34-resnet18-top1"
    assert "Order: tau" in figure.description
    claimed = [place for place in marks(figure, CLAIMED) if place[1] > 40]
    measured = [place for place in marks(figure, MEASURED) if place[1] > 40]
    assert [y for _, y in claimed] == [y for _, y in measured]
    assert max(x for x, _ in claimed) < min(x for x, _ in measured)
    # kd above plus above less, as it was measured.
    kd, plus, less = (x for x, _ in measured)
    assert kd > plus > less
    assert {"KD", "KD+", "KD, half of it", "claimed", "measured"} <= set(texts(figure))


def test_fewer_than_two_measured_settings_are_no_figure(measured_rows):
    rows, _ = measured_rows([70.0, 70.0], kd=[79.0, 79.4])
    assert list(sweep_figures(own(rows), "tab-1")) == []


def test_without_an_ablation_there_is_no_sweep(measured_rows):
    rows, _ = measured_rows([70.0, 70.0], **METHODS)
    assert list(sweep_figures([row for row in own(rows) if row["role"] == "ours"], "tab-1")) == []
