"""What the hours that are left measure once more: the longest ago first, and never more than there are."""

from __future__ import annotations

import pytest

from suite.cost.oldest import choose_oldest
from tests.cost.conftest import plan_of, priced

OLD, YOUNG, UNMEASURED = "nkd-resnet18-nkd", "mgd-resnet18", "nkd-resnet18-uskd"
MEASURED = {YOUNG: "2026-11-20T10:00:00+00:00", OLD: "2026-11-01T10:00:00+00:00"}


@pytest.fixture
def cost():
    return priced(plan_of(OLD, YOUNG, UNMEASURED))


def hours(cost, *claims):
    needed = {run_id for row in cost.claims if row.claim in claims for run_id in row.runs}
    return sum(cost.runs[run_id].hours for run_id in needed)


def test_the_longest_ago_comes_first_and_a_shared_training_is_paid_once(cost):
    both = hours(cost, OLD, YOUNG)
    assert both < hours(cost, OLD) + hours(cost, YOUNG)
    assert choose_oldest(cost, MEASURED, both * 1.001) == [OLD, YOUNG]
    assert choose_oldest(cost, MEASURED, both * 0.999) == [OLD]
    assert choose_oldest(cost, MEASURED, 0) == []


def test_what_does_not_fit_is_passed_over_and_what_was_never_measured_is_left(cost):
    affordable = min(hours(cost, OLD), hours(cost, YOUNG)) * 1.001
    (only,) = choose_oldest(cost, MEASURED, affordable)
    assert hours(cost, only) <= affordable
    assert UNMEASURED not in choose_oldest(cost, MEASURED, 10**6)


def test_a_claim_of_unknown_cost_is_passed_over():
    cost = priced(plan_of("nkd-shufflenet-v2-uskd", OLD))
    unknown = [row.claim for row in cost.claims if row.cost.unknown]
    assert unknown == ["nkd-shufflenet-v2-uskd"]
    measured = dict.fromkeys([*unknown, OLD], "2026-11-01T10:00:00+00:00")
    assert set(choose_oldest(cost, measured, 10**6)).isdisjoint(unknown)
