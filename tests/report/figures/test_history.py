"""The history of a row."""

from __future__ import annotations

import datetime

import pytest

from suite.evidence.labels import by_itself, judge
from suite.evidence.points import Point, Row
from suite.published.changes import Change
from suite.report.figures.history import history_figure
from suite.report.figures.style import CLAIMED, MEASURED
from tests.report.figures.conftest import drawn, marks, texts

ROW = Row("mgd-resnet18", "distilled", (), "mini", None)
FIRST = datetime.date(2026, 11, 1)


def points(values: list[float], **more) -> list[Point]:
    nights = [FIRST + datetime.timedelta(days=number) for number in range(len(values))]
    return [
        Point(
            subject=ROW.subject,
            arm=ROW.arm,
            profile=ROW.profile,
            metric="top1",
            run_id=f"{number:016x}",
            seed=0,
            repetition=number,
            value=value,
            n=number + 1,
            comparable=False,
            finished_at=f"{night}T23:00:00Z",
            night=night,
            **{name: values[number] for name, values in more.items()},
        )
        for number, (value, night) in enumerate(zip(values, nights, strict=True))
    ]


def statuses(history: list[Point], changes=()):
    tonight = max(point.night for point in history)
    found = judge(history, tonight, lambda *_: by_itself, lambda _: None, changes)
    return {status.metric: status for status in found}


STEADY = [70.0, 70.1, 69.9, 70.0, 70.1, 69.9, 70.0, 70.1]


def test_a_point_outside_is_a_triangle_and_the_others_are_circles():
    history = points([*STEADY, 60.0, 60.1])
    figure = drawn(history_figure(history[::-1], statuses(history)["top1"]))
    assert len(marks(figure, CLAIMED)) == 2 + 1
    assert len(marks(figure, MEASURED)) == 8 + 1
    assert [line.cells[-1] for line in figure.table.lines] == [""] * 8 + ["outside"] * 2
    assert figure.table.lines[0].cells[:3] == ("2026-11-01", "70", "—")
    assert "2 outside" in figure.description


def test_at_a_known_change_the_history_begins_anew():
    history = points([*STEADY, 60.0, 60.1])
    change = Change(date=history[8].night, rows="all", reason="another recipe")
    figure = drawn(history_figure(history, statuses(history, [change])["top1"]))
    assert "0 outside" in figure.description
    assert "a known change" in texts(figure)


def test_seconds_are_drawn_for_one_hardware_and_once_a_run():
    seconds = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3]
    history = points([*STEADY, 70.0], seconds_per_step=seconds, gpu=["old", *["new"] * 8])
    both = [*history, *(point.model_copy(update={"metric": "top5"}) for point in history)]
    figure = drawn(history_figure(both, statuses(both)["seconds_per_step"]))
    assert len(figure.table.lines) == 8
    assert figure.table.lines[-1].cells[-1] == "outside"
    assert figure.table.lines[-1].cells[2] == "up to 0.11"


@pytest.mark.parametrize("values", [[70.0], []])
def test_one_point_is_no_history(values):
    history = points([*values, *STEADY])
    status = statuses(history)["top1"]
    assert history_figure(history[: len(values)], status) is None


def test_points_of_later_nights_are_left_out():
    history = points(STEADY)
    status = statuses(history[:5])["top1"]
    assert len(drawn(history_figure(history, status)).table.lines) == 5
