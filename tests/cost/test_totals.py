"""Sums over claims and papers: shared trainings once, finished ones not at all, unknown ones counted."""

from __future__ import annotations

import pytest

from tests.cost.conftest import plan_of, priced, runs_of


def test_what_nobody_has_timed_is_unknown_and_counted():
    plan = plan_of("fgd-yolox-m-yolox-l", "fgd-retinanet-r50-student")
    cost = priced(plan)
    unknown = [run_cost for run_cost in cost.runs.values() if run_cost.basis == "unknown"]
    assert [run_cost.hours for run_cost in unknown] == [None] * 2
    assert {run_cost.source for run_cost in unknown} == {"no published training step of yolox-m"}
    assert (cost.total.trainings, cost.total.unknown) == (3, 2)
    assert str(cost.total) == "120.4 + unknown"
    rows = {row.claim: row for row in cost.claims}
    assert str(rows["fgd-yolox-m-yolox-l"].cost) == "unknown"
    assert rows["fgd-yolox-m-yolox-l"].teacher == "yolox-l"


def test_shared_trainings_are_paid_once_and_papers_together_save_more():
    plan = plan_of("mgd-resnet18", "nkd-resnet18-nkd", "fgd-gfl-r50-student")
    cost = priced(plan)
    assert {paper: each.trainings for paper, each in cost.by_paper.items()} == {"fgd": 1, "mgd": 2, "nkd": 2}
    assert (cost.total.trainings, cost.saved_between_papers) == (4, 1)
    rows = {row.claim: row for row in cost.claims}
    assert [(row.cost.trainings, row.shared) for row in rows.values()] == [(1, 0), (2, 1), (2, 1)]
    shared = sum(
        cost.runs[run_id].hours or 0
        for run_id in set(rows["mgd-resnet18"].runs) & set(rows["nkd-resnet18-nkd"].runs)
    )
    assert cost.total.hours == pytest.approx(sum(row.cost.hours for row in rows.values()) - shared)
    assert rows["mgd-resnet18"].data == ("imagenet",)


def test_a_finished_run_costs_nothing_any_more():
    plan = plan_of("mgd-resnet18")
    student = runs_of(plan)["resnet18"].run_id
    before, after = priced(plan), priced(plan, finished=(student,))
    assert after.total.finished == 1
    assert before.total.hours - after.total.hours == pytest.approx(before.runs[student].hours)
