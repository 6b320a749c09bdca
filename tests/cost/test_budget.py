"""Which claims a budget buys, and how likely they are to show what they say."""

from __future__ import annotations

import statistics

import pytest

from suite.cost import chance_to_show, choose
from suite.published.finding import find_claim, load_papers, select
from suite.published.roles import find_role
from tests.cost.conftest import plan_of, priced

ROLES = {claim.id: claim.role for paper in load_papers().values() for claim in paper.claims}


@pytest.mark.parametrize(
    ("claim", "seeds", "noise", "size"),
    [
        # sigma0 is 0.12 on ImageNet, and two means differ by sqrt(2 / n) times as much.
        ("nkd-swin-tiny-uskd", 1, 0.12 * 2**0.5, 0.31),
        ("nkd-swin-tiny-uskd", 3, 0.12 * (2 / 3) ** 0.5, 0.31),
        # No source prints the gain of this one: 74.47 against the paper's own student.
        ("mgd-pspnet-r18-logit", 1, 0.5 * 2**0.5, 4.25),
        # Alone: the practical margin, against one published run.
        ("nkd-swin-tiny-student", 1, 0.12 * 2**0.5, 0.3),
    ],
)
def test_the_chance_to_show_follows_from_gain_and_noise(claim, seeds, noise, size):
    chance, words = chance_to_show(find_claim(claim)[1], seeds)
    assert chance == pytest.approx(statistics.NormalDist().cdf(size / noise - 1.6449), abs=1e-3)
    assert f"is {size / noise:.1f} times the noise of published runs" in words


def test_a_number_without_a_printed_gain_has_none_to_show_although_its_noise_is_known():
    claim = find_claim("nkd-resnet18-cifar-uskd")[1]
    assert chance_to_show(claim, 3) == (0.0, "no source prints a gain that could show")


def test_a_budget_buys_own_results_first_and_never_more_than_there_is():
    names = [claim.id for _, claim in select() if claim.judged and claim.student == "resnet18"]
    cost = priced(plan_of(*names))
    for budget in (1, 40, 60, 100, 1000):
        choices = choose(cost, budget, seeds=1)
        picked = [choice for choice in choices if choice.picked]
        assert {choice.claim for choice in choices} == {row.claim for row in cost.claims}
        rows = {row.claim: row for row in cost.claims}
        bought = {run_id for choice in picked for run_id in rows[choice.claim].runs}
        paid = sum(choice.hours or 0 for choice in picked)
        assert paid == pytest.approx(sum(cost.runs[run_id].hours or 0 for run_id in bought))
        assert paid <= budget
        turns = [find_role(ROLES[choice.claim]).turn for choice in picked]
        assert turns == sorted(turns)
    assert len(picked) == len(choices)
    # Self-distillation shows its gain in the fewest hours; the student it shares makes the next ones cheaper.
    assert [choice.claim for choice in picked[:2]] == ["nkd-resnet18-uskd", "nkd-resnet18-tf-nkd"]
    assert picked[0].reason.startswith(
        "the paper's own result; its published gain of 0.89 top1 is 5.2 times the"
    )
    assert "1 of 2 trainings finished or paid for already" in picked[1].reason


def test_the_cheapest_verdicts_are_those_of_the_240_epochs_on_cifar_100():
    cost = priced(plan_of(*(claim.id for _, claim in select("nkd") if claim.judged)))
    hours = {row.claim: [cost.runs[run_id].hours for run_id in row.runs] for row in cost.claims}
    known = {claim: sum(map(float, filter(None, runs))) for claim, runs in hours.items() if None not in runs}
    datasets = [find_claim(claim)[1].dataset for claim in sorted(known, key=lambda claim: known[claim])]
    assert set(datasets[:20]) == {"cifar-100"}
    assert {"nkd-vgg8-student", "nkd-resnet20-student", "nkd-vgg8-vgg13-kd"} <= known.keys()
    for budget, first in ((1, "nkd-vgg8-student"), (2, "nkd-vgg8-vgg13-kd")):
        picked = [choice.claim for choice in choose(cost, budget, seeds=1) if choice.picked]
        assert picked[0] == first
        assert {find_claim(claim)[1].dataset for claim in picked} == {"cifar-100"}


def test_a_number_of_others_shows_no_gain_over_a_student_that_they_do_not_print():
    claim = find_claim("nkd-resnet18-kd")[1]
    assert claim.baseline == "nkd-resnet18-student"
    assert chance_to_show(claim, 3) == (0.0, "no source prints a gain that could show")


def test_a_larger_gain_is_picked_before_a_smaller_one_at_the_same_cost():
    cost = priced(plan_of("nkd-swin-tiny-tf-nkd", "nkd-swin-tiny-uskd", "nkd-resnet101-uskd"))
    picked = [choice.claim for choice in choose(cost, 10_000, seeds=1)]
    # 0.31 and 0.30 points at equal hours; 0.57 points at fewer.
    assert picked == ["nkd-resnet101-uskd", "nkd-swin-tiny-uskd", "nkd-swin-tiny-tf-nkd"]


def test_what_is_left_out_of_a_budget_says_why():
    cost = priced(plan_of("fgd-retinanet-r50-r101", "fgd-yolox-m-yolox-l", "nkd-resnet18-tf-nkd"))
    left = {choice.claim: choice.reason for choice in choose(cost, 50, seeds=1) if not choice.picked}
    assert left == {
        "fgd-retinanet-r50-r101": "needs 296.7 GPU-hours more, but 24.3 are left",
        "fgd-yolox-m-yolox-l": "its cost is unknown: no published training step of yolox-m",
    }


def test_finished_runs_are_bought_already():
    plan = plan_of("fgd-yolox-m-student", "fgd-retinanet-r50-student")
    cost = priced(plan, finished=tuple(plan.runs))
    choices = choose(cost, 1e-9, seeds=1)
    assert [(choice.picked, choice.hours) for choice in choices] == [(True, 0), (True, 0)]
