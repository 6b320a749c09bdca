"""Hours of recorded trainings count before all others."""

from __future__ import annotations

import statistics

import pytest

from suite import paths
from suite.contract import ServedClaim
from suite.cost import run_costs
from suite.store.records import read_all
from tests.cost.conftest import plan_of, record_of


def test_a_finished_run_on_a_gpu_is_worth_more_than_a_published_figure():
    plan = plan_of("fgd-retinanet-r50-x101-t0p3", "fgd-retinanet-r50-x101", seeds=2)
    measured = next(run for run in plan.runs.values() if run.recipe.method)
    costs = run_costs(plan, [record_of(measured, 0.9)])
    of_the_method = [costs[run.run_id] for run in plan.runs.values() if run.recipe.method]
    # Another temperature and another seed take as long.
    assert len(of_the_method) == 4
    assert [cost.hours for cost in of_the_method] == [pytest.approx(0.9 * 8 * 1000 / 3600)] * 4
    assert {cost.source for cost in of_the_method} == {"seconds a step of finished runs on NVIDIA H100"}
    alone = [costs[run.run_id].basis for run in plan.runs.values() if not run.recipe.method]
    assert set(alone) == {"published", "released"}


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
            * (record.provenance.threads or 0)
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
