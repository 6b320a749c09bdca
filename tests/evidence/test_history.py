"""The history: derived from records, appended once, whole after a crash."""

from __future__ import annotations

import datetime
import os

import pytest

from suite.errors import SuiteError
from suite.evidence import history
from suite.evidence.history import append_missing, night_of, points_of, read_history, rows_of

CLAIM, STUDENT = "nkd-resnet18-nkd", "nkd-resnet18-student"


@pytest.fixture
def three(record):
    """Three finished runs of one claim, one night after the other, and one that failed."""
    runs = [
        record(CLAIM, "distilled", seed, top1=71.0 + seed, finished_at=f"2026-11-0{seed + 1}T23:00:00+00:00")
        for seed in range(3)
    ]
    return [*runs, record(CLAIM, "distilled", 3, status="failed", error="it broke")]


def test_every_metric_of_a_finished_run_is_a_point_with_what_it_was_measured_on(record, tmp_path):
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
    found = append_missing(tmp_path / history.FILE, [run])
    assert found.points == found.fresh == read_history(tmp_path / history.FILE)
    top1, top5 = found.points
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


def test_points_are_appended_once_and_in_the_order_of_time(three, tmp_path):
    path = tmp_path / history.FILE
    first = append_missing(path, three[:1])
    before = path.read_bytes()
    second = append_missing(path, three)
    assert [point.n for point in second.points] == [1, 2, 3]
    assert path.read_bytes().startswith(before)
    assert (len(first.fresh), len(second.fresh), append_missing(path, three).fresh) == (1, 2, [])
    # A point outlives its record.
    assert len(append_missing(path, []).points) == 3


@pytest.mark.parametrize("torn", [1, 20, 300])
def test_a_torn_last_line_is_noticed_and_its_point_comes_again(three, tmp_path, torn):
    path = tmp_path / history.FILE
    whole = append_missing(path, three).points
    content = path.read_bytes()
    path.write_bytes(content[:-torn])
    assert len(read_history(path)) == 2
    again = append_missing(path, three)
    assert again.torn
    assert again.points == whole
    assert path.read_bytes() == content
    assert not append_missing(path, three).torn


def test_a_point_whose_line_break_alone_is_lost_stays_without_its_record(three, tmp_path):
    path = tmp_path / history.FILE
    whole = append_missing(path, three).points
    path.write_bytes(path.read_bytes()[:-1])
    assert append_missing(path, []).points == whole


def test_a_full_disk_leaves_the_history_as_it_was(three, tmp_path, monkeypatch):
    path = tmp_path / history.FILE
    append_missing(path, three[:1])
    before = path.read_bytes()

    def refuse(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        append_missing(path, three)
    assert path.read_bytes() == before


def test_a_damaged_line_is_refused_by_its_number(three, tmp_path):
    path = tmp_path / history.FILE
    append_missing(path, three)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"value":', b'"worth":')
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    with pytest.raises(SuiteError, match=r"history\.jsonl:2: no point of a history .*restore that line"):
        append_missing(path, three)
    assert path.read_bytes() == before


def test_nothing_is_appended_through_a_link(three, tmp_path):
    target = tmp_path / "elsewhere"
    target.write_text("mine")
    (tmp_path / history.FILE).symlink_to(target)
    with pytest.raises(SuiteError, match="symbolic link"):
        append_missing(tmp_path / history.FILE, three)
    assert target.read_text() == "mine"


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
