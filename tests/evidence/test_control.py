"""The A/A control: it raises an alarm as often as it should, and where something is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from suite.evidence import control
from suite.evidence.control import (
    StudentAlone,
    students_alone,
)
from suite.evidence.gathered import measured_arms
from suite.verdicts import judge_gains_together


def null_comparisons(students: Any) -> list[Any]:
    """The comparisons, whose intervals are there."""
    return list(control.null_comparisons(students))


def false_alarms(comparisons: Any) -> Any:
    """The count, which is there unless a test says that it is not."""
    return control.false_alarms(comparisons)


def student(name: str, values: list[float], task: str = "detection", metric: str = "box_AP") -> StudentAlone:
    return StudentAlone(name, task, metric, name, dict(enumerate(values)))


def drawn(count: int, seeds: int = 6, shift: float = 0.0) -> list[StudentAlone]:
    """Students whose seeds differ by chance alone, but for a planted shift of the later half."""
    random = np.random.default_rng(5)
    noise = random.normal(40, 2, (count, seeds))
    noise[:, seeds // 2 :] += shift
    return [student(str(number), list(row)) for number, row in enumerate(noise)]


def test_six_seeds_make_one_comparison_of_the_later_three_over_the_first():
    values = [10.0, 12.0, 11.0, 15.0, 14.0, 19.0]
    (found,) = null_comparisons([student("one", values)])
    assert found.seeds == ((3, 4, 5), (0, 1, 2))
    assert found.judged == judge_gains_together({"one": [5.0, 2.0, 8.0]}, 2.0)["one"]
    assert found.excludes_zero == (found.judged.lower > 0)


@pytest.mark.parametrize(("seeds", "comparisons"), [(5, 0), (6, 1), (11, 1), (12, 2)])
def test_each_seed_counts_once(seeds, comparisons):
    assert len(null_comparisons(drawn(1, seeds))) == comparisons


def test_students_of_one_task_share_their_noise_and_no_other():
    detectors = drawn(4)
    other = student("wild", [0.0, 90.0, 10.0, 80.0, 5.0, 70.0], "classification", "top1")
    beside = null_comparisons([*detectors, other])
    assert [found.judged for found in beside[:4]] == [found.judged for found in null_comparisons(detectors)]
    assert beside[0].judged.df > 2


@pytest.mark.slow
def test_about_one_in_ten_is_a_false_alarm_where_nothing_was_done():
    found = false_alarms(null_comparisons(drawn(3000)))
    assert found.share == pytest.approx(0.10, abs=0.02)


def test_a_planted_effect_is_found_in_every_student():
    found = false_alarms(null_comparisons(drawn(20, shift=20.0)))
    assert (found.excluding, found.comparisons) == (20, 20)
    assert found.p_value < 1e-15


def test_the_share_has_its_exact_interval_and_p_value():
    comparisons = null_comparisons([*drawn(8), *drawn(2, shift=30.0)])
    found = false_alarms(comparisons)
    k, n = found.excluding, found.comparisons
    assert (n, 2 <= k < n) == (10, True)
    assert found.lower == pytest.approx(stats.beta.ppf(0.025, k, n - k + 1))
    assert found.upper == pytest.approx(stats.beta.ppf(0.975, k + 1, n - k))
    assert found.p_value == pytest.approx(stats.binom.sf(k - 1, n, 0.1))


def test_without_six_seeds_there_is_nothing_to_count():
    assert false_alarms(null_comparisons(drawn(3, seeds=4))) is None


def test_a_student_of_several_claims_is_one(paper, record):
    runs = [record(["tiny-base", "tiny-kd", "tiny-plus"], "student", seed, top1=60.0) for seed in range(6)]
    (found,) = students_alone(paper.claims, measured_arms(runs, "mini"))
    assert (found.name, found.metric, len(found.by_seed)) == ("resnet18", "top1", 6)


def test_published_data_are_no_part_of_the_control(paper, record):
    runs = [record("tiny-base", "student", seed, top1=60.0, profile="paper") for seed in range(6)]
    assert students_alone(paper.claims, measured_arms(runs, "paper")) == []
