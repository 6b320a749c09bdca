"""The A/A control: it raises an alarm as often as it should, and where something is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from suite.evidence import control
from suite.evidence.control import EPOCHS, StudentAlone, planted_effects, students_alone
from suite.evidence.gathered import measured_arms
from suite.planning.composing import compose
from suite.published.finding import find_claim
from suite.published.recipes import Recipe
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


PLANTED_IN = "nkd-resnet18-student"
OWN = [60.0, 61.0, 60.5]


def epochs() -> int:
    """How many the recipe has; an even number, so that it has a half."""
    own: int = compose(Recipe(task="classification", student="resnet18"), "mini").schedule["train_cfg"][
        "max_epochs"
    ]
    assert own % 2 == 0
    return own


@pytest.fixture
def trained(seeds):
    """Runs of a student alone, as its recipe has it or for so many epochs."""

    def make(values: list[float], override: str | None = None):
        entry = {"claim": PLANTED_IN, "arm": "student", "variant": (override,) if override else ()}
        return seeds(PLANTED_IN, "student", top1=values, claims=[entry], recipe_version=override)

    return make


def effects(*runs):
    claim = find_claim(PLANTED_IN)[1]
    return planted_effects([claim], measured_arms([run for group in runs for run in group], "mini"), "mini")


def test_twice_the_schedule_has_to_be_a_gain_and_half_of_it_a_loss(trained):
    longer, shorter = (f"{EPOCHS}{count}" for count in (epochs() * 2, epochs() // 2))
    found = effects(trained(OWN), trained([65.0, 66.5, 65.4], longer), trained([50.0, 51.2, 50.4], shorter))
    assert [(effect.times, effect.expected, effect.is_found) for effect in found] == [
        (2.0, "GAIN", True),
        (0.5, "LOSS", True),
    ]
    together = judge_gains_together({"longer": [5.0, 5.5, 4.9], "shorter": [-10.0, -9.8, -10.1]}, 1.0)
    for effect, gain in zip(found, together.values(), strict=True):
        assert (effect.judged.gain, effect.judged.df) == pytest.approx((gain.gain, gain.df))


def test_an_effect_that_does_not_come_out_is_not_found(trained):
    (found,) = effects(trained(OWN), trained([60.5, 60.0, 61.2], f"{EPOCHS}{epochs() * 2}"))
    assert (found.expected, found.is_found) == ("GAIN", False)
    (turned,) = effects(trained(OWN), trained([50.0, 51.0, 50.5], f"{EPOCHS}{epochs() * 2}"))
    assert (turned.judged.verdict, turned.is_found) == ("LOSS", False)


@pytest.mark.parametrize(
    ("values", "override"),
    [
        ([65.0, 66.0], "{twice}"),
        ([65.0, 66.0, 65.5], "{once}"),
        ([65.0, 66.0, 65.5], "many"),
    ],
    ids=["two-seeds", "not-twice", "no-number"],
)
def test_what_plants_no_effect_is_left_out(trained, values, override):
    count = override.format(twice=epochs() * 2, once=epochs() + 1)
    assert effects(trained(OWN), trained(values, EPOCHS + count)) == []


def test_other_overrides_plant_nothing(trained):
    other = trained([65.0, 66.0, 65.5], "student.embedded.overrides.backbone.depth=34")
    assert effects(trained(OWN), other) == []
    assert effects(trained([65.0, 66.0, 65.5], f"{EPOCHS}{epochs() * 2}")) == []
