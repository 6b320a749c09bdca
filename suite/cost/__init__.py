"""Estimates the cost of a plan before anything is trained, and what a budget of hours buys.

The hours are those of the training steps: GPU-hours for the published protocol, core-hours of a CPU for
embedded data. Evaluation and waiting are extra. For every training the first available of these bases is
used, and reported:

- **measured** (`suite.cost.measured`): the seconds per step of finished runs of the same recipe, on a GPU for
  the published protocol and on a CPU for embedded data. Hyper-parameters of a method and the seed may differ,
  since they do not change the duration of a step. The user's own records come first; for embedded data the
  reference records of this project are used too.
- **published** (`suite.published.training_costs`): the step time that a model zoo prints for the model, times
  the number of steps of the recipe (``baselines/training_costs.yaml``).
- **estimated** (`suite.cost.estimate`): a published step time of another model, scaled by the ratio of two
  numbers that one source prints for both; and every distilled training without a measurement, from the step
  times of its models.
- **unknown**: none of these. No number is made up; such trainings are only counted.

A released teacher is scored and not trained, so it costs nothing here.

`suite.cost.totals` adds up the trainings by claim and paper, `suite.cost.needs` lists the data sets, weights
and disk space that they need, and `suite.cost.budget` picks the claims on which a number of hours is best
spent.
"""

from suite.cost.budget import Choice, chance_to_show, choose
from suite.cost.estimate import Cost, Estimator, run_costs
from suite.cost.needs import (
    NeededBackbone,
    NeededData,
    TeacherWeights,
    free_gigabytes,
    needed_backbones,
    needed_data,
    needed_teachers,
)
from suite.cost.totals import PlanCost, cost_of, in_words, unit
from suite.published.training_costs import load_costs

__all__ = [
    "Choice",
    "Cost",
    "Estimator",
    "NeededBackbone",
    "NeededData",
    "PlanCost",
    "TeacherWeights",
    "chance_to_show",
    "choose",
    "cost_of",
    "free_gigabytes",
    "in_words",
    "load_costs",
    "needed_backbones",
    "needed_data",
    "needed_teachers",
    "run_costs",
    "unit",
]
