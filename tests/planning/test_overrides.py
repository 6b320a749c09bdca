"""Which trainings of a claim an override touches, and what it makes of them."""

from __future__ import annotations

import pytest

from suite.errors import SuiteError
from suite.planning.overrides import for_arm, parse_overrides, part_of_variant, variant_of
from suite.planning.plan import Plan, make_plan
from suite.published.finding import find_claim

CLAIM = "mgd-resnet18"


def plan(*overrides: str, claim: str = CLAIM, profile: str = "mini") -> Plan:
    return make_plan([find_claim(claim)[1]], profile, 1, overrides)


def changed(*overrides: str, claim: str = CLAIM, profile: str = "mini") -> set[str]:
    """The arms whose run is another one with the overrides."""
    before = {run.arm: run.run_id for run in plan(claim=claim, profile=profile).runs.values()}
    after = {run.arm: run.run_id for run in plan(*overrides, claim=claim, profile=profile).runs.values()}
    assert before.keys() == after.keys()
    return {arm for arm, run_id in after.items() if before[arm] != run_id}


@pytest.mark.parametrize(
    ("override", "arms"),
    [
        ("student.embedded.epochs=6", {"student", "distilled"}),
        ("model@student=resnet50", {"student", "distilled"}),
        # Its student learns from another teacher.
        ("teacher.embedded.epochs=6", {"teacher", "distilled"}),
        ("model@teacher=resnet50", {"teacher", "distilled"}),
        ("method.losses.mgd.arguments.alpha=1e-4", {"distilled"}),
        ("method=nkd", {"distilled"}),
        ("+data.train.indices=100", {"student", "teacher", "distilled"}),
        ("schedule.overrides.param_scheduler=[]", {"student", "teacher", "distilled"}),
    ],
)
def test_an_override_touches_the_arms_it_is_about_and_no_other(override: str, arms: set[str]):
    assert changed(override) == arms


def test_resources_touch_what_is_trained_and_not_a_released_teacher():
    assert changed("resources.devices=1", claim="nkd-resnet18-nkd", profile="paper") == {
        "student",
        "distilled",
    }
    assert changed("resources.devices=8", claim="nkd-resnet18-nkd", profile="paper") == set()


def test_another_student_leaves_the_teacher_what_it_is():
    runs = {run.arm: run.recipe.student.name for run in plan("model@student=resnet50").runs.values()}
    assert runs == {"student": "resnet50", "teacher": "resnet34", "distilled": "resnet50"}


def test_another_method_leaves_the_settings_of_the_claims_own_behind():
    # The recipe of this claim sets the gamma of NKD, which MGD does not have.
    runs = plan("method=mgd-channel", claim="nkd-deit-tiny-nkd").runs.values()
    (distilled,) = [run for run in runs if run.arm == "distilled"]
    assert distilled.recipe.method is not None
    assert list(distilled.recipe.method.losses) == ["mgd"]


def test_a_variant_is_served_apart_from_the_claim_and_its_untouched_arms_are_the_claims_own():
    served = {
        entry.arm: entry.variant
        for run in plan("method.losses.mgd.arguments.alpha=1e-4").runs.values()
        for entry in run.claims
        if entry.claim == CLAIM
    }
    assert served == {
        "student": (),
        "teacher": (),
        "distilled": ("method.losses.mgd.arguments.alpha=1e-4",),
    }


def test_a_run_that_only_a_variant_needs_serves_no_claim_of_its_own():
    (distilled,) = [run for run in plan("student.embedded.epochs=6").runs.values() if run.arm == "distilled"]
    assert all(entry.variant for entry in distilled.claims)


def test_resources_make_no_variant():
    runs = plan("resources.devices=1", claim="nkd-resnet18-nkd", profile="paper").runs.values()
    assert {entry.variant for run in runs for entry in run.claims} == {()}


def test_a_teachers_claim_is_touched_by_what_is_said_of_teachers():
    teacher = "fgd-retinanet-r101-teacher"
    assert changed("student.embedded.epochs=6", claim=teacher) == set()
    assert changed("teacher.embedded.epochs=6", claim=teacher) == {"teacher"}


def test_of_two_overrides_of_one_key_the_last_counts_and_order_makes_no_other_variant():
    one = parse_overrides(["method.a=1", "student.b=2", "method.a=3"])
    other = parse_overrides(["student.b=2", "method.a=3"])
    assert variant_of(one, "distilled") == variant_of(other, "distilled") == ("method.a=3", "student.b=2")
    assert part_of_variant(("method.a=3", "student.b=2"), "student") == ("student.b=2",)


def test_what_is_said_of_the_teacher_is_said_of_the_student_of_its_own_training():
    overrides = parse_overrides(["++teacher.embedded.epochs=6", "method.x=1", "~teacher.y"])
    assert [entry.text for entry in for_arm(overrides, "teacher")] == [
        "++student.embedded.epochs=6",
        "~student.y",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("profile.comparable=true", "what a profile promises cannot be overridden"),
        ("profile=paper", "choose another profile with --profile"),
        ("task=detection", "a claim's task is fixed"),
        ("means.devices=1", "the group is called 'resources' now"),
        ("studnet.embedded.epochs=6", "a recipe has no 'studnet'; did you mean 'student'?"),
        ("student.embedded.epochs=${oc.env:EPOCHS}", "write the value itself"),
        ("student.embedded.epochs", "is not written like key=value"),
        ("model@student=resnet81", "no student 'resnet81'; did you mean"),
        ("method=ngd", "no method 'ngd'; did you mean"),
        ("student.embedded.epoch=6", "does not compose"),
        ("resources.batch_size=8", "profile mini needs no extra resources"),
    ],
)
def test_what_cannot_be_overridden_is_refused_in_one_line(override: str, message: str):
    with pytest.raises(SuiteError) as refused:
        plan(override)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "override", ["resources.devices=0", "resources.precision=3", "resources.batch_size=x"]
)
def test_resources_that_there_cannot_be_are_refused(override: str):
    with pytest.raises(
        SuiteError, match=r"override 'resources\.(\w+)=.*': resources\.\1 cannot be .*; write"
    ):
        plan(override, claim="nkd-resnet18-nkd", profile="paper")
