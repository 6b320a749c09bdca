"""Gains judged together: worked examples, an independent computation, and how often the intervals hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, special, stats

from suite import verdicts
from suite.verdicts import (
    judge_gain_sign,
    judge_with,
    pairing_correlation,
)

ROWS = {"a": [1.0, 2.0, 3.0], "b": [-0.2, 0.1, 0.4], "c": [2.0, 4.0, 9.0]}


def judge_gains_together(*arguments: Any) -> Any:
    """The verdicts, whose numbers are there unless a test says that they are not."""
    return verdicts.judge_gains_together(*arguments)


def shared_noise(rows: Any) -> Any:
    """The noise, which is there unless a test says that it is not."""
    return verdicts.shared_noise(rows)


@pytest.mark.parametrize(
    ("name", "sd", "gain", "half_width", "verdict"),
    [
        ("a", "0.9221", "2.00", "1.2445", "GAIN"),
        ("b", "0.5036", "0.10", "0.6797", "NO_CHANGE"),
        ("c", "2.9526", "5.00", "3.9849", "GAIN"),
    ],
)
def test_worked_example_to_the_last_printed_digit(name, sd, gain, half_width, verdict):
    judged = judge_gains_together(ROWS, 1.0)[name]
    assert judged.verdict == verdict
    assert f"{judged.sd:.4f}" == sd
    assert f"{judged.gain:.2f}" == gain
    assert f"{(judged.upper - judged.lower) / 2:.4f}" == half_width
    assert f"{judged.prior_sd:.4f} {judged.prior_df:.4f} {judged.df:.4f}" == "0.7518 1.0504 3.0504"


def computed_again(rows: dict[str, list[float]], level: float) -> dict[str, tuple[float, ...]]:
    """Smyth's estimate in another way: whole arrays, another root finder, scipy's t."""
    d = np.array([len(row) - 1 for row in rows.values()])
    variances = np.array([np.var(row, ddof=1) for row in rows.values()])
    variances = np.maximum(variances, 1e-5 * np.median(variances))
    e = np.log(variances) - special.digamma(d / 2) + np.log(d / 2)
    v = np.var(e, ddof=1) - np.mean(special.polygamma(1, d / 2))
    assert v > 0
    root = optimize.root_scalar(
        lambda x: math.log(special.polygamma(1, math.exp(x))) - math.log(v), x0=0.0, x1=0.1, method="secant"
    )
    d0 = 2 * math.exp(root.root)
    s0 = math.exp(np.mean(e) + special.digamma(d0 / 2) - math.log(d0 / 2))
    shrunken = np.sqrt((d0 * s0 + d * variances) / (d0 + d))
    df = np.minimum(d0 + d, d.sum())
    reach = stats.t.ppf((1 + level) / 2, df) * shrunken / np.sqrt(d + 1)
    means = np.array([np.mean(row) for row in rows.values()])
    columns = zip(means - reach, means + reach, shrunken, df, strict=True)
    return dict(zip(rows, columns, strict=True))


@pytest.mark.parametrize("level", [0.80, 0.90, 0.99])
def test_rows_of_different_lengths_agree_with_another_computation(level):
    random = np.random.default_rng(7)
    rows = {
        str(k): list(random.normal(1, sd, n))
        for k, (sd, n) in enumerate([(0.1, 3), (1, 2), (5, 6), (0.4, 3), (30, 4), (2, 3), (0.01, 3)])
    }
    rows["no spread"] = [1.5, 1.5, 1.5]
    judged = judge_gains_together(rows, 0.5, level)
    for name, expected in computed_again(rows, level).items():
        found = judged[name]
        assert (found.lower, found.upper, found.sd, found.df) == pytest.approx(expected, rel=1e-9)


def test_equal_variances_are_pooled():
    rows = {name: [x + k for x in (0.0, 1.0, 2.0)] for k, name in enumerate("abcde")}
    noise = shared_noise(rows)
    assert (noise.prior_df, noise.prior_sd, noise.total_df, noise.rows) == (math.inf, 1.0, 10, 5)
    judged = judge_gains_together(rows, 0.1)["c"]
    # As many degrees of freedom as all rows have, and not infinitely many.
    assert judged.df == 10
    assert judged.upper - judged.gain == pytest.approx(stats.t.ppf(0.95, 10) / math.sqrt(3))


def test_two_rows_are_pooled_however_much_they_differ():
    noise = shared_noise({"a": [0.0, 1.0, 2.0], "b": [0.0, 10.0, 20.0, 30.0]})
    variance = (2 * 1.0 + 3 * 500 / 3) / 5
    assert (noise.prior_df, noise.prior_sd) == (math.inf, pytest.approx(math.sqrt(variance)))


def test_a_row_alone_has_its_own_t_interval():
    differences = [0.5, 2.0, 1.0]
    alone = judge_gains_together({"a": differences}, 0.0)["a"]
    paired = judge_gain_sign(dict(enumerate(differences)), dict.fromkeys(range(3), 0.0))
    assert (alone.lower, alone.upper) == pytest.approx((paired.lower, paired.upper))
    assert alone.verdict == paired.verdict


@pytest.mark.parametrize(
    ("centre", "margin", "verdict"),
    [(5.0, 1.0, "GAIN"), (-5.0, 1.0, "LOSS"), (0.0, 1.0, "NO_CHANGE"), (0.0, 0.1, "GAIN_UNCLEAR")],
)
def test_every_verdict(centre, margin, verdict):
    assert judge_gains_together({"a": [centre - 0.2, centre, centre + 0.2]}, margin)["a"].verdict == verdict


def test_a_gain_that_is_certain_and_too_small_to_matter_is_no_change():
    rows = {"a": [0.5, 0.51, 0.52]}
    assert judge_gains_together(rows, 0.0)["a"].verdict == "GAIN"
    assert judge_gains_together(rows, 1.0)["a"].verdict == "NO_CHANGE"


def test_an_interval_that_ends_at_the_margin_lies_within_it():
    judged = judge_gains_together({"a": [0.1, 0.2, 0.3]}, 10.0)["a"]
    assert judge_gains_together({"a": [0.1, 0.2, 0.3]}, judged.upper)["a"].verdict == "NO_CHANGE"
    assert judge_gains_together({"a": [0.1, 0.2, 0.3]}, 0.999 * judged.upper)["a"].verdict != "NO_CHANGE"


def test_rows_that_do_not_scatter_at_all_are_their_means():
    rows = {"same": [0.0, 0.0, 0.0], "better": [2.0, 2.0, 2.0], "other": [0.5, 0.5, 0.5]}
    judged = judge_gains_together(rows, 1.0)
    assert {name: found.verdict for name, found in judged.items()} == {
        "same": "NO_CHANGE",
        "better": "GAIN",
        "other": "NO_CHANGE",
    }


def test_a_row_with_fewer_than_two_differences_is_unclear_and_moves_no_other():
    more = ROWS | {"one": [7.0], "none": []}
    judged = judge_gains_together(more, 1.0)
    assert {name: judged[name] for name in ROWS} == judge_gains_together(ROWS, 1.0)
    assert (judged["one"].verdict, judged["one"].gain, judged["one"].lower) == ("GAIN_UNCLEAR", 7.0, None)
    assert (judged["none"].verdict, judged["none"].gain, judged["none"].n) == ("GAIN_UNCLEAR", None, 0)
    assert judge_gains_together({"one": [7.0]}, 1.0)["one"].prior_sd is None


def test_no_rows_are_no_verdicts():
    assert judge_gains_together({}, 1.0) == {}


def test_a_row_may_be_judged_with_the_noise_of_others():
    noise = shared_noise(ROWS)
    assert judge_with(noise, ROWS["b"], 1.0) == judge_gains_together(ROWS, 1.0)["b"]
    calm: Any = judge_with(noise, [4.0, 4.1, 4.2], 1.0)
    assert calm.sd < 0.7518


@pytest.mark.parametrize(
    ("rows", "margin", "level", "named"),
    [
        ({"bad": [1.0, math.nan]}, 1.0, 0.9, "bad"),
        (ROWS, -1.0, 0.9, "margin"),
        (ROWS, math.inf, 0.9, "margin"),
        (ROWS, 1.0, 1.0, "level"),
        (ROWS, 1.0, 0.0, "level"),
    ],
)
def test_bad_input_is_refused_by_name(rows, margin, level, named):
    with pytest.raises(ValueError, match=named):
        judge_gains_together(rows, margin, level)


def test_correlation_of_arms_is_that_within_the_rows():
    together = {"a": [(1.0, 11.0), (2.0, 12.0), (3.0, 13.0)], "b": [(50.0, 0.0), (51.0, 1.0)]}
    assert pairing_correlation(together) == pytest.approx(1)
    against = {name: [(x, -y) for x, y in pairs] for name, pairs in together.items()}
    assert pairing_correlation(against) == pytest.approx(-1)
    random = np.random.default_rng(3).normal(size=(3, 2))
    assert pairing_correlation({"a": [(x, y) for x, y in random]}) == pytest.approx(
        np.corrcoef(random.T)[0, 1]
    )


@pytest.mark.parametrize("rows", [{}, {"a": [(1.0, 2.0)]}, {"a": [(1.0, 2.0), (1.0, 3.0)]}])
def test_arms_that_do_not_scatter_have_no_correlation(rows):
    assert pairing_correlation(rows) is None


Spreads = Callable[[np.random.Generator], npt.NDArray[np.float64]]


def vary(rows: int, prior_df: float) -> Spreads:
    """True sds whose variances are scaled inverse chi squared, as the estimate takes them to be."""
    return lambda random: np.sqrt(prior_df / random.chisquare(prior_df, rows))


def coverage(spreads: Spreads, intervals: int) -> float:
    """How many 90 % intervals from three differences hold the true gain."""
    random = np.random.default_rng(11)
    held = tried = 0
    while tried < intervals:
        rows = {str(k): list(random.normal(0, sd, 3)) for k, sd in enumerate(spreads(random))}
        judged = judge_gains_together(rows, 0.0)
        held += sum(found.lower <= 0 <= found.upper for found in judged.values())
        tried += len(rows)
    return held / tried


@pytest.mark.slow
@pytest.mark.parametrize(
    "spreads",
    [
        # Of our own records: classification has 1.7 degrees of freedom, the other tasks none that differ.
        pytest.param(vary(40, 1.7), id="as in our records"),
        pytest.param(lambda _: np.ones(1), id="one row"),
        pytest.param(lambda _: np.ones(2), id="two rows"),
        pytest.param(lambda _: np.ones(30), id="equal"),
        pytest.param(lambda _: np.append(np.ones(29), 20.0), id="one wild row"),
    ],
)
def test_ninety_of_a_hundred_intervals_hold_the_true_gain(spreads):
    assert coverage(spreads, 12_000) == pytest.approx(0.90, abs=0.01)
