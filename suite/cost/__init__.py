"""What a plan costs before anything is trained, and what a budget of hours buys.

The hours are those of the training steps: GPU-hours where the published protocol is followed, hours of one
CPU core where the data are embedded. Evaluation and waiting come on top. For every training the first of
these that exists is taken, and said:

- **measured** (`suite.cost.measured`): the seconds a step of finished runs of the same recipe, on a GPU for
  the published protocol and on a CPU for embedded data. Hyper-parameters of a method and the seed may differ:
  they change no step's duration. One's own records come first; for embedded data the reference records of
  this project count too.
- **published** (`suite.published.training_costs`): the step that a model zoo prints for the model, times the
  steps of the recipe (``baselines/training_costs.yaml``).
- **estimated** (`suite.cost.estimate`): a published step of another model, scaled by two numbers that one
  source prints for both; and every distilled training that nobody has timed, from those of its models.
- **unknown**: none of these. No number is made up; such trainings are counted.

A released teacher is scored and not trained: it costs nothing here.

`suite.cost.totals` adds the trainings up by claim and paper, `suite.cost.needs` tells the data sets, weights
and disk space that go with them, and `suite.cost.budget` picks the claims that a number of hours is best
spent on.
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
