"""Verdicts: the published worked examples, every verdict, and the statistics behind them."""

from __future__ import annotations

import itertools
import math
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from suite import verdicts
from suite.verdicts import (
    benjamini_hochberg,
    expected_best,
    gate,
    judge_absolute,
    judge_claim,
    judge_gain,
    judge_gain_sign,
    mean_interval,
    rank_agreement,
    ranks,
    sign_test,
    teacher_reason,
)

COCO: dict[str, Any] = {"sigma0": 0.12, "delta": 0.3}
CITYSCAPES: dict[str, Any] = {"sigma0": 0.5, "delta": 1.0}
CIFAR: dict[str, Any] = {"sigma0": 0.25, "delta": 0.6}


def runs_with_sd(mean: float, sd: float, n: int) -> list[float]:
    """`n` numbers with exactly this mean and sample sd."""
    if n == 1:
        return [mean]
    shape = np.linspace(-1, 1, n)
    return list(mean + sd * shape / shape.std(ddof=1))


# --- the absolute verdict -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "decimals", "runs", "prior", "mean", "excess", "pooled_sd", "half_width", "verdict"),
    [
        (41.0, 1, [41.2], COCO, "41.2", "0.15", "0.12000", "0.39134", "REPRODUCED"),
        (41.0, 1, [40.6], COCO, "40.6", "0.35", "0.12000", "0.39134", "INCONCLUSIVE"),
        (40.7, 1, [40.1, 40.3, 40.2], COCO, "40.2", "0.45", "0.11628", "0.29916", "DEVIATES_LOW"),
        (73.63, 2, [72.2, 72.9, 71.8], CITYSCAPES, "72.3", "1.325", "0.51186", "1.31693", "DEVIATES_LOW"),
        (42.1, 1, [43.0, 42.9, 43.1], COCO, "43.0", "0.85", "0.11628", "0.29916", "DEVIATES_HIGH"),
    ],
)
def test_worked_examples_to_the_last_printed_digit(
    claim, decimals, runs, prior, mean, excess, pooled_sd, half_width, verdict
):
    judged = judge_absolute(claim, decimals, runs, **prior)
    assert judged.verdict == verdict
    assert f"{judged.mean:.1f}" == mean
    assert f"{judged.excess:.{len(excess.split('.')[1])}f}" == excess
    assert f"{judged.pooled_sd:.5f}" == pooled_sd
    assert f"{judged.half_width:.5f}" == half_width
    assert judged.strength == ("screen" if len(runs) < 3 else "standard")


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (COCO, ["0.39", "0.31", "0.29"]),
        (CITYSCAPES, ["1.63", "1.29", "1.19"]),
        (CIFAR, ["0.82", "0.64", "0.60"]),
    ],
)
def test_half_width_table_at_one_three_and_five_runs(prior, expected):
    widths = [
        judge_absolute(70.0, 1, runs_with_sd(70.0, prior["sigma0"], n), **prior).half_width for n in (1, 3, 5)
    ]
    assert [f"{width:.2f}" for width in widths] == expected


def test_half_width_is_the_prediction_interval_of_scipy():
    runs = [40.1, 40.4, 40.25, 39.9]
    judged = judge_absolute(40.7, 1, runs, **COCO)
    nu = 8 + 3
    pooled = math.sqrt((8 * 0.12**2 + 3 * np.var(runs, ddof=1)) / nu)
    assert judged.pooled_sd == pytest.approx(pooled, rel=1e-12)
    assert judged.half_width == pytest.approx(stats.t.ppf(0.975, nu) * pooled * math.sqrt(1.25), rel=1e-12)
    assert (judged.lower, judged.upper) == (judged.mean - judged.half_width, judged.mean + judged.half_width)


def test_a_difference_of_exactly_margin_and_rounding_is_reproduced():
    # 41.35 - 41.0 is a little more than 0.35 in binary; on paper the excess is exactly the margin.
    for claim, run in [(41.0, 41.35), (41.0, 40.65), (40.9, 41.25), (38.7, 39.05)]:
        assert judge_absolute(claim, 1, [run], **COCO).verdict == "REPRODUCED"
        assert (
            judge_absolute(claim, 1, [run + math.copysign(0.01, run - claim)], **COCO).verdict != "REPRODUCED"
        )


def test_flags_are_symmetric_about_the_claim():
    mirrored = {"DEVIATES_LOW": "DEVIATES_HIGH", "DEVIATES_HIGH": "DEVIATES_LOW"}
    rng = np.random.default_rng(7)
    seen = set()
    for _ in range(300):
        runs = 40 + rng.normal(0, 0.3, size=rng.integers(1, 6)) + rng.normal(0, 0.4)
        judged = judge_absolute(40.0, 1, list(runs), **COCO)
        reflected = judge_absolute(40.0, 1, list(80.0 - runs), **COCO)
        assert reflected.verdict == mirrored.get(judged.verdict, judged.verdict)
        assert reflected.p_value == pytest.approx(judged.p_value, abs=1e-9)
        assert reflected.runs_needed == judged.runs_needed
        seen.add(judged.verdict)
    assert seen == {"REPRODUCED", "INCONCLUSIVE", "DEVIATES_LOW", "DEVIATES_HIGH"}


def test_a_verdict_does_not_depend_on_the_order_of_the_runs():
    runs = [40.13, 40.37, 40.21, 39.99, 40.58]
    assert len({judge_absolute(40.7, 1, order, **COCO) for order in itertools.permutations(runs)}) == 1


@pytest.mark.parametrize(
    ("runs", "strength"), [([41.0], "screen"), ([41.0] * 2, "screen"), ([41.0] * 3, "standard")]
)
def test_fewer_than_three_runs_only_screen(runs, strength):
    assert judge_absolute(41.0, 1, runs, **COCO).strength == strength


def test_equivalent_needs_the_whole_interval_of_the_mean_inside_the_margin():
    # nu = 10, s_p = 0.12 (s = sigma0): the mean's 90 % interval is +- 1.8125 * 0.12 / sqrt(3) = 0.12557.
    assert judge_absolute(41.0, 1, runs_with_sd(41.17, 0.12, 3), **COCO).equivalent
    assert not judge_absolute(41.0, 1, runs_with_sd(41.18, 0.12, 3), **COCO).equivalent
    assert judge_absolute(41.0, 1, runs_with_sd(40.83, 0.12, 3), **COCO).equivalent
    # One run: +- 1.8595 * 0.12 = 0.22315. Reproduced, but that is not shown to be equivalence.
    judged = judge_absolute(41.0, 1, [41.2], **COCO)
    assert judged.verdict == "REPRODUCED"
    assert not judged.equivalent
    assert judge_absolute(41.0, 1, [41.0], **COCO).equivalent


def test_p_value_is_that_of_the_t_distribution():
    judged = judge_absolute(40.7, 1, [40.1, 40.3, 40.2], **COCO)
    statistic = judged.excess / (judged.pooled_sd * math.sqrt(4 / 3))
    assert judged.p_value == pytest.approx(2 * stats.t.sf(statistic, 10), rel=1e-12)
    assert judge_absolute(41.0, 1, [41.04], **COCO).p_value == 1.0


def test_p_value_falls_below_five_percent_exactly_where_the_interval_ends():
    for distance in (0.30, 0.36, 0.44, 0.45, 0.6):
        judged = judge_absolute(41.0, 1, [41.0 - distance], **COCO)
        assert (judged.p_value < 0.05) == (judged.excess > judged.half_width)


def test_a_flag_survives_a_wider_prior_only_when_it_is_beyond_that_interval_too():
    # 1.5 * 0.12: H = 0.4489 instead of 0.3087 when s = 0.12 (nu = 10).
    assert judge_absolute(41.0, 1, runs_with_sd(40.3, 0.12, 3), **COCO).survives_wider_prior is True
    close = judge_absolute(41.0, 1, runs_with_sd(40.55, 0.12, 3), **COCO)
    assert close.verdict == "DEVIATES_LOW"
    assert close.survives_wider_prior is False
    wider = judge_absolute(41.0, 1, runs_with_sd(40.55, 0.12, 3), sigma0=0.18, delta=0.3)
    assert wider.verdict == "INCONCLUSIVE"


def test_what_is_asked_of_one_verdict_is_none_for_the_others():
    reproduced = judge_absolute(41.0, 1, [41.2], **COCO)
    assert (reproduced.survives_wider_prior, reproduced.best_of_k, reproduced.runs_needed) == (
        None,
        None,
        None,
    )
    inconclusive = judge_absolute(41.0, 1, [40.6], **COCO)
    assert (inconclusive.survives_wider_prior, inconclusive.best_of_k) == (None, None)
    high = judge_absolute(42.1, 1, [43.0, 42.9, 43.1], **COCO)
    assert (high.best_of_k, high.runs_needed) == (None, None)


def test_runs_needed_is_the_first_total_whose_interval_excludes_the_claim():
    # One run at 40.6: H(2) = t(0.975, 9) * 0.12 * sqrt(1.5) = 0.33247 < 0.35.
    assert judge_absolute(41.0, 1, [40.6], **COCO).runs_needed == 2
    # Excess 0.31 needs H < 0.31: H(2) = 0.33247, H(3) = 0.30874.
    assert judge_absolute(41.0, 1, [40.64], **COCO).runs_needed == 3

    def with_runs(n):
        return judge_absolute(41.0, 1, runs_with_sd(40.5, 0.2, n), sigma0=0.2, delta=0.3)

    needed = with_runs(3).runs_needed
    assert needed is not None
    assert [with_runs(n).verdict for n in (3, needed - 1, needed)] == [
        "INCONCLUSIVE",
        "INCONCLUSIVE",
        "DEVIATES_LOW",
    ]


def test_no_number_of_runs_decides_when_one_run_alone_scatters_further():
    # s = 0.4 stays, so H tends to 1.96 * 0.4 = 0.78, and the excess is 0.45.
    assert judge_absolute(41.0, 1, runs_with_sd(40.5, 0.4, 4), **COCO).runs_needed is None


@pytest.mark.parametrize(("k", "printed"), [(2, "0.564"), (3, "0.846"), (5, "1.163"), (10, "1.539")])
def test_expected_best_of_k_agrees_with_quadrature_over_the_density(k, printed):
    expected, _ = integrate.quad(lambda x: x * k * stats.norm.pdf(x) * stats.norm.cdf(x) ** (k - 1), -9, 9)
    computed = expected_best(10)[k - 1]
    assert computed == pytest.approx(expected, abs=1e-7)
    assert f"{computed:.3f}" == printed


def test_best_of_k_is_the_smallest_selection_that_reaches_the_claim():
    # Twelve runs of ours, the claim 2.3 pooled sd above their mean: beyond the prediction interval.
    runs = runs_with_sd(70.0, 0.12, 12)
    judged = judge_absolute(70.0 + 2.3 * 0.12, 2, runs, sigma0=0.12, delta=0.1)
    assert judged.verdict == "DEVIATES_LOW"
    k = judged.best_of_k
    assert k is not None
    table = expected_best(verdicts.LARGEST_K)
    assert table[k - 1] * judged.pooled_sd >= 2.3 * 0.12 > table[k - 2] * judged.pooled_sd
    assert judge_absolute(71.0, 2, runs, **COCO).best_of_k is None


def test_without_a_prior_only_the_runs_count():
    runs = [70.1, 70.4, 70.2]
    judged = judge_absolute(70.2, 2, runs, nu0=0, **COCO)
    assert judged.pooled_sd == pytest.approx(np.std(runs, ddof=1), rel=1e-9)
    assert judged.half_width == pytest.approx(stats.t.ppf(0.975, 2) * np.std(runs, ddof=1) * math.sqrt(4 / 3))
    with pytest.raises(ValueError, match="nu0 = 0"):
        judge_absolute(70.2, 2, [70.1], nu0=0, **COCO)


def test_identical_runs_without_a_prior_leave_no_noise_to_hide_in():
    judged = judge_absolute(71.0, 1, [70.0, 70.0], nu0=0, **COCO)
    assert (judged.verdict, judged.half_width, judged.p_value) == ("DEVIATES_LOW", 0.0, 0.0)
    assert judge_absolute(70.0, 1, [70.0, 70.0], nu0=0, **COCO).p_value == 1.0


def test_verdicts_cannot_be_changed_afterwards():
    judged = judge_absolute(41.0, 1, [41.2], **COCO)
    with pytest.raises(FrozenInstanceError):
        judged.verdict = "DEVIATES_LOW"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"runs": []}, "runs"),
        ({"runs": [41.0, math.nan]}, "runs: nan"),
        ({"runs": [math.inf]}, "runs: inf"),
        ({"claim": math.nan}, "claim: nan"),
        ({"decimals": -1}, "decimals.*-1"),
        ({"sigma0": 0.0}, "sigma0.*0.0"),
        ({"sigma0": -0.1}, "sigma0.*-0.1"),
        ({"sigma0": math.nan}, "sigma0.*nan"),
        ({"delta": -0.3}, "delta.*-0.3"),
        ({"nu0": -1}, "nu0.*-1"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, named):
    good = {"claim": 41.0, "decimals": 1, "runs": [41.0], "sigma0": 0.12, "delta": 0.3}
    with pytest.raises(ValueError, match=named):
        judge_absolute(**(good | arguments))


def flag_rate(true_sd: float, draws: int = 8000) -> float:
    """Share of flags when claim and runs come from one process of this sd (three runs, two decimals)."""
    rng = np.random.default_rng(20220613)
    flags = 0
    for claim, *runs in rng.normal(70.0, true_sd, size=(draws, 4)):
        flags += judge_absolute(round(claim, 2), 2, runs, **COCO).verdict in verdicts.DEVIATIONS
    return flags / draws


def test_false_flags_are_near_three_percent_when_the_prior_is_right():
    assert 0.015 < flag_rate(0.12) < 0.04


def test_false_flags_rise_to_near_twenty_percent_when_the_true_sd_is_twice_the_prior():
    assert 0.14 < flag_rate(0.24) < 0.24


# --- the gain verdict ---------------------------------------------------------------------------------


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


# --- embedded data ------------------------------------------------------------------------------------


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


# --- gates --------------------------------------------------------------------------------------------


def test_a_blocked_run_gets_its_reasons_and_never_a_number():
    judged = judge_claim(41.0, 1, [41.0], **COCO, reasons=["teacher is off by 0.4", "a run failed"])
    assert judged.verdict == "BLOCKED"
    assert judged.reason == "teacher is off by 0.4; a run failed"
    assert (judged.numbers, judged.label) == (None, "BLOCKED")


def test_embedded_data_are_not_comparable_and_get_no_number():
    judged = judge_claim(41.0, 1, [41.0], **COCO, comparable=False, departures=["embedded data"])
    assert (judged.verdict, judged.numbers, judged.label) == ("NOT_COMPARABLE", None, "NOT_COMPARABLE")
    assert "embedded" in (judged.reason or "")


def test_blocked_comes_before_not_comparable():
    closed = gate(["wrong fingerprint"], comparable=False)
    assert closed is not None
    assert closed.verdict == "BLOCKED"
    assert gate() is None


@pytest.mark.parametrize("measured", [73.52, 73.62, 73.72])
def test_a_teacher_within_a_tenth_is_the_published_one(measured):
    assert teacher_reason("top1", 73.62, measured) is None


@pytest.mark.parametrize("measured", [73.51, 73.73, 41.0])
def test_a_teacher_further_off_is_named_with_both_numbers(measured):
    reason = teacher_reason("top1", 73.62, measured)
    assert reason is not None
    assert f"{measured:.2f}" in reason
    assert "73.62" in reason


def test_listed_departures_are_judged_and_marked():
    plain = judge_claim(41.0, 1, [41.2], **COCO)
    marked = judge_claim(41.0, 1, [41.2], **COCO, departures=["four GPUs instead of eight"])
    assert (plain.label, marked.label) == ("REPRODUCED", "REPRODUCED*")
    assert (plain.marked, marked.marked) == (False, True)
    assert plain.numbers == marked.numbers == judge_absolute(41.0, 1, [41.2], **COCO)


# --- many rows ----------------------------------------------------------------------------------------


def test_benjamini_hochberg_by_hand():
    # Sorted 0.005 0.012 0.030 0.060 0.200 against 0.02 0.04 0.06 0.08 0.10: the first four.
    assert benjamini_hochberg([0.2, 0.03, 0.005, 0.06, 0.012]) == [False, True, True, True, True]
    # Step-up: 0.045 > 0.04 alone would stop, but 0.05 <= 0.06 carries it along.
    assert benjamini_hochberg([0.045, 0.05, 0.9, 0.01, 0.8]) == [True, True, False, True, False]
    # Equal values share their fate: 0.02 > 0.03/3 alone, but 0.02 <= 2 * 0.03/3.
    assert benjamini_hochberg([0.02, 0.02, 0.9], q=0.03) == [True, True, False]
    assert benjamini_hochberg([0.5, 0.2]) == [False, False]
    assert benjamini_hochberg([]) == []


def test_benjamini_hochberg_agrees_with_scipys_adjusted_p_values():
    values = np.random.default_rng(3).uniform(0, 1, 200) ** 2
    expected = stats.false_discovery_control(values) <= 0.10
    assert benjamini_hochberg(list(values)) == list(expected)
    assert any(expected)


@pytest.mark.parametrize(
    ("values", "q"), [([1.2], 0.1), ([-0.1], 0.1), ([math.nan], 0.1), ([0.5], 0.0), ([0.5], 1.0)]
)
def test_benjamini_hochberg_refuses_what_is_no_probability(values, q):
    with pytest.raises(ValueError, match="must lie"):
        benjamini_hochberg(values, q)


def test_sign_test_is_the_exact_binomial():
    test = sign_test([0.4, 0.2, 1.1, -0.3, 0.0, 0.6, 0.9, 0.1, 0.2])
    assert (test.positive, test.negative, test.ties) == (7, 1, 1)
    assert test.p_value == pytest.approx(stats.binomtest(7, 8).pvalue)
    assert sign_test([0.1, 0.1, -0.1, -0.1]).p_value == 1.0
    assert sign_test([]).p_value == 1.0
    assert sign_test([-1.0] * 5).p_value == 2 / 32
    with pytest.raises(ValueError, match="nan"):
        sign_test([math.nan])


# --- orders -------------------------------------------------------------------------------------------


def values(*numbers: float) -> dict[str, float]:
    """The numbers under the names a, b, c and so on."""
    return dict(zip("abcdefghijkl", numbers, strict=False))


def test_tau_of_four_methods_by_hand():
    """Claimed a > b > c > d, measured b > a > d > c: two of six pairs are the other way round.

    tau = (4 - 2) / 6. Of the 24 orders of four, 1, 3, 5, 6, 5, 3, 1 have 0 to 6 pairs the other way round;
    the 9 with at most two agree as well, as many disagree as much: p = 18 / 24.
    """
    agreement = rank_agreement(values(40.7, 40.4, 39.6, 39.1), values(41.0, 42.0, 39.0, 40.0))
    assert (agreement.n, agreement.ties, agreement.exact) == (4, False, True)
    assert agreement.tau == pytest.approx(1 / 3)
    assert agreement.p_value == pytest.approx(0.75)


@pytest.mark.parametrize(("measured", "tau"), [((5, 4, 3, 2, 1), 1.0), ((1, 2, 3, 4, 5), -1.0)])
def test_the_same_and_the_reverse_order_are_one_of_the_two_extremes_of_all_orders(measured, tau):
    agreement = rank_agreement(values(9, 8, 7, 6, 5), values(*measured))
    assert agreement.tau == pytest.approx(tau)
    assert agreement.p_value == pytest.approx(2 / math.factorial(5))


def test_two_methods_say_nothing():
    assert rank_agreement(values(2, 1), values(20, 10)).p_value == 1.0


def test_tau_with_equal_values_by_hand():
    """Claimed a > b > c, measured a = b > c: tau-b = 2 / sqrt(3 * 2).

    The equal two come first, around, or last of c with the same chance of 1/3: C - D is 2, 0 or -2.
    """
    agreement = rank_agreement(values(3, 2, 1), values(5, 5, 4))
    assert (agreement.ties, agreement.exact) == (True, True)
    assert agreement.tau == pytest.approx(2 / math.sqrt(6))
    assert agreement.p_value == pytest.approx(2 / 3)


@pytest.mark.parametrize("levels", [2, 3, 100])
def test_p_values_are_counted_over_all_orders_with_and_without_equal_values(levels):
    rng = np.random.default_rng(levels)
    for _ in range(5):
        if levels == 100:
            claimed, measured = rng.permutation(5), rng.permutation(5)
        else:
            claimed, measured = rng.integers(levels, size=5), rng.integers(levels, size=5)
        agreement = rank_agreement(values(*claimed), values(*measured))
        if agreement.tau is None:
            continue
        orders = [stats.kendalltau(claimed, order).statistic for order in itertools.permutations(measured)]
        tails = [
            np.mean([tau >= agreement.tau - 1e-9 for tau in orders]),
            np.mean([tau <= agreement.tau + 1e-9 for tau in orders]),
        ]
        assert agreement.p_value == pytest.approx(min(1.0, 2 * min(tails)))


def test_many_names_with_equal_values_have_an_approximate_p_value_that_says_so():
    claimed, measured = values(*range(12)), values(*(number // 2 for number in range(12)))
    agreement = rank_agreement(claimed, measured)
    assert (agreement.n, agreement.exact) == (12, False)
    expected = stats.kendalltau(list(claimed.values()), list(measured.values()), method="asymptotic")
    assert (agreement.tau, agreement.p_value) == (expected.statistic, expected.pvalue)
    assert rank_agreement(claimed, values(*range(12))).exact


def test_only_names_with_both_values_count():
    claimed, measured = values(3, 2, 1), values(30, 20) | {"only measured": 99.0}
    assert rank_agreement(claimed, measured) == rank_agreement(values(3, 2), values(30, 20))
    assert rank_agreement(claimed, measured).n == 2


@pytest.mark.parametrize(
    ("claimed", "measured", "n"),
    [((), (), 0), ((1,), (1,), 1), ((1, 2), (1,), 1), ((1, 2), (3, 3), 2), ((3, 3), (1, 2), 2)],
)
def test_without_an_order_there_is_no_tau(claimed, measured, n):
    agreement = rank_agreement(values(*claimed), values(*measured))
    assert (agreement.n, agreement.tau, agreement.p_value) == (n, None, None)
    assert agreement.ties == (n == 2)


def test_binary_noise_is_no_order():
    noisy = values(100 * (0.1 + 0.2), 30.0)
    assert noisy["a"] != noisy["b"]
    assert rank_agreement(values(1, 2), noisy).tau is None
    assert ranks(noisy) == {"a": 1, "b": 1}


def test_equal_values_share_the_better_rank():
    assert ranks(values(40.4, 40.7, 40.4, 39.0)) == {"a": 2, "b": 1, "c": 2, "d": 4}
    assert ranks(values(40.4, 40.7, 40.4, 39.0), higher_is_better=False) == {"a": 2, "b": 4, "c": 2, "d": 1}
    assert ranks({}) == {}


def test_orders_of_what_is_no_number_are_refused():
    with pytest.raises(ValueError, match="claimed: nan"):
        rank_agreement({"a": math.nan}, {})
    with pytest.raises(ValueError, match="measured: inf"):
        rank_agreement({}, {"a": math.inf})
    with pytest.raises(ValueError, match="values: nan"):
        ranks({"a": math.nan})


def test_the_interval_of_the_mean_is_that_of_the_t_distribution():
    runs = [40.1, 40.3, 40.2]
    expected = stats.t.interval(0.9, 2, loc=np.mean(runs), scale=stats.sem(runs))
    assert mean_interval(runs) == pytest.approx(expected)


def test_the_interval_of_the_mean_with_a_prior_decides_equivalence():
    runs, sigma0 = [40.1, 40.3, 40.2], 0.12
    lower, upper = mean_interval(runs, sigma0) or (0.0, 0.0)
    margin = (upper - lower) / 2
    for delta, equivalent in ((margin * 1.01, True), (margin * 0.99, False)):
        assert judge_absolute(40.2, 1, runs, sigma0, delta).equivalent == equivalent
    single = mean_interval([40.2], sigma0)
    assert single == pytest.approx(stats.t.interval(0.9, 8, loc=40.2, scale=sigma0))


@pytest.mark.parametrize(("runs", "sigma0"), [([], None), ([1.0, 2.0], None), ([], 0.12)])
def test_too_few_runs_have_no_interval(runs, sigma0):
    assert mean_interval(runs, sigma0) is None


def test_an_interval_of_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="runs: nan"):
        mean_interval([math.nan] * 3)
    with pytest.raises(ValueError, match="sigma0"):
        mean_interval([1.0], 0.0)
