"""Points of the history: derived from finished records, each for the rows whose own number it is."""

from __future__ import annotations

import datetime

import pytest

from suite.evidence.points import night_of, points_of, rows_of

CLAIM, STUDENT = "nkd-resnet18-nkd", "nkd-resnet18-student"


def test_every_metric_of_a_finished_run_is_a_point_with_what_it_was_measured_on(record):
    run = record(
        CLAIM,
        "distilled",
        2,
        top1=71.5,
        top5=90.0,
        repetition=1,
        timings={"seconds_per_step": 0.25, "peak_memory_mib": 900.0},
        provenance={"commit": "a" * 40, "gpu": "NVIDIA H100", "packages": {"torch": "2.10.0"}},
        protocol={"devices": 8},
    )
    top1, top5 = points_of([run])
    assert (top1.metric, top1.value, top5.metric, top5.value) == ("top1", 71.5, "top5", 90.0)
    assert (top1.subject, top1.arm, top1.run_id, top1.seed, top1.repetition) == (
        *(CLAIM, "distilled"),
        *(run.run_id, 2, 1),
    )
    assert (top1.claimed, top1.n) == (71.96, 1)
    assert (top1.seconds_per_step, top1.peak_memory_mib) == (0.25, 900.0)
    assert (top1.commit, top1.packages) == ("a" * 40, {"torch": "2.10.0"})
    assert top1.hardware == ("NVIDIA H100", 8)
    assert top1.night == datetime.date(2026, 10, 31)  # ten in the morning


def test_a_run_is_a_point_of_the_claims_whose_own_number_it_is(record):
    teacher = record(CLAIM, "teacher", 0, top1=73.0)
    assert rows_of(teacher) == []
    alone = record([STUDENT, CLAIM], "student", 0, top1=69.0)
    assert [row.subject for row, _ in rows_of(alone)] == [STUDENT]


def test_a_released_teacher_is_a_row_with_the_accuracy_of_its_zoo(record):
    run = record(
        CLAIM,
        "teacher",
        0,
        top1=73.6,
        profile="paper",
        identity={"checkpoint": {"sha256": "f257d4e6"}},
        recipe={"task": "classification", "student": {"name": "resnet34"}},
    )
    (point,) = points_of([run])
    assert (point.subject, point.arm, point.checkpoint, point.claimed) == (
        *("resnet34", "released"),
        *("f257d4e6", 73.62),
    )


@pytest.mark.parametrize(
    ("time", "night"),
    [
        ("2026-11-26T20:00:00+00:00", "2026-11-26"),
        ("2026-11-27T03:00:00Z", "2026-11-26"),
        ("2026-11-27T11:59:59+00:00", "2026-11-26"),
        ("2026-11-27T12:00:00+00:00", "2026-11-27"),
        ("2026-11-27T13:00:00+02:00", "2026-11-26"),
    ],
)
def test_a_night_goes_from_noon_to_noon(time, night):
    assert night_of(time).isoformat() == night
