"""Hours of trainings: published before estimated, never made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suite.cost import Estimator, run_costs
from suite.planning.composing import compose
from suite.planning.plan import Run
from suite.published.recipes import load_recipes
from tests.cost.conftest import COCO, IMAGENET, plan_of, record_of, runs_of

RETINANETS = {"retinanet-r50": 0.2, "retinanet-r101": 0.3}
"""Model -> seconds of its training step, in tests that record it."""


def test_a_published_step_times_the_steps_of_the_zoos_schedule_are_the_hours():
    plan = plan_of("fgd-retinanet-r50-r101")
    costs = {label: run_costs(plan, [])[run.run_id] for label, run in runs_of(plan).items()}
    # 8 GPUs take 0.308 s for 16 images; 24 epochs.
    student, teacher = (0.308 * 8 / 16 * 24 * COCO / 3600, 0.429 * 8 / 16 * 24 * COCO / 3600)
    assert costs["retinanet-r50"].hours == pytest.approx(student)
    assert costs["retinanet-r50"].basis == "published"
    assert "model zoo of mmdetection 1.x" in costs["retinanet-r50"].source
    assert "8 x V100, PyTorch 1.1 with 16 images a step" in costs["retinanet-r50"].source
    distilled = costs["retinanet-r50 FGD from retinanet-r101"]
    assert distilled.hours == pytest.approx(student + teacher / 3)
    assert distilled.basis == "estimated"
    assert "a third of the teacher's training step for its forward pass" in str(distilled.how)


def test_images_a_second_are_hours_of_one_gpu():
    cost = run_costs(plan := plan_of("nkd-resnet18-student"), [])
    (hours,) = (cost[run_id].hours for run_id in plan.runs)
    assert hours == pytest.approx(100 * IMAGENET / 2764.22 / 3600)


def test_a_method_without_a_teacher_is_estimated_from_the_students_step():
    plan = plan_of("nkd-resnet18-tf-nkd")
    costs = run_costs(plan, [])
    alone, distilled = (costs[run.run_id] for run in plan.runs.values())
    assert distilled.hours == alone.hours
    assert (alone.basis, distilled.basis) == ("published", "estimated")
    assert "the cost of the loss is not counted" in str(distilled.how)


def test_a_step_of_another_model_is_scaled_and_called_an_estimate():
    plan = plan_of("fgd-gfl-r50-student")
    (cost,) = run_costs(plan, []).values()
    assert cost.hours == pytest.approx(0.308 * 51.28 / 52.63 / 2 * 12 * COCO / 3600)
    assert cost.basis == "estimated"
    assert str(cost.how).startswith("the step of RetinaNet-R50 times 51.28/52.63 (inference time of both")


def test_iterations_count_the_images_of_every_device():
    plan = plan_of("mgd-pspnet-r18")
    run = runs_of(plan)["pspnet-r18"]
    hours = run_costs(plan, [])[run.run_id].hours
    assert hours
    doubled = run.recipe.model_copy(update={"devices": 2 * run.recipe.devices})
    plan.runs[run.run_id] = replace(run, recipe=doubled)
    assert run_costs(plan, [])[run.run_id].hours == pytest.approx(2 * hours)


def test_the_hours_of_a_model_that_nobody_has_timed_are_unknown_with_and_without_a_method():
    costs = run_costs(plan_of("nkd-shufflenet-v2-uskd"), [])
    said = {(cost.hours, cost.basis, cost.source) for cost in costs.values()}
    assert said == {(None, "unknown", "no published training step of shufflenet-v2")}


def test_a_step_that_was_measured_is_multiplied_by_the_images_of_the_models_own_data():
    plan = plan_of("nkd-resnet18-cifar-uskd")
    student = runs_of(plan)["resnet18-cifar"]
    cost = run_costs(plan, [record_of(student, 0.1)])[runs_of(plan)["resnet18-cifar USKD"].run_id]
    assert cost.hours == pytest.approx(0.1 * 8 / 16 * 200 * 50_000 / 3600)


def test_a_schedule_that_the_recipe_changes_is_paid_as_changed():
    plan = plan_of("fgd-retinanet-r50-student")
    (run,) = plan.runs.values()

    def scheduled(**schedule: dict[str, int]) -> Run:
        return replace(run, recipe=run.recipe.model_copy(update={"schedule": schedule}))

    shorter = scheduled(train_cfg={"max_epochs": 6})
    cost, whole = (Estimator([]).cost(each, plan) for each in (shorter, run))
    assert cost.hours == pytest.approx((whole.hours or 0) / 4)
    uncounted = scheduled(train_cfg={"max_iters": 100})
    assert Estimator([]).cost(uncounted, plan).source == "no batch size for the iterations of retinanet-r50"
    counted = scheduled(train_cfg={"max_iters": 100}, train_dataloader={"batch_size": 4})
    assert Estimator([]).cost(counted, plan).hours == pytest.approx(
        0.308 / 2 * 100 * 4 * run.recipe.devices / 3600
    )


def test_the_steps_of_both_models_as_they_were_measured_make_that_of_the_distilled_one():
    plan = plan_of("fgd-retinanet-r50-r101")
    runs = runs_of(plan)
    records = [record_of(runs[name], step) for name, step in RETINANETS.items()]
    cost = run_costs(plan, records)[runs["retinanet-r50 FGD from retinanet-r101"].run_id]
    assert cost.hours == pytest.approx((0.2 + 0.3 / 3) * 8 / 16 * 24 * COCO / 3600)
    assert cost.basis == "estimated"


@pytest.mark.parametrize(("profile", "epochs"), [("smoke", 1), ("mini", 6)])
def test_on_embedded_data_the_teacher_is_paid_for_in_the_first_epoch_alone(profile, epochs):
    plan = plan_of("fgd-retinanet-r50-r101", profile=profile)
    runs = runs_of(plan)
    on_cpu = {
        "provenance": {"device": "cpu", "threads": 1, "host": {"cpu": "Own CPU"}},
        "protocol": {"iterations": 480, "batch_size": 8, "devices": 1},
    }
    records = [record_of(runs[name], step, **on_cpu) for name, step in RETINANETS.items()]
    distilled = runs["retinanet-r50 FGD from retinanet-r101"]
    assert distilled.recipe.schedule["train_cfg"]["max_epochs"] == epochs
    cost = Estimator(records).cost(distilled, plan)
    assert cost.hours == pytest.approx((0.2 + 0.3 / 3 / epochs) * 480 / 3600)
    assert str(cost.how).endswith("for its forward pass, in the first epoch")


def test_nothing_is_said_of_embedded_trainings_that_nobody_has_recorded():
    (cost,) = run_costs(plan_of("nkd-resnet18-student", profile="smoke"), []).values()
    assert (cost.hours, cost.basis) == (None, "unknown")
    assert cost.source == "no finished run of resnet18 in this profile on a CPU"


def test_a_verdict_on_cifar_100_costs_less_than_any_other():
    plan = plan_of("nkd-resnet18-student")
    (run,) = plan.runs.values()
    hours: dict[str, dict[str, float]] = {"cifar100": {}, "others": {}}
    for name, recipe in load_recipes().items():
        composed = compose(recipe, "paper")
        cost = Estimator([]).cost(replace(run, recipe=composed), plan)
        if recipe.method is None and cost.hours:
            hours[composed.data.name if composed.data.name in hours else "others"][name] = cost.hours
    assert len(hours["cifar100"]) == 18
    assert max(hours["cifar100"].values()) < min(hours["others"].values())
    # 28 minutes for 200 epochs of the network that the others are held against.
    assert hours["cifar100"]["resnet20"] == pytest.approx(28 / 60 * 240 / 200, rel=1e-4)
