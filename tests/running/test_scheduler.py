"""The order of runs: for any plan, places and failures, without a process."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.running.scheduler import Scheduler


@st.composite
def plans(draw: st.DrawFn) -> dict[str, str | None]:
    """Runs with their teachers, any number of levels deep; some teachers have finished long ago."""
    teachers: dict[str, str | None] = {}
    for number in range(draw(st.integers(0, 12))):
        teachers[f"run{number}"] = draw(st.sampled_from([None, "finished before", *teachers]))
    return teachers


def ancestors(run_id: str, teachers: dict[str, str | None]) -> list[str]:
    found = []
    while (teacher := teachers.get(run_id)) is not None:
        found.append(teacher)
        run_id = teacher
    return found


@settings(deadline=None)
@given(plans(), st.one_of(st.none(), st.integers(1, 4)), st.data())
def test_every_run_ends_once_after_its_teacher_or_is_blocked_by_a_failure(teachers, places, data):
    scheduler = Scheduler(teachers, places)
    running: list[str] = []
    finished: list[str] = []
    failed: set[str] = set()
    blocked: dict[str, str] = {}
    while not scheduler.done:
        while (run_id := scheduler.next()) is not None:
            assert run_id not in running + finished + list(blocked)
            assert teachers[run_id] in (None, "finished before", *finished)
            running.append(run_id)
        # None stands still while there is a place and something that may start.
        assert running
        assert places is None or len(running) <= places
        free = places is None or len(running) < places
        waits = scheduler.waits_for
        assert all(waits[student] == teachers[student] for student in waits)
        idle = set(teachers) - set(running) - set(finished) - failed - set(blocked)
        assert idle == set(waits) if free else idle >= set(waits)
        ending = data.draw(st.sampled_from(running))
        running.remove(ending)
        if data.draw(st.booleans()):
            scheduler.finished(ending)
            finished.append(ending)
        else:
            failed.add(ending)
            blocked |= scheduler.failed(ending)
    assert sorted([*finished, *failed, *blocked]) == sorted(teachers)
    for run_id in teachers:
        assert (run_id in blocked) == bool(failed.intersection(ancestors(run_id, teachers)))
    for student, teacher in blocked.items():
        assert teachers[student] == teacher
        assert teacher in failed | set(blocked)


def test_runs_start_in_the_order_of_the_plan_and_a_place_is_not_kept_for_one_that_waits():
    scheduler = Scheduler({"teacher": None, "distilled": "teacher", "student": None, "other": None}, 2)
    assert [scheduler.next(), scheduler.next(), scheduler.next()] == ["teacher", "student", None]
    assert scheduler.waits_for == {"distilled": "teacher"}
    scheduler.finished("student")
    assert scheduler.next() == "other"
    scheduler.finished("teacher")
    assert scheduler.next() == "distilled"


def test_what_a_failure_blocks_is_told_with_the_teacher_that_is_missing():
    scheduler = Scheduler({"a": None, "b": "a", "c": "b", "d": None}, None)
    assert [scheduler.next(), scheduler.next()] == ["a", "d"]
    assert scheduler.failed("a") == {"b": "a", "c": "b"}
    assert not scheduler.done
    scheduler.finished("d")
    assert scheduler.done


def test_a_plan_that_could_never_end_is_refused():
    with pytest.raises(ValueError, match="b teaches a and stands behind it"):
        Scheduler({"a": "b", "b": None}, 1)
    with pytest.raises(ValueError, match="a teaches a and stands behind it"):
        Scheduler({"a": "a"}, 1)
    with pytest.raises(ValueError, match="at least one run, got 0"):
        Scheduler({}, 0)


def test_a_queue_takes_runs_before_their_teachers_have_finished_and_ends_them_itself():
    scheduler = Scheduler({"a": None, "b": "a", "c": "b", "d": None}, None, queued=True)
    assert [scheduler.next() for _ in range(5)] == ["a", "b", "c", "d", None]
    assert scheduler.failed("a") == {}
    for run_id in "bc":
        assert scheduler.failed(run_id) == {}
    scheduler.finished("d")
    assert scheduler.done
