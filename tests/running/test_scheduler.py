"""The order of runs: for any plan, places and failures, without a process."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.running.scheduler import Scheduler


@st.composite
def plans(draw: st.DrawFn) -> dict[str, list[str]]:
    """Runs with up to two others that they need, any number of levels deep; some have finished long ago."""
    needs: dict[str, list[str]] = {}
    for number in range(draw(st.integers(0, 12))):
        known = st.sampled_from(["finished before", *needs])
        needs[f"run{number}"] = draw(st.lists(known, max_size=2, unique=True))
    return needs


def ancestors(run_id: str, needs: dict[str, list[str]]) -> set[str]:
    found = set(needs.get(run_id, ()))
    return found.union(*(ancestors(needed, needs) for needed in found))


@settings(deadline=None)
@given(plans(), st.one_of(st.none(), st.integers(1, 4)), st.data())
def test_every_run_ends_once_after_all_that_it_needs_or_is_blocked_by_a_failure(needs, places, data):
    scheduler = Scheduler(needs, places)
    running: list[str] = []
    finished: list[str] = []
    failed: set[str] = set()
    blocked: dict[str, str] = {}
    set_aside: set[str] = set()
    while not scheduler.done:
        while (run_id := scheduler.next()) is not None:
            assert run_id not in running + finished + list(blocked)
            assert {"finished before", *finished}.issuperset(needs[run_id])
            running.append(run_id)
        # None stands still while there is a place and something that may start.
        assert running
        assert places is None or len(running) <= places
        free = places is None or len(running) < places
        waits = scheduler.waits_for
        done = {"finished before", *finished}
        assert all(waits[run_id] == [one for one in needs[run_id] if one not in done] for run_id in waits)
        idle = set(needs) - set(running) - set(finished) - failed - set(blocked)
        assert idle == set(waits) if free else idle >= set(waits)
        assert scheduler.held_up == (not free and bool(idle - set(waits) - set_aside))
        ending = data.draw(st.sampled_from(running))
        running.remove(ending)
        if scheduler.held_up and data.draw(st.booleans()):
            scheduler.set_aside(ending)
            set_aside.add(ending)
        elif data.draw(st.booleans()):
            scheduler.finished(ending)
            finished.append(ending)
        else:
            failed.add(ending)
            blocked |= scheduler.failed(ending)
    assert sorted([*finished, *failed, *blocked]) == sorted(needs)
    for run_id in needs:
        assert (run_id in blocked) == bool(failed.intersection(ancestors(run_id, needs)))
    for run_id, missing in blocked.items():
        assert missing in needs[run_id]
        assert missing in failed | set(blocked)


def test_runs_start_in_the_order_of_the_plan_and_a_place_is_not_kept_for_one_that_waits():
    scheduler = Scheduler({"teacher": [], "distilled": ["teacher"], "student": [], "other": []}, 2)
    assert [scheduler.next(), scheduler.next(), scheduler.next()] == ["teacher", "student", None]
    assert scheduler.waits_for == {"distilled": ["teacher"]}
    scheduler.finished("student")
    assert scheduler.next() == "other"
    scheduler.finished("teacher")
    assert scheduler.next() == "distilled"


def test_a_run_set_aside_starts_after_all_that_may_and_what_needs_it_waits():
    scheduler = Scheduler({"teacher": [], "distilled": ["teacher"], "student": [], "other": []}, 1)
    assert [scheduler.next(), scheduler.held_up] == ["teacher", True]
    scheduler.set_aside("teacher")
    assert [scheduler.next(), scheduler.held_up] == ["student", True]
    scheduler.set_aside("student")
    # The others were set aside already, and none of them is more likely to be free.
    assert [scheduler.next(), scheduler.held_up] == ["other", False]
    assert scheduler.waits_for == {"distilled": ["teacher"]}
    scheduler.finished("other")
    assert [scheduler.next(), scheduler.held_up] == ["teacher", False]
    scheduler.finished("teacher")
    assert [scheduler.next(), scheduler.held_up] == ["distilled", False]
    scheduler.finished("distilled")
    assert [scheduler.next(), scheduler.held_up] == ["student", False]
    scheduler.finished("student")
    assert scheduler.done


def test_a_run_starts_behind_its_teacher_and_its_backbone_whichever_ends_last():
    needs = {"backbone": [], "teacher": [], "distilled": ["backbone", "teacher"]}
    for first, last in (("backbone", "teacher"), ("teacher", "backbone")):
        scheduler = Scheduler(needs, None)
        assert [scheduler.next() for _ in range(3)] == ["backbone", "teacher", None]
        scheduler.finished(first)
        assert scheduler.next() is None
        assert scheduler.waits_for == {"distilled": [last]}
        scheduler.finished(last)
        assert scheduler.next() == "distilled"


def test_a_failed_backbone_blocks_what_starts_from_it_though_the_teacher_is_there():
    scheduler = Scheduler({"backbone": [], "teacher": [], "distilled": ["backbone", "teacher"]}, None)
    assert [scheduler.next(), scheduler.next()] == ["backbone", "teacher"]
    scheduler.finished("teacher")
    assert scheduler.failed("backbone") == {"distilled": "backbone"}
    assert scheduler.done


def test_what_a_failure_blocks_is_told_with_the_run_that_is_missing():
    scheduler = Scheduler({"a": [], "b": ["a"], "c": ["b"], "d": []}, None)
    assert [scheduler.next(), scheduler.next()] == ["a", "d"]
    assert scheduler.failed("a") == {"b": "a", "c": "b"}
    assert not scheduler.done
    scheduler.finished("d")
    assert scheduler.done


def test_a_plan_that_could_never_end_is_refused():
    with pytest.raises(ValueError, match="a needs b, which stands behind it"):
        Scheduler({"a": ["b"], "b": []}, 1)
    with pytest.raises(ValueError, match="a needs a, which stands behind it"):
        Scheduler({"a": ["a"]}, 1)
    with pytest.raises(ValueError, match="at least one run, got 0"):
        Scheduler({}, 0)


def test_a_queue_takes_runs_before_what_they_need_has_finished_and_ends_them_itself():
    scheduler = Scheduler({"a": [], "b": ["a"], "c": ["b"], "d": []}, None, queued=True)
    assert [scheduler.next() for _ in range(5)] == ["a", "b", "c", "d", None]
    assert scheduler.failed("a") == {}
    for run_id in "bc":
        assert scheduler.failed(run_id) == {}
    scheduler.finished("d")
    assert scheduler.done
