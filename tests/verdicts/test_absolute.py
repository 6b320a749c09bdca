"""The published number: worked examples, every verdict, the gates, and the statistics behind them."""

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
    expected_best,
    gate,
    judge_absolute,
    judge_claim,
    mean_interval,
    teacher_reason,
)
from suite.verdicts.arithmetic import t_quantile

COCO: dict[str, Any] = {"sigma0": 0.12, "delta": 0.3}
CITYSCAPES: dict[str, Any] = {"sigma0": 0.5, "delta": 1.0}
CIFAR: dict[str, Any] = {"sigma0": 0.25, "delta": 0.6}


def runs_with_sd(mean: float, sd: float, n: int) -> list[float]:
    """`n` numbers with exactly this mean and sample sd."""
    if n == 1:
        return [mean]
    shape = np.linspace(-1, 1, n)
    return list(mean + sd * shape / shape.std(ddof=1))


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


def test_quantiles_are_the_same_whichever_scipy_computes_them():
    assert [t_quantile(0.95, nu) for nu in (2, 14)] == [2.91998558, 1.761310136]


def test_half_width_is_the_prediction_interval_of_scipy():
    runs = [40.1, 40.4, 40.25, 39.9]
    judged = judge_absolute(40.7, 1, runs, **COCO)
    nu = 8 + 3
    pooled = math.sqrt((8 * 0.12**2 + 3 * np.var(runs, ddof=1)) / nu)
    assert judged.pooled_sd == pytest.approx(pooled, rel=1e-12)
    assert judged.half_width == pytest.approx(stats.t.ppf(0.975, nu) * pooled * math.sqrt(1.25), rel=1e-9)
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
