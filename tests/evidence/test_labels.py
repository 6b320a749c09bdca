"""Labels of a row's nights: what is a regression, and how seldom noise is taken for one."""

from __future__ import annotations

import datetime
import random
from collections import Counter

import pytest

from suite.evidence import labels
from suite.evidence.labels import by_itself, by_prior, by_share, by_tolerance, judge, read, readings
from suite.evidence.points import Point, Row
from suite.published.changes import Change
from suite.verdicts import NU0, prediction_half_width

SIGMA0 = 0.25
FIRST = datetime.date(2026, 10, 1)
ROW = Row("nkd-resnet18-nkd", "distilled", (), "paper", None)


def night(number: int) -> datetime.date:
    return FIRST + datetime.timedelta(days=number)


def point(number: int, value: float, **fields) -> Point:
    content = {
        **ROW._asdict(),
        "metric": "top1",
        "run_id": f"{number:016x}",
        "seed": number,
        "repetition": 0,
        "value": value,
        "n": number + 1,
        "comparable": True,
        "gpu": "a GPU",
        "finished_at": f"{night(number)}T23:00:00+00:00",
        "night": night(number),
    }
    return Point(**{**content, **fields})


def judged(points, tonight, due=1, **options):
    found = judge(points, tonight, lambda *_: by_prior(SIGMA0), lambda row: due, **options)
    return {status.metric: status for status in found}


def thirty_nights(seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [70 + draw.gauss(0, SIGMA0) for _ in range(30)]


def drop(values: list[float], half_widths: float) -> float:
    reach = prediction_half_width(values, SIGMA0, level=labels.LEVEL)
    return sum(values) / len(values) - half_widths * reach


@pytest.mark.parametrize("sign", [1, -1])
def test_three_half_widths_are_suspicious_on_the_first_night_and_a_regression_on_the_second(sign):
    values = thirty_nights()
    moved = drop(values, 3 * sign)
    points = [point(number, value) for number, value in enumerate([*values, moved, moved, moved])]
    found = [judged(points, night(number))["top1"] for number in (29, 30, 31, 32)]
    assert [status.label for status in found] == ["no_regression", "suspicious", "regression", "regression"]
    assert [status.since for status in found[1:]] == [night(30)] * 3
    assert [status.alerts for status in found] == [(), (), ("regression",), ("regression",)]


def test_one_night_outside_is_forgotten_when_the_next_is_inside():
    values = thirty_nights()
    found = [
        read([*values, *more], by_prior(SIGMA0)).label
        for more in ([drop(values, 3)], [drop(values, 3), 70.0], [drop(values, 3), 70.0, drop(values, 3)])
    ]
    assert found == ["suspicious", "no_regression", "suspicious"]


def test_noise_at_the_priors_sd_is_hardly_ever_a_regression():
    draw = random.Random(20261126)
    expectation = by_prior(SIGMA0)
    found = Counter(
        reading.label
        for _ in range(400)
        for reading in readings([draw.gauss(70, SIGMA0) for _ in range(33)], expectation)
    )
    nights = sum(found.values()) - found["insufficient_data"]
    assert (nights, found["regression"]) == (12_000, 2)
    assert found["regression"] / nights < 1 / 1000


def test_a_missing_night_is_stale_and_the_next_point_ends_that():
    points = [point(number, value) for number, value in enumerate(thirty_nights())]
    assert judged(points, night(29))["top1"].labels == ("no_regression",)
    assert judged(points, night(30))["top1"].labels == ("stale",)
    assert judged(points, night(30), due=2)["top1"].labels == ("no_regression",)
    assert judged(points, night(31), due=2)["top1"].labels == ("stale",)
    assert judged([*points, point(31, 70.0)], night(31))["top1"].labels == ("no_regression",)


def test_a_row_that_was_due_tonight_is_stale_whatever_its_tier_and_also_without_any_point():
    points = [point(number, value) for number, value in enumerate(thirty_nights())]
    never_measured = ROW._replace(subject="mgd-resnet18")
    found = judge(points, night(30), lambda *_: by_prior(SIGMA0), lambda row: 99, (), [ROW, never_measured])
    assert [(status.row, status.alerts) for status in found] == [
        (ROW, ("stale",)),
        (never_measured, ("stale",)),
    ]


def test_a_regression_that_nobody_measures_any_more_stays_one():
    values = thirty_nights()
    points = [point(n, value) for n, value in enumerate([*values, drop(values, 3), drop(values, 3)])]
    assert judged(points, night(40))["top1"].labels == ("regression", "stale")


def test_a_known_change_begins_a_new_history():
    values = thirty_nights()
    moved = drop(values, 3)
    points = [point(n, value) for n, value in enumerate([*values, *[moved] * 5])]
    changes = [Change(date=night(30), rows=[ROW.subject], reason="torch 2.11")]
    found = [judged(points, night(n), changes=changes)["top1"] for n in (29, 30, 32, 33, 34)]
    assert [status.label for status in found] == [
        *("no_regression", "insufficient_data", "insufficient_data"),
        *("no_regression", "no_regression"),
    ]
    assert [status.change for status in found] == [None, *["torch 2.11"] * 4]
    others = [Change(date=night(30), rows=["mgd-resnet18"], reason="another row")]
    assert judged(points, night(34), changes=others)["top1"].label == "regression"


def test_too_few_points_say_nothing():
    assert [read([70.0] * n, by_prior(SIGMA0)).label for n in (0, 1, 3, 4)] == [
        *["insufficient_data"] * 3,
        "no_regression",
    ]
    assert read([70.0, 70.1, 69.9, 70.2, 69.8], by_itself).label == "insufficient_data"
    assert read([70.0, 70.1, 69.9, 70.2, 69.8, 90.0], by_itself).label == "suspicious"


def test_a_scored_checkpoint_is_held_against_its_published_number_from_the_first_night():
    assert read([73.6], by_tolerance(73.62)).label == "no_regression"
    assert read([73.5], by_tolerance(73.62)).label == "suspicious"
    assert read([73.5, 73.5], by_tolerance(73.62)).label == "regression"
    assert read([73.5, 73.5], by_tolerance(None)).label == "no_regression"


def test_performance_is_judged_on_the_same_hardware_and_for_the_worse_only():
    slow, fast = {"gpu": "old", "seconds_per_step": 1.0}, {"gpu": "new", "seconds_per_step": 0.3}
    points = [point(n, 70.0, **slow) for n in range(6)] + [point(n, 70.0, **fast) for n in range(6, 12)]
    assert judged(points, night(11))["seconds_per_step"].label == "no_regression"
    worse = [*points, *(point(n, 70.0, gpu="new", seconds_per_step=0.4) for n in (12, 13))]
    assert judged(worse, night(12))["seconds_per_step"].label == "suspicious"
    assert judged(worse, night(13))["seconds_per_step"].label == "regression"
    elsewhere = [*points, *(point(n, 70.0, gpu="third", seconds_per_step=0.4) for n in (12, 13))]
    assert judged(elsewhere, night(13))["seconds_per_step"].label == "insufficient_data"
    assert read([1.0] * 5 + [0.2], by_share).label == "no_regression"


def test_the_half_width_is_that_of_the_verdicts():
    runs = [40.1, 40.3, 40.2]
    assert prediction_half_width(runs, 0.12) == pytest.approx(0.29916, abs=5e-6)
    assert prediction_half_width(runs, 0.12, level=0.99) > prediction_half_width(runs, 0.12)
    assert prediction_half_width(runs, nu0=0) == pytest.approx(4.302653 * 0.1 * (4 / 3) ** 0.5, abs=1e-6)
    for wrong in ({"level": 1.0}, {"sigma0": -1.0}, {"nu0": -1.0}):
        with pytest.raises(ValueError, match="must"):
            prediction_half_width(runs, **{"sigma0": 0.12, "nu0": NU0, **wrong})
