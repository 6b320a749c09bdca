"""What a study decides, from its rows and its students alone."""

from __future__ import annotations

import statistics

import pytest

from suite.evidence.control import StudentAlone
from suite.evidence.frame import build_frame, rows_of
from suite.evidence.power import power_of, seed_time, spreads
from suite.planning.plan import make_plan
from suite.published.finding import find_claim
from suite.running.recording import record_of
from suite.store.record import Provenance


def student(name: str, values: list[float], task: str = "classification") -> StudentAlone:
    metric = "top1" if task == "classification" else "box_AP"
    return StudentAlone(name, task, metric, name, dict(enumerate(values)))


def test_spreads_are_those_of_students_with_three_seeds():
    found = spreads(
        [
            student("calm", [60.0, 61.0, 62.0]),
            student("wild", [30.0, 50.0, 70.0]),
            student("middle", [70.0, 72.0, 74.0]),
            student("young", [1.0, 2.0]),
            student("detector", [40.0, 40.5, 41.0], "detection"),
        ]
    )
    assert found.keys() == {"classification", "detection"}
    cls = found["classification"]
    assert (cls.students, cls.median, cls.largest, cls.widest) == (3, 2.0, 20.0, "wild")
    assert (cls.lowest, cls.weakest) == (50.0, "wild")
    assert found["detection"].median == pytest.approx(0.5)


ALONE = [50.0, 50.5, 51.0]
METHODS = {"tiny-kd": 20.0, "tiny-plus": 0.0, "tiny-less": -20.0}


@pytest.fixture
def rows(paper, record):
    runs = [record(["tiny-base", *METHODS], "student", seed, top1=x) for seed, x in enumerate(ALONE)]
    runs += [record(["tiny-teacher", *METHODS], "teacher", 0, top1=50.0)]
    for claim, gain in METHODS.items():
        runs += [
            record(claim, "distilled", seed, top1=x + gain + 0.1 * seed * (-1) ** seed)
            for seed, x in enumerate(ALONE)
        ]
    return rows_of(build_frame([paper], runs, "mini"))


def test_rows_are_counted_by_their_verdicts(rows):
    found = power_of(rows)
    assert (found.rows, found.decided) == (3, 3)
    assert found.verdicts == {"GAIN": 1, "NO_CHANGE": 1, "LOSS": 1}
    widths = [
        (row["gain_upper"] - row["gain_lower"]) / 2
        for row in rows
        if row["main"] and row["gain_lower"] is not None
    ]
    assert found.half_width == pytest.approx(statistics.median(widths))


def test_a_teacher_below_its_student_shows_in_the_least_lead(rows):
    found = power_of(rows)
    assert (found.pairs, found.ahead, found.closest) == (1, 0, "resnet34 → resnet18")
    assert found.least_lead == pytest.approx(-0.5)


def test_a_lead_is_that_of_the_student_with_most_seeds(rows):
    (row,) = [row for row in rows if row["claim"] == "tiny-kd" and row["main"]]
    few = row | {"student_n": 1, "student_mean": row["teacher_measured"] - 9.0}
    for both in ([few, row], [row, few]):
        assert power_of(both).least_lead == pytest.approx(-0.5)


def test_a_network_that_teaches_its_own_kind_is_no_pair(rows):
    itself = [row | {"teacher": row["student"]} for row in rows]
    assert (power_of(itself).pairs, power_of(itself).least_lead) == (0, None)
    assert power_of([*rows, *itself]).pairs == 1


def test_one_series_of_two_claims_is_one_row(paper, record):
    runs = [record(["tiny-base", "tiny-kd"], "student", seed, top1=x) for seed, x in enumerate(ALONE)]
    both = ["tiny-kd", "tiny-plus"]
    runs += [record(both, "student", seed, top1=x) for seed, x in enumerate(ALONE)]
    runs += [record(both, "distilled", seed, top1=x + 5) for seed, x in enumerate(ALONE)]
    assert power_of(rows_of(build_frame([paper], runs, "mini"))).rows == 1


def test_without_runs_there_is_nothing_to_tell(paper):
    found = power_of(rows_of(build_frame([paper], [], "mini")))
    assert (found.rows, found.decided, found.half_width, found.least_lead) == (0, 0, None, None)


def test_a_training_takes_the_median_of_its_seeds_and_one_without_records_is_only_counted():
    plan = make_plan([find_claim("mgd-resnet18")[1]], "mini", 3)
    students = [run for run in plan.runs.values() if run.arm == "student"]
    (teacher,) = (run for run in plan.runs.values() if run.arm == "teacher")

    def record(run, hours, status="finished"):
        return record_of(run, status, Provenance(), metrics={"top1": 50.0}, timings={"wall": 3600 * hours})

    records = [record(run, hours) for run, hours in zip(students, (1.0, 9.0, 2.0), strict=True)]
    records += [record(teacher, 5.0), record(teacher, 90.0, status="failed")]
    one_seed = make_plan([find_claim("mgd-resnet18")[1]], "mini", 1).runs.values()
    found = seed_time(one_seed, records)
    assert (found.trainings, found.recorded) == (3, 2)
    assert found.core_hours == pytest.approx(7.0)
