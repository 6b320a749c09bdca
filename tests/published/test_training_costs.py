"""``training_costs.yaml``: held against the zoos' configs and our models, and refused where it is wrong."""

from __future__ import annotations

import pytest

from suite.cost import load_costs
from suite.errors import SuiteError
from suite.published.finding import load_papers
from suite.published.models import load_models
from tests.cost.conftest import plan_of


def test_every_schedule_is_that_of_the_zoos_config():
    from tasks.adapters.base import zoo_config

    for name, schedule in load_costs().schedules.items():
        config = zoo_config(name)
        if schedule.epochs:
            assert config.train_cfg["max_epochs"] == schedule.epochs, name
        else:
            assert config.train_cfg["max_iters"] == schedule.iterations, name
            assert config.train_dataloader.batch_size == schedule.batch, name


def test_every_published_recipe_has_a_schedule_and_every_figure_a_model():
    judged = [claim.id for paper in load_papers().values() for claim in paper.claims if claim.judged]
    plan = plan_of(*judged)
    known = load_costs()
    trained = [run.recipe for run in plan.runs.values() if "checkpoint" not in run.recipe]
    assert {recipe.student.zoo for recipe in trained} <= set(known.schedules)
    assert set(known.figures) <= set(load_models())


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
