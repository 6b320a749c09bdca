"""One pair across the literature."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suite.published.pairs import STUDENT_ALONE, TEACHER_ALONE, Pair, Value
from suite.report.figures.literature import pair_figure
from suite.report.figures.style import CLAIMED, MEASURED, TEACHER
from tests.report.figures.conftest import drawn, marks, parsed, texts

PAIR = Pair("resnet18", "resnet34", "imagenet-1k")


def value(method: str, printed: str | None, provenance: str = "own", **more) -> Value:
    fields = {
        "row": f"{method} {printed} {provenance}",
        "claim": None,
        "method": method,
        "metric": "top1",
        "printed": printed,
        "gain": None,
        "gain_printed": False,
        "student": None,
        "teacher": None,
        "spread": None,
        "provenance": provenance,
        "printed_by": "somebody",
        "source": "a document",
    }
    return Value(**(fields | more))


VALUES = [
    value(TEACHER_ALONE, "73.3"),
    value(STUDENT_ALONE, "69.9"),
    value("KD", "71.96", claim="tiny-kd"),
    value("KD", "71.5", "re-run"),
    value("AT", "70.7", "quoted"),
    value("AT", "70.6", "unstated"),
    value("AT", None, gain="1.0"),
    value("AT", "90.1", metric="top5"),
]


def test_every_published_value_has_its_mark_by_whose_run_it_was():
    figure = drawn(pair_figure(PAIR, "top1", VALUES))
    # With one of each in the legend.
    assert len(marks(figure, CLAIMED)) == 3 + 1
    assert len(marks(figure, CLAIMED, hollow=True)) == 1 + 1
    assert len(marks(figure, TEACHER)) == 1 + 1
    assert len(marks(figure, TEACHER, hollow=True)) == 1 + 1
    assert len(figure.table.lines) == 6
    assert not any("90.1" in cell for line in figure.table.lines for cell in line.cells)


def test_the_models_alone_come_first_and_last_and_methods_by_their_medians():
    names = [line.cells[0] for line in drawn(pair_figure(PAIR, "top1", VALUES)).table.lines]
    assert list(dict.fromkeys(names)) == [STUDENT_ALONE, "AT", "KD", TEACHER_ALONE]


def test_the_order_of_the_values_changes_no_byte_of_the_svg():
    assert drawn(pair_figure(PAIR, "top1", VALUES[::-1])).svg == drawn(pair_figure(PAIR, "top1", VALUES)).svg


def test_our_own_interval_is_a_band_on_published_data_only(measured_rows):
    runs = {"kd": [71.9, 72.0, 72.0]}
    published, _ = measured_rows([69.9] * 3, "paper", **runs)
    figure = drawn(pair_figure(PAIR, "top1", VALUES, published))
    assert len(marks(figure, MEASURED)) == 1 + 1
    assert "ours" in texts(figure)
    assert [path for path in parsed(figure).iter() if path.get("fill-opacity") == "0.24"]
    embedded, _ = measured_rows([69.9] * 3, **runs)
    assert (
        drawn(pair_figure(PAIR, "top1", VALUES, embedded)).svg == drawn(pair_figure(PAIR, "top1", VALUES)).svg
    )


@pytest.mark.parametrize("method", ["<script>", "a | b", "$x$", "=cmd()", "two\nlines"])
def test_a_hostile_name_is_a_name(method):
    figure = drawn(pair_figure(PAIR, "top1", [*VALUES, replace(VALUES[2], method=method)]))
    assert method.replace("\n", "\\n") in texts(figure)
    assert "<script" not in figure.svg


def test_a_single_method_or_another_metric_has_no_figure():
    assert pair_figure(PAIR, "top1", VALUES[:4]) is None
    assert pair_figure(PAIR, "box_AP", VALUES) is None
