"""Plans: every training once, teachers first, and run ids that hold what defines a number."""

from __future__ import annotations

import itertools
import random

import pytest

from suite.errors import SuiteError
from suite.planning.plan import Plan, make_plan
from suite.published.finding import find_claim, load_papers, select


def plan(*claims: str, profile: str = "smoke", seeds: int = 1, overrides: tuple[str, ...] = ()) -> Plan:
    return make_plan([claim for _, claim in select(claims=claims)], profile, seeds, overrides)


def described(plan: Plan) -> list[tuple[str, str]]:
    return [(run.arm, run.label) for run in plan.runs.values()]


def test_an_own_method_needs_student_teacher_and_distilled_student():
    assert described(plan("mgd-resnet18")) == [
        ("student", "resnet18, seed 0"),
        ("teacher", "resnet34, seed 0"),
        ("distilled", "resnet18 MGD from resnet34, seed 0"),
    ]


def test_a_method_without_a_teacher_needs_none():
    assert [arm for arm, _ in described(plan("nkd-resnet18-tf-nkd"))] == ["student", "distilled"]


def test_a_baseline_and_a_teacher_need_themselves_alone():
    assert described(plan("nkd-resnet18-student")) == [("student", "resnet18, seed 0")]
    assert described(plan("nkd-resnet50-teacher")) == [("teacher", "resnet50, seed 0")]


def test_two_papers_share_their_student_and_their_teacher():
    both = plan("mgd-resnet18", "nkd-resnet18-nkd")
    assert described(both) == [
        ("student", "resnet18, seed 0"),
        ("teacher", "resnet34, seed 0"),
        ("distilled", "resnet18 MGD from resnet34, seed 0"),
        ("distilled", "resnet18 NKD from resnet34, seed 0"),
    ]
    assert both.unshared == 6
    assert {run.teacher for run in both.runs.values() if run.arm == "distilled"} == {list(both.runs)[1]}


def test_a_model_is_trained_once_as_teacher_of_one_claim_and_student_of_another():
    both = plan("nkd-resnet50-teacher", "nkd-resnet50-student", "nkd-resnet50-tf-nkd")
    assert [label for _, label in described(both)] == ["resnet50, seed 0", "resnet50 tf-NKD, seed 0"]
    arms = {(entry.claim, entry.arm) for entry in next(iter(both.runs.values())).claims}
    assert {("nkd-resnet50-teacher", "teacher"), ("nkd-resnet50-tf-nkd", "student")} <= arms
    # The student of MobileNet's rows learns from it too.
    assert ("nkd-mobilenet-v1-nkd", "teacher") in arms


def test_a_run_lists_the_claims_of_both_papers_whichever_was_selected():
    for claim in ("mgd-resnet18-student", "nkd-resnet18-student"):
        (run,) = plan(claim).runs.values()
        served = {entry.claim for entry in run.claims}
        assert {"mgd-resnet18-student", "mgd-resnet18", "nkd-resnet18-student", "nkd-resnet18-nkd"} <= served
        assert len(run.claims) == len(set(run.claims))


def test_everything_is_planned_once_with_teachers_before_their_students():
    everything = make_plan([claim for _, claim in select()], "smoke", 2)
    assert len(everything.runs) < everything.unshared
    what = [(run.label, repr(run.recipe.method)) for run in everything.runs.values()]
    assert len(set(what)) == len(what)
    place = {run_id: number for number, run_id in enumerate(everything.runs)}
    distilled = [run for run in everything.runs.values() if run.teacher]
    assert distilled
    for run in distilled:
        assert place[str(run.teacher)] < place[run.run_id]
        assert run.recipe.teacher is not None
        assert everything.runs[str(run.teacher)].label.startswith(run.recipe.teacher.name)
    planned = {entry.claim for run in everything.runs.values() for entry in run.claims}
    assert planned == set(everything.planned)
    assert planned | set(everything.left_out) == {c.id for p in load_papers().values() for c in p.claims}


def test_seeds_repeat_students_but_not_the_teacher():
    runs = list(plan("mgd-resnet18", seeds=3).runs.values())
    seeds = {arm: [run.seed for run in runs if run.arm == arm] for arm in ("student", "teacher", "distilled")}
    assert seeds == {"student": [0, 1, 2], "teacher": [0], "distilled": [0, 1, 2]}
    assert len({run.series for run in runs if run.arm == "distilled"}) == 1


def test_a_teacher_serves_as_the_student_of_the_same_seed_only():
    runs = plan("nkd-resnet50-teacher", "nkd-resnet50-student", seeds=2).runs.values()
    assert sorted(run.seed for run in runs) == [0, 1]


def test_the_order_of_the_selection_changes_no_run():
    claims = [claim for _, claim in select("nkd")]
    ids = set(make_plan(claims, "smoke", 1).runs)
    random.Random(7).shuffle(claims)
    assert set(make_plan(claims, "smoke", 1).runs) == ids
    alone = set(itertools.chain.from_iterable(make_plan([claim], "smoke", 1).runs for claim in claims))
    assert alone == ids


def test_seed_profile_override_and_versions_are_part_of_a_run_id(monkeypatch):
    def ids(**options) -> set[str]:
        return set(plan("mgd-resnet18", **options).runs)

    usual = ids()
    assert len(usual) == 3
    assert usual == ids(overrides=())
    assert not usual & ids(profile="mini")
    assert not usual & ids(overrides=("schedule.optimizers.convnet.optimizer.lr=0.2",))
    assert usual < ids(seeds=2)
    monkeypatch.setattr("suite.planning.plan._releases", lambda packages: {"torch": "0.1"})
    assert not usual & ids()


def test_an_override_of_the_method_leaves_the_models_trained_alone_as_they_are():
    usual = list(plan("mgd-resnet18").runs.values())
    other = list(plan("mgd-resnet18", overrides=("method.losses.mgd.arguments.alpha=1e-4",)).runs.values())
    assert [run.run_id for run in usual[:2]] == [run.run_id for run in other[:2]]
    assert usual[2].run_id != other[2].run_id
    (departure,) = [entry for entry in other[2].recipe.departures if entry.kind == "override"]
    assert departure.declared_by == "method.losses.mgd.arguments.alpha=1e-4"
    assert (departure.setting, departure.ours) == ("losses.mgd.alpha", "1e-4")


def test_an_overridden_run_serves_only_claims_that_asked_for_it():
    (run,) = plan(
        "nkd-resnet18-student", overrides=("schedule.optimizers.convnet.optimizer.lr=0.2",)
    ).runs.values()
    assert {entry.claim for entry in run.claims} == {"nkd-resnet18-student"}


def test_another_teacher_makes_another_student():
    overrides = ("data.test_loader.batch_size=50",)
    usual, other = plan("mgd-resnet18"), plan("mgd-resnet18", overrides=overrides)
    assert list(usual.runs)[2] != list(other.runs)[2]
    assert list(other.runs.values())[2].teacher == list(other.runs)[1]


def test_what_is_not_trained_says_why():
    left_out = make_plan([claim for _, claim in select()], "smoke", 1).left_out
    rival = next(claim.id for _, claim in select() if not claim.judged)
    assert left_out[rival] == "quoted only: no recipe makes its number"
    empty = make_plan([claim for _, claim in select(claims=[rival])], "smoke", 1)
    assert empty.runs == {}
    assert empty.left_out == {rival: "quoted only: no recipe makes its number"}


def test_fewer_than_one_seed_is_refused():
    with pytest.raises(SuiteError, match="--seeds must be from 1 to 100, got 0"):
        plan("mgd-resnet18", seeds=0)


# With the published protocol


def runs_of_arm(claim: str, arm: str, profile: str):
    plan = make_plan([find_claim(claim)[1]], profile, 1)
    return [run for run in plan.runs.values() if run.arm == arm]


def test_the_released_checkpoint_teaches_with_the_published_protocol_and_is_not_trained():
    (teacher,) = runs_of_arm("mgd-retinanet-r50", "teacher", "paper")
    (distilled,) = runs_of_arm("mgd-retinanet-r50", "distilled", "paper")
    assert teacher.checkpoint is not None
    assert (teacher.checkpoint.kind, teacher.checkpoint.weights) == ("released", "retinanet-x101")
    assert teacher.label == "retinanet-x101, released checkpoint"
    assert distilled.teacher == teacher.run_id


def test_a_teacher_that_nobody_released_and_one_of_embedded_data_are_trained():
    for claim, profile in (("mgd-solo-r50", "paper"), ("mgd-retinanet-r50", "mini")):
        (teacher,) = runs_of_arm(claim, "teacher", profile)
        assert teacher.trains


def test_a_claim_on_the_teacher_itself_is_about_its_training():
    (teacher,) = runs_of_arm("fgd-retinanet-r101-teacher", "teacher", "paper")
    assert teacher.trains
