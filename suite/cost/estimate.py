"""Estimates the hours of a training: device-seconds per image times the number of images that it sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from suite.contract import ComposedRecipe
from suite.cost.measured import MeasuredSteps
from suite.paths import REFERENCE
from suite.planning.plan import Plan, Run
from suite.published.training_costs import Schedule, load_costs
from suite.store.record import Record
from suite.store.records import read_all

Basis = Literal["measured", "published", "estimated", "unknown", "released"]

FORWARD_OF_STEP = 1 / 3
"""Assumed cost of a teacher's forward pass, as a fraction of its own training step.

The backward pass of a network takes about twice the computation of its forward pass (arXiv 2001.08361,
section 2.1), so a step costs about three forward passes. A distilled step is assumed to cost the student's
own step plus this, on embedded data in the first epoch alone (`tasks.distillation.teacher_memory`); the cost
of the loss itself is not counted, with or without a teacher.
"""


@dataclass(frozen=True)
class Cost:
    """What one training costs from its first step to its last.

    Attributes:
        hours: GPU-hours, or core-hours of a CPU; None if unknown.
        basis: where the number comes from.
        source: the records or tables behind it; for an unknown cost, what is missing.
        how: how the number is derived from the source; None if it is given there directly.
    """

    hours: float | None
    basis: Basis
    source: str
    how: str | None = None


@dataclass(frozen=True)
class _Step:
    """The cost of a training step per image.

    Attributes:
        seconds: device-seconds per image.
        basis: as in `Cost`; likewise `source` and `how`.
        images: number of images that recorded runs saw; None if the step is not from records.
    """

    seconds: float
    basis: Basis
    source: str
    how: str | None = None
    images: float | None = None


class _NotOnFileError(Exception):
    """A number that a cost would be derived from is not in any file; the message names it."""


class Estimator:
    """Estimates the cost of trainings from records and published step times."""

    def __init__(self, records: Iterable[Record], reference: Iterable[Record] = ()) -> None:
        """Groups the records by training.

        Args:
            records: the user's own.
            reference: records shipped with the project, used after the user's own and only for embedded data.
        """
        self._published = load_costs()
        self._measured = {
            "finished runs": MeasuredSteps(records),
            "the reference records": MeasuredSteps(record for record in reference if not record.comparable),
        }

    def cost(self, run: Run, plan: Plan) -> Cost:
        """The cost of one run of a plan, whether or not it has been executed already."""
        recipe = run.recipe
        if not run.trains:
            return Cost(0.0, "released", "checkpoints that are scored, not trained")
        try:
            if step := self._timed(recipe):
                images = step.images
            else:
                teacher = plan.runs[run.teacher].recipe if run.teacher else None
                step = self._distilled(recipe, teacher) if recipe.method else self._alone(recipe)
                images = self._scheduled_images(recipe) if recipe.scale == "published" else step.images
        except _NotOnFileError as missing:
            return Cost(None, "unknown", str(missing))
        assert images is not None  # a step on embedded data is recorded, or follows from one that is
        return Cost(step.seconds * images / 3600, step.basis, step.source, step.how)

    def _timed(self, recipe: ComposedRecipe) -> _Step | None:
        """The measured step of finished runs of the same training; None if there are none."""
        for whose, steps in self._measured.items():
            if found := steps.find(recipe):
                source = f"seconds a step of {whose} on {found.devices}"
                return _Step(found.seconds, "measured", source, images=found.images)
        return None

    def _alone(self, recipe: ComposedRecipe) -> _Step:
        """The step of a model that is trained alone.

        Raises:
            _NotOnFileError: it is neither recorded nor published.
        """
        if timed := self._timed(recipe):
            return timed
        name = recipe.student.name
        if recipe.scale != "published":
            raise _NotOnFileError(f"no finished run of {name} in this profile on a CPU")
        figure = self._published.figures.get(name)
        if figure is None:
            raise _NotOnFileError(f"no published training step of {name}")
        benchmark = self._published.benchmarks[figure.benchmark]
        seconds = figure.device_seconds(benchmark)
        if figure.scaled is None:
            return _Step(seconds, "published", str(benchmark))
        this, other = figure.scaled.this, figure.scaled.other
        reason = f"{figure.scaled.by}; {figure.scaled.source}"
        how = f"the step of {figure.of} times {this:g}/{other:g} ({reason})"
        return _Step(seconds * this / other, "estimated", str(benchmark), how)

    def _distilled(self, recipe: ComposedRecipe, teacher_recipe: ComposedRecipe | None) -> _Step:
        """The estimated step of a distilled training that was not measured; see `FORWARD_OF_STEP`.

        Raises:
            _NotOnFileError: the step of one of its models is neither recorded nor published.
        """
        student = self._alone(recipe.model_copy(update={"teacher": None, "method": None}))
        if teacher_recipe is None:
            how = _joined("the student's step; the cost of the loss is not counted", student.how)
            return _Step(student.seconds, "estimated", student.source, how, student.images)
        teacher = self._alone(teacher_recipe)
        how = "the student's step plus a third of the teacher's training step for its forward pass"
        epochs = 1
        if recipe.scale == "embedded":
            epochs = recipe.schedule["train_cfg"]["max_epochs"]
            how += ", in the first epoch"
        return _Step(
            seconds=student.seconds + FORWARD_OF_STEP / epochs * teacher.seconds,
            basis="estimated",
            source=_joined(student.source, teacher.source),
            how=_joined(how, student.how, teacher.how),
            images=student.images,
        )

    def _scheduled_images(self, recipe: ComposedRecipe) -> float:
        """Number of images that a training with the published protocol sees, repeats included.

        Raises:
            _NotOnFileError: the schedule or the size of the data set is not in any file.
        """
        student, data = recipe.student, recipe.data
        if not data.images:
            raise _NotOnFileError(f"no number of training images for {data.name}")
        if (schedule := self._published.schedules.get(student.zoo)) is None:
            raise _NotOnFileError(f"no schedule of {student.zoo}")
        epochs, iterations, batch = _overridden(schedule, recipe)
        if epochs is not None:
            return float(epochs * data.images["train"])
        if iterations is None or batch is None:
            raise _NotOnFileError(f"no batch size for the iterations of {student.name}")
        return float(iterations * batch * recipe.devices)


def _overridden(schedule: Schedule, recipe: ComposedRecipe) -> tuple[int | None, int | None, int | None]:
    """Epochs or iterations, and images per step and device, as far as the zoo and the recipe specify them.

    The recipe's changes are applied in the order in which an adapter merges them.
    """
    epochs, iterations, batch = schedule.epochs, schedule.iterations, schedule.batch
    of_method = recipe.method.config if recipe.method else {}
    for layer in (recipe.schedule, recipe.student.config, of_method):
        train = layer.get("train_cfg") or {}
        if "max_epochs" in train:
            epochs, iterations = train["max_epochs"], None
        if "max_iters" in train:
            epochs, iterations = None, train["max_iters"]
        batch = (layer.get("train_dataloader") or {}).get("batch_size", batch)
    return epochs, iterations, batch


def _joined(*parts: str | None) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))


def run_costs(plan: Plan, records: Iterable[Record]) -> dict[str, Cost]:
    """The cost of every run of a plan.

    Args:
        plan: the plan.
        records: the user's own; reference records are read here if needed.

    Returns:
        Run id -> cost of the whole training, whether or not it is finished.

    Raises:
        SuiteError: a reference record or the file of published costs is damaged.
    """
    embedded = any(run.recipe.scale == "embedded" for run in plan.runs.values())
    estimator = Estimator(records, read_all(REFERENCE / "records") if embedded else ())
    return {run_id: estimator.cost(run, plan) for run_id, run in plan.runs.items()}
