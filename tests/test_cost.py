"""What plans cost: measured before published before estimated, never made up; and what a budget buys."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from suite import paths
from suite.claims import load_papers, select
from suite.cost import (
    Estimator,
    PlanCost,
    chance_to_show,
    choose,
    cost_of,
    load_costs,
    needed_data,
    run_costs,
    teacher_weights,
)
from suite.errors import SuiteError
from suite.plan import Plan, Run, make_plan
from suite.records import Record, ServedClaim, read_all

CLAIMS = {claim.id: claim for paper in load_papers().values() for claim in paper.claims}

COCO = 117266
IMAGENET = 1281167


@pytest.fixture(autouse=True)
def _folders(shared_work, tmp_path, monkeypatch):
    """The shared cache of composed recipes, and no data sets."""
    monkeypatch.setenv("SUITE_WORK", str(shared_work))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "datasets"))


def plan_of(*claims: str, profile: str = "paper", seeds: int = 1, overrides: tuple[str, ...] = ()) -> Plan:
    return make_plan([claim for _, claim in select(claims=claims)], profile, seeds, overrides)


def runs_of(plan: Plan) -> dict[str, Run]:
    """Runs by label without the seed."""
    return {run.label.rpartition(", ")[0]: run for run in plan.runs.values()}


def priced(plan: Plan, *records: Record, finished: tuple[str, ...] = ()) -> PlanCost:
    states = {run_id: "finished" if run_id in finished else "to do" for run_id in plan.runs}
    return cost_of(plan, states, records)


def record_of(run: Run, seconds: float, **fields) -> Record:
    """A finished record of a run on eight GPUs, two images each, a thousand iterations."""
    content = {
        "run_id": run.run_id,
        "series": run.series,
        "claims": run.claims,
        "task": run.recipe["task"],
        "arm": run.arm,
        "profile": run.recipe["profile"],
        "seed": run.seed,
        "status": "finished",
        "metrics": {"box_AP": 40.0},
        "comparable": run.recipe["comparable"],
        "recipe": run.recipe,
        "protocol": {"iterations": 1000, "batch_size": 2, "devices": 8},
        "provenance": {"device": "cuda", "gpu": "NVIDIA H100"},
        "timings": {"seconds_per_step": seconds},
        "finished_at": "2026-11-01T10:00:00+00:00",
    }
    return Record.model_validate(content | fields)


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
    assert "what the loss adds is not counted" in str(distilled.how)


def test_a_step_of_another_model_is_scaled_and_called_an_estimate():
    plan = plan_of("fgd-gfl-r50-student")
    (cost,) = run_costs(plan, []).values()
    assert cost.hours == pytest.approx(0.308 * 51.28 / 52.63 / 2 * 12 * COCO / 3600)
    assert cost.basis == "estimated"
    assert str(cost.how).startswith("the step of RetinaNet-R50 times 51.28/52.63 (inference time of both")


def test_iterations_count_the_images_of_every_device():
    plan = plan_of("mgd-pspnet-r18")
    run = runs_of(plan)["pspnet-r101"]
    images = 40_000 * 2 * run.recipe["devices"]
    assert run_costs(plan, [])[run.run_id].hours == pytest.approx(0.83 / 2 * images / 3600)


def test_what_nobody_has_timed_is_unknown_and_counted():
    plan = plan_of("fgd-yolox-m-yolox-l", "fgd-retinanet-r50-student")
    cost = priced(plan)
    unknown = [run_cost for run_cost in cost.runs.values() if run_cost.basis == "unknown"]
    assert [run_cost.hours for run_cost in unknown] == [None] * 3
    assert {run_cost.source for run_cost in unknown} == {
        "no published training step of yolox-m",
        "no published training step of yolox-l",
    }
    assert (cost.total.trainings, cost.total.unknown) == (4, 3)
    assert str(cost.total) == "120.4 + unknown"
    rows = {row.claim: row for row in cost.claims}
    assert str(rows["fgd-yolox-m-yolox-l"].cost) == "unknown"
    assert rows["fgd-yolox-m-yolox-l"].teacher == "yolox-l"


def test_a_schedule_that_the_recipe_changes_is_paid_as_changed():
    plan = plan_of("fgd-retinanet-r50-student")
    (run,) = plan.runs.values()
    shorter = replace(run, recipe={**run.recipe, "schedule": {"train_cfg": {"max_epochs": 6}}})
    cost, whole = (Estimator([]).cost(each, plan) for each in (shorter, run))
    assert cost.hours == pytest.approx((whole.hours or 0) / 4)
    steps = {"train_cfg": {"max_iters": 100}}
    uncounted = replace(run, recipe={**run.recipe, "schedule": steps})
    assert Estimator([]).cost(uncounted, plan).source == "no batch size for the iterations of retinanet-r50"
    steps["train_dataloader"] = {"batch_size": 4}
    counted = replace(run, recipe={**run.recipe, "schedule": steps})
    assert Estimator([]).cost(counted, plan).hours == pytest.approx(
        0.308 / 2 * 100 * 4 * run.recipe["devices"] / 3600
    )


def test_a_finished_run_on_a_gpu_is_worth_more_than_a_published_figure():
    plan = plan_of("fgd-retinanet-r50-x101-t0p3", "fgd-retinanet-r50-x101", seeds=2)
    measured = next(run for run in plan.runs.values() if run.recipe["method"])
    costs = run_costs(plan, [record_of(measured, 0.9)])
    of_the_method = [costs[run.run_id] for run in plan.runs.values() if run.recipe["method"]]
    # Another temperature and another seed take as long.
    assert len(of_the_method) == 4
    assert [cost.hours for cost in of_the_method] == [pytest.approx(0.9 * 8 * 1000 / 3600)] * 4
    assert {cost.source for cost in of_the_method} == {"seconds a step of finished runs on NVIDIA H100"}
    alone = [costs[run.run_id].basis for run in plan.runs.values() if not run.recipe["method"]]
    assert set(alone) == {"published"}


def test_the_steps_of_both_models_as_they_were_measured_make_that_of_the_distilled_one():
    plan = plan_of("fgd-retinanet-r50-r101")
    runs = runs_of(plan)
    records = [record_of(runs["retinanet-r50"], 0.2), record_of(runs["retinanet-r101"], 0.3)]
    cost = run_costs(plan, records)[runs["retinanet-r50 FGD from retinanet-r101"].run_id]
    assert cost.hours == pytest.approx((0.2 + 0.3 / 3) * 8 / 16 * 24 * COCO / 3600)
    assert cost.basis == "estimated"


@pytest.mark.parametrize(
    "fields",
    [
        {"provenance": {"device": "cpu", "threads": 1}},
        {"status": "failed", "metrics": {}},
        {"timings": {}},
        {"protocol": {}},
        {"recipe": {}},
    ],
)
def test_records_that_do_not_time_the_training_count_for_nothing(fields):
    plan = plan_of("fgd-retinanet-r50-student")
    (run,) = plan.runs.values()
    (cost,) = run_costs(plan, [record_of(run, 0.9, **fields)]).values()
    assert cost.basis == "published"


def test_embedded_data_are_paid_in_core_hours_of_the_reference_records():
    plan = plan_of("nkd-resnet18-nkd", profile="mini")
    costs = run_costs(plan, [])
    records = read_all(paths.REFERENCE / "records")
    for run_id, run in plan.runs.items():
        hours = [
            record.timings["seconds_per_step"]
            * record.protocol["iterations"]
            * record.provenance["threads"]
            / 3600
            for record in records
            if ServedClaim(claim="nkd-resnet18-nkd", arm=run.arm) in record.claims
        ]
        assert costs[run_id].hours == pytest.approx(statistics.median(hours), rel=1e-3)
        assert costs[run_id].basis == "measured"
        assert "seconds a step of the reference records on " in costs[run_id].source


def test_ones_own_record_counts_before_the_reference_records():
    plan = plan_of("nkd-resnet18-student", profile="mini")
    (run,) = plan.runs.values()
    on_cpu = {
        "provenance": {"device": "cpu", "threads": 2, "host": {"cpu": "Own CPU"}},
        "protocol": {"iterations": 420, "batch_size": 64},
    }
    (cost,) = run_costs(plan, [record_of(run, 3.0, **on_cpu)]).values()
    assert cost.hours == pytest.approx(3.0 * 420 * 2 / 3600)
    assert cost.source == "seconds a step of finished runs on Own CPU"


def test_nothing_is_said_of_embedded_trainings_that_nobody_has_recorded():
    (cost,) = run_costs(plan_of("nkd-resnet18-student", profile="smoke"), []).values()
    assert (cost.hours, cost.basis) == (None, "unknown")
    assert cost.source == "no finished run of resnet18 in this profile on a CPU"


def test_shared_trainings_are_paid_once_and_papers_together_save_more():
    plan = plan_of("mgd-resnet18", "nkd-resnet18-nkd", "fgd-gfl-r50-student")
    cost = priced(plan)
    assert {paper: each.trainings for paper, each in cost.by_paper.items()} == {"fgd": 1, "mgd": 3, "nkd": 3}
    assert (cost.total.trainings, cost.saved_between_papers) == (5, 2)
    rows = {row.claim: row for row in cost.claims}
    assert [(row.cost.trainings, row.shared) for row in rows.values()] == [(1, 0), (3, 2), (3, 2)]
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


def test_published_weights_save_a_training_that_only_teaches():
    plan = plan_of(
        "fgd-retinanet-r50-x101", "fgd-solo-r50-r101-inherit", "nkd-resnet50-teacher", "mgd-mobilenet-v1"
    )
    found = {entry.model: entry for entry in teacher_weights(priced(plan))}
    assert {model: (entry.published, entry.saves) for model, entry in found.items()} == {
        "retinanet-x101": (True, True),
        "solo-r101": (False, False),
        "resnet50": (True, False),
    }
    assert not any(entry.present for entry in found.values())
    # The plan trains them all the same.
    assert all(entry.run_id in plan.runs for entry in found.values())
    done = priced(plan, finished=(found["retinanet-x101"].run_id,))
    assert not any(entry.saves for entry in teacher_weights(done))


def test_the_data_that_a_plan_needs_are_looked_for():
    needed = needed_data(plan_of("mgd-resnet18", "mgd-pspnet-r18"))
    assert [(dataset.name, dataset.presence) for dataset in needed] == [
        ("cityscapes", "absent"),
        ("imagenet", "absent"),
    ]
    (embedded,) = needed_data(plan_of("mgd-resnet18", profile="mini"))
    assert (embedded.name, embedded.presence, embedded.gigabytes) == ("digit-pairs", "embedded", None)


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
    chance, words = chance_to_show(CLAIMS[claim], CLAIMS, seeds)
    assert chance == pytest.approx(statistics.NormalDist().cdf(size / noise - 1.6449), abs=1e-3)
    assert f"is {size / noise:.1f} times the noise of published runs" in words


def test_a_budget_buys_own_results_first_and_never_more_than_there_is():
    names = [claim.id for claim in CLAIMS.values() if claim.id.startswith(("mgd-resnet18", "nkd-resnet18"))]
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
        turns = [["ours", "ablation", "baseline"].index(CLAIMS[choice.claim].role) for choice in picked]
        assert turns == sorted(turns)
    assert len(picked) == len(choices)
    # Self-distillation shows its gain in the fewest hours; the student it shares makes the next ones cheaper.
    assert [choice.claim for choice in picked[:2]] == ["nkd-resnet18-uskd", "nkd-resnet18-tf-nkd"]
    assert picked[0].reason.startswith(
        "the paper's own result; its published gain of 0.89 top1 is 5.2 times the"
    )
    assert "1 of 2 trainings finished or paid for already" in picked[1].reason


def test_a_larger_gain_is_picked_before_a_smaller_one_at_the_same_cost():
    cost = priced(plan_of("nkd-swin-tiny-tf-nkd", "nkd-swin-tiny-uskd", "nkd-resnet101-uskd"))
    picked = [choice.claim for choice in choose(cost, 10_000, seeds=1)]
    # 0.31 and 0.30 points at equal hours; 0.57 points at fewer.
    assert picked == ["nkd-resnet101-uskd", "nkd-swin-tiny-uskd", "nkd-swin-tiny-tf-nkd"]


def test_what_is_left_out_of_a_budget_says_why():
    cost = priced(plan_of("fgd-retinanet-r50-r101", "fgd-yolox-m-yolox-l", "nkd-resnet18-tf-nkd"))
    left = {choice.claim: choice.reason for choice in choose(cost, 50, seeds=1) if not choice.picked}
    assert left == {
        "fgd-retinanet-r50-r101": "takes 464.4 GPU-hours more, and 24.3 are left",
        "fgd-yolox-m-yolox-l": "its cost is unknown: no published training step of yolox-m; "
        "no published training step of yolox-l",
    }


def test_finished_runs_are_bought_already():
    plan = plan_of("fgd-yolox-m-student", "fgd-retinanet-r50-student")
    cost = priced(plan, finished=tuple(plan.runs))
    choices = choose(cost, 1e-9, seeds=1)
    assert [(choice.picked, choice.hours) for choice in choices] == [(True, 0), (True, 0)]


def test_every_schedule_is_that_of_the_zoos_config():
    from tasks.mm import zoo_config

    for name, schedule in load_costs().schedules.items():
        config = zoo_config(name)
        if schedule.epochs:
            assert config.train_cfg["max_epochs"] == schedule.epochs, name
        else:
            assert config.train_cfg["max_iters"] == schedule.iterations, name
            assert config.train_dataloader.batch_size == schedule.batch, name


def test_every_published_recipe_has_a_schedule_and_every_figure_a_model():
    from suite.models import read_models

    students = [claim.id for claim in CLAIMS.values() if claim.role in ("baseline", "teacher")]
    plan = plan_of(*students)
    known = load_costs()
    assert {run.recipe["student"]["zoo"] for run in plan.runs.values()} <= set(known.schedules)
    assert set(known.figures) <= set(read_models(paths.BASELINES))


GOOD = """\
benchmarks:
  zoo: {source: a table, where: an address, hardware: V100, devices: 8, batch: 16}
  speeds: {source: a table, where: an address, hardware: V100, devices: 1}
figures:
  resnet18: {benchmark: zoo, seconds_per_step: 0.3}
  resnet50: {benchmark: speeds, images_per_second: 100.0}
schedules:
  a::b.py: {epochs: 12}
"""


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        ("benchmark: zoo,", "benchmark: zo,", ":5: there is no benchmark 'zo'; did you mean 'zoo'?"),
        ("benchmark: zoo,", "benchmark: speeds,", ":5: 'speeds' does not say how many images a step has"),
        (", seconds_per_step: 0.3", "", ":5: resnet18: a figure has seconds_per_step or"),
        ("0.3}", "0.3, images_per_second: 5.0}", ":5: resnet18: a figure has seconds_per_step or"),
        ("0.3}", "0.3, of: another}", ":5: resnet18: 'of' and 'scaled' go together"),
        ("seconds_per_step", "seconds_a_step", ":5: unknown key 'seconds_a_step'; did you mean"),
        ("0.3}", "-0.3}", ":5: "),
        ("epochs: 12", "iterations: 12", ":8: a::b.py: a schedule has epochs, or"),
        ("epochs: 12", "epochs: 12, iterations: 12, batch: 2", ":8: a::b.py: a schedule has epochs, or"),
    ],
)
def test_published_costs_are_refused_with_file_and_line(tmp_path, good, bad, says):
    path = tmp_path / "training_costs.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_costs(path).schedules["a::b.py"].epochs == 12
    load_costs.cache_clear()
    assert good in GOOD
    path.write_text(GOOD.replace(good, bad, 1), encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        load_costs(path)
    assert f"training_costs.yaml{says}" in str(caught.value)
