"""Curves of trainings."""

from __future__ import annotations

import math

import pytest

from suite.contract import Scalars
from suite.report.figures.curves import POINTS, Series, curves_figure
from suite.report.figures.style import MEASURED
from tests.report.figures.conftest import drawn, parsed, texts

TASK = {"loss_cls": 1.0, "loss_bbox": 2.0}
METHOD = {"loss_mgd_p3": 1.0}


def training(losses: dict[str, float], scale: float = 1.0, lines: int = 400, every: int = 7) -> list[Scalars]:
    return [
        Scalars(
            iteration=every * (number + 1),
            learning_rate=0.1,
            loss=scale * sum(losses.values()),
            losses={name: scale * value for name, value in losses.items()},
            seconds_per_step=0.1,
            memory_mib=1.0,
        )
        for number in range(lines)
    ]


def rows(figure) -> dict[str, tuple[str, ...]]:
    return {line.cells[0]: line.cells[1:] for line in figure.table.lines}


def test_the_loss_of_the_task_is_what_all_arms_have_and_the_rest_is_the_method():
    figure = drawn(
        curves_figure(
            "tiny-kd",
            "KD",
            {
                "teacher": [training(TASK, 0.5)],
                "student": [training(TASK), training(TASK, 1.2)],
                "distilled": [training(TASK | METHOD), training(TASK | METHOD, 1.2)],
            },
        )
    )
    assert rows(figure) == {
        "teacher": ("1", "1.5", "1.5", "1.5"),
        "student alone": ("2", "3.3", "3.3", "3.3"),
        "distilled": ("2", "3.3", "3.3", "3.3"),
        "mgd p3": ("2", "0.25", "0.25", "0.25"),
    }
    assert {"task loss", "share of the total loss", "iteration"} <= set(texts(figure))
    assert figure.name == "curves-tiny-kd"


def test_a_curve_is_thinned_and_its_figure_small():
    many = {f"loss_mgd_p{number}": 1.0 for number in range(5)}
    runs: Series = {"student": [training(TASK)] * 3, "distilled": [training(TASK | many)] * 3}
    figure = drawn(curves_figure("tiny-kd", "KD", runs))
    assert len(figure.svg) < 40_000
    lines = [path.get("d", "") for path in parsed(figure).iter() if path.get("stroke") == MEASURED.lower()]
    assert max(line.count("l") for line in lines) == POINTS - 1


def test_a_share_is_of_the_whole_loss_and_what_is_not_finite_is_left_out():
    falling = [line.model_copy(update={"loss": 8.0}) for line in training(TASK | METHOD)]
    falling[:20] = [line.model_copy(update={"loss": math.nan}) for line in falling[:20]]
    figure = drawn(curves_figure("tiny-kd", "KD", {"student": [training(TASK)], "distilled": [falling]}))
    assert rows(figure)["mgd p3"] == ("1", "0.125", "0.125", "0.125")


def test_without_a_student_alone_there_is_one_panel():
    figure = drawn(curves_figure("tiny-kd", "KD", {"student": [], "distilled": [training(TASK | METHOD)]}))
    assert list(rows(figure)) == ["distilled"]
    assert "share of the total loss" not in texts(figure)


@pytest.mark.parametrize("series", [{}, {"student": [training(TASK)]}, {"distilled": [[]]}])
def test_without_a_series_of_the_distilled_student_there_is_no_figure(series):
    assert curves_figure("tiny-kd", "KD", series) is None
