"""Stored trajectories: written and read as they are, and left at the step where a loss is another."""

from __future__ import annotations

import pytest

from suite.errors import SuiteError
from suite.evidence.trajectories import (
    STEPS,
    TOLERANCE,
    file_of,
    left_at,
    read_trajectories,
    trajectory_of,
    write_trajectories,
)
from suite.paths import ROOT
from suite.published.finding import claims_by_id
from tests.evidence.conftest import losses


def test_a_table_is_read_as_it_was_written_and_short_trainings_have_fewer_steps(tmp_path):
    path = tmp_path / "trajectories" / "cpu.csv"
    assert read_trajectories(path) == {}
    stored = {"b variant=1": trajectory_of(losses(12)), "a": trajectory_of(losses())}
    write_trajectories(path, stored)
    assert read_trajectories(path) == stored
    assert path.read_text().splitlines()[:2] == [
        "row,loss,step 1,step 2,step 5,step 10,step 20,step 50",
        "a,loss_cls,4,2,0.8,0.4,0.2,0.08",
    ]
    assert [len(values) for values in stored["b variant=1"].values()] == [4, 4]
    before = path.read_bytes()
    write_trajectories(path, read_trajectories(path))
    assert path.read_bytes() == before


def test_our_own_table_is_read_and_names_claims_that_are_distilled():
    claims = claims_by_id()
    for row, losses_by_name in read_trajectories(file_of(ROOT / "results", "cpu")).items():
        assert claims[row].kind.arm == "distilled"
        assert {len(values) for values in losses_by_name.values()} == {len(STEPS)}


@pytest.mark.parametrize("step", STEPS)
def test_it_is_left_at_the_first_step_outside_of_the_tolerance(step):
    stored = trajectory_of(losses())
    within, outside = 1 - TOLERANCE[step] / 2, 1 - TOLERANCE[step] * 1.5
    only_here = losses()
    only_here[step - 1] = {name: value * within for name, value in only_here[step - 1].items()}
    assert left_at(stored, trajectory_of(only_here)) == 0
    only_here[step - 1] = {name: value * outside for name, value in only_here[step - 1].items()}
    assert left_at(stored, trajectory_of(only_here)) == step


def test_another_loss_and_another_length_differ():
    stored = trajectory_of(losses())
    assert left_at(stored, trajectory_of([{"loss_cls": 4.0}])) == 1
    assert left_at(stored, trajectory_of([step | {"loss_mgd": 1.0} for step in losses()])) == 1
    assert left_at(stored, trajectory_of(losses(12))) == 20
    assert left_at(stored, trajectory_of(losses(s11=float("nan")))) == 20
    assert left_at(stored, {}) == 1


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("step 1,", "first,", ":1: not a trajectory .the headings"),
        ("a,loss_cls,4", "a,loss_cls,four", ":2: not a trajectory .*four"),
        ("a,loss_cls,", "a\na,loss_cls,", ":2: not a trajectory"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(tmp_path, before, after, message):
    path = tmp_path / "cpu.csv"
    write_trajectories(path, {"a": trajectory_of(losses())})
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(SuiteError, match=r"cpu\.csv" + message):
        read_trajectories(path)
