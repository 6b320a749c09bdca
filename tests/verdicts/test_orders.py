"""Ranks, and how far two orders agree."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from suite.verdicts import (
    rank_agreement,
    ranks,
)


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
