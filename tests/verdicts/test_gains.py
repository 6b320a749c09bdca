"""Gains: every verdict on published data, and the sign by seed on embedded data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from suite.verdicts import (
    judge_gain,
    judge_gain_sign,
)

COCO: dict[str, Any] = {"sigma0": 0.12, "delta": 0.3}


@pytest.mark.parametrize(
    ("claimed", "distilled", "student", "verdict"),
    [
        (3.6, [37.0, 37.1, 36.9], [37.4, 37.5, 37.3], "LOSS"),
        (0.3, [37.5, 37.6, 37.4], [37.4, 37.5, 37.3], "GAIN_UNCLEAR"),
        (3.6, [41.0, 41.1, 40.9], [37.4, 37.5, 37.3], "GAIN_REPRODUCED"),
        (2.9, [77.5, 77.6, 77.4], [76.3, 76.4, 76.2], "GAIN_SMALLER"),
        (1.2, [40.0, 40.1, 39.9], [37.4, 37.5, 37.3], "GAIN_LARGER"),
        (1.0, [39.0], [37.5], "GAIN"),
        (None, [39.0], [37.5], "GAIN"),
    ],
)
def test_every_gain_verdict(claimed, distilled, student, verdict):
    assert judge_gain(claimed, 1, distilled, student, **COCO).verdict == verdict


def test_gain_numbers_by_hand():
    distilled, student = [41.0, 41.2, 40.8], [37.4, 37.6]
    judged = judge_gain(3.6, 1, distilled, student, **COCO)
    nu = 8 + 2 + 1
    pooled = math.sqrt((8 * 0.12**2 + 2 * 0.2**2 + 1 * 0.02) / nu)
    spread = 1 / 3 + 1 / 2
    assert judged.gain == pytest.approx(3.5, abs=1e-9)
    assert judged.lower == pytest.approx(3.5 - stats.t.ppf(0.95, nu) * pooled * math.sqrt(spread), abs=1e-9)
    assert judged.upper == pytest.approx(3.5 + stats.t.ppf(0.95, nu) * pooled * math.sqrt(spread), abs=1e-9)
    assert judged.half_width == pytest.approx(
        stats.t.ppf(0.975, nu) * pooled * math.sqrt(spread + 2), abs=1e-9
    )


def test_a_gain_claim_is_rounded_twice():
    # 0.3 + 2 * 0.05 away is still the margin; with two decimals the same difference is not.
    assert judge_gain(1.6, 1, [38.6] * 9, [37.4] * 9, **COCO).verdict == "GAIN_REPRODUCED"
    assert judge_gain(1.6, 2, [38.6] * 9, [37.4] * 9, **COCO).verdict != "GAIN_REPRODUCED"


def test_retained_fraction_has_the_interval_of_the_gain():
    judged = judge_gain(2.0, 1, [38.4], [37.4], **COCO)
    assert judged.retained == pytest.approx(0.5)
    assert judged.retained_lower == pytest.approx(judged.lower / 2)
    assert judged.retained_upper == pytest.approx(judged.upper / 2)
    negative = judge_gain(-2.0, 1, [38.4], [37.4], **COCO)
    assert negative.retained_lower is not None
    assert negative.retained is not None
    assert negative.retained_upper is not None
    assert negative.retained_lower < negative.retained < negative.retained_upper
    for claimed in (0.0, None):
        nothing = judge_gain(claimed, 1, [38.4], [37.4], **COCO)
        assert (nothing.retained, nothing.retained_lower, nothing.retained_upper) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"distilled": []}, "distilled: no runs"),
        ({"student": []}, "student: no runs"),
        ({"student": [math.nan]}, "student: nan"),
        ({"claimed_gain": math.inf}, "claimed_gain: inf"),
        ({"decimals": -2}, "decimals"),
        ({"sigma0": 0}, "sigma0"),
        ({"nu0": 0}, "nu0 = 0"),
    ],
)
def test_bad_gain_input_is_refused_by_name(arguments, named):
    good = {"claimed_gain": 1.0, "decimals": 1, "distilled": [41.0], "student": [40.0], **COCO}
    with pytest.raises(ValueError, match=named):
        judge_gain(**(good | arguments))


def test_gain_on_embedded_data_is_the_paired_t_interval():
    student = {0: 80.0, 1: 84.0, 2: 78.0}
    distilled = {0: 81.0, 1: 85.4, 2: 78.9}
    judged = judge_gain_sign(distilled, student)
    differences = np.array([1.0, 1.4, 0.9])
    lower, upper = stats.t.interval(0.90, 2, differences.mean(), differences.std(ddof=1) / math.sqrt(3))
    assert (judged.verdict, judged.n, judged.reason) == ("GAIN", 3, None)
    assert (judged.gain, judged.lower, judged.upper) == pytest.approx((1.1, lower, upper), abs=1e-9)


def test_pairing_sees_a_gain_that_the_scatter_between_seeds_would_hide():
    student = {0: 60.0, 1: 80.0, 2: 70.0}
    assert judge_gain_sign({seed: value + 0.5 for seed, value in student.items()}, student).verdict == "GAIN"
    assert judge_gain_sign({seed: value - 0.5 for seed, value in student.items()}, student).verdict == "LOSS"
    assert judge_gain_sign({0: 60.5, 1: 79.5, 2: 70.1}, student).verdict == "GAIN_UNCLEAR"


def test_identical_arms_are_no_gain():
    student = {0: 60.1, 1: 80.2, 2: 70.3}
    assert judge_gain_sign(dict(student), student).verdict == "GAIN_UNCLEAR"


@pytest.mark.parametrize("seeds", [[], [0], [0, 1]])
def test_fewer_than_three_common_seeds_stay_unclear(seeds):
    judged = judge_gain_sign(dict.fromkeys(seeds, 90.0), dict.fromkeys((0, 1, 7, 8), 80.0))
    assert (judged.verdict, judged.n, judged.reason) == ("GAIN_UNCLEAR", len(seeds), "fewer than three seeds")
    assert judged.gain == (10.0 if seeds else None)
    assert (judged.lower, judged.upper) == (None, None)


def test_seeds_without_a_partner_are_left_out():
    student = {0: 60.0, 1: 61.0, 2: 62.0, 9: 0.0}
    judged = judge_gain_sign({0: 61.0, 1: 62.0, 2: 63.1, 8: 100.0}, student)
    assert judged.n == 3
    assert judged.gain == pytest.approx(3.1 / 3)


def test_a_metric_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="student_by_seed: nan"):
        judge_gain_sign({0: 1.0}, {0: math.nan})
