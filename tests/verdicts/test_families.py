"""Many rows at once: false discoveries, and the test of signs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from suite.verdicts import (
    benjamini_hochberg,
    sign_test,
)


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
