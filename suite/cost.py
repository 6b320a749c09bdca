"""What a plan costs before anything is trained, and what a budget of hours buys.

The hours are those of the training steps: GPU-hours where the published protocol is followed, hours of one
CPU core where the data are embedded. Evaluation and waiting come on top. For every training the first of
these that exists is taken, and said:

- **measured**: the seconds a step of finished runs of the same recipe, on a GPU for the published protocol
  and on a CPU for embedded data. Hyper-parameters of a method and the seed may differ: they change no step's
  duration. One's own records come first; for embedded data the reference records of this project count too.
- **published**: the step that a model zoo prints for the model, times the steps of the recipe
  (``baselines/training_costs.yaml``).
- **estimated**: a published step of another model, scaled by two numbers that one source prints for both; and
  every distilled training that nobody has timed, from the steps of its two models (`FORWARD_OF_STEP`).
- **unknown**: none of these. No number is made up; such trainings are counted.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator

from suite import paths
from suite.claims import Claim, load_papers
from suite.errors import did_you_mean
from suite.plan import Plan, Run
from suite.priors import find_prior
from suite.records import Record
from suite.strict_yaml import parse, refuse

Basis = Literal["measured", "published", "estimated", "unknown"]

FORWARD_OF_STEP = 1 / 3
"""What a teacher's forward pass is taken to cost, as a part of its own training step.

The backward pass of a network computes about twice as much as its forward pass (arXiv 2001.08361,
section 2.1), so that a step is about three forward passes. A distilled step is taken as the student's own
step and this; what the loss itself costs is not counted, with or without a teacher.
"""

_CHANCE_BY_LUCK = NormalDist().inv_cdf(0.95)
"""How many of its standard deviations a difference has to be away from zero to count, one-sided at 5 %."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Benchmark(_Strict):
    """A published table of training speeds.

    Attributes:
        source: the document.
        where: its address.
        hardware: the kind of device.
        devices: how many of them trained together.
        batch: images a step, on all devices together; None where images a second are printed.
        note: what a reader must know before adding such hours to others.
    """

    source: str
    where: str
    hardware: str
    devices: PositiveInt
    batch: PositiveInt | None = None
    note: str | None = None

    def __str__(self) -> str:
        batch = f" with {self.batch} images a step" if self.batch else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self.source}, on {self.devices} x {self.hardware}{batch}{note}"


class Scaling(_Strict):
    """How the step of one model is turned into that of another.

    Attributes:
        by: what was measured of both.
        source: who printed it.
        this: the number of the model itself.
        other: the number of the model whose step is published.
    """

    by: str
    source: str
    this: PositiveFloat
    other: PositiveFloat


class Figure(_Strict):
    """The published speed of one model, as it was printed.

    Attributes:
        benchmark: key of the table that prints it.
        seconds_per_step: seconds a training step of the whole batch.
        images_per_second: images that the benchmark's devices train on in a second.
        of: the row of the table, where it is another model's.
        scaled: from that model to this one.
    """

    benchmark: str
    seconds_per_step: PositiveFloat | None = None
    images_per_second: PositiveFloat | None = None
    of: str | None = None
    scaled: Scaling | None = None

    @model_validator(mode="after")
    def _says_one_speed(self) -> Figure:
        if (self.seconds_per_step is None) == (self.images_per_second is None):
            raise ValueError(
                "a figure has seconds_per_step or images_per_second; write the one that is printed"
            )
        if (self.of is None) != (self.scaled is None):
            raise ValueError("'of' and 'scaled' go together; write both or neither")
        return self


class Schedule(_Strict):
    """How long a zoo's config trains.

    Attributes:
        epochs: passes over the training images.
        iterations: steps, where the config counts those.
        batch: images a step on one device, beside `iterations`.
    """

    epochs: PositiveInt | None = None
    iterations: PositiveInt | None = None
    batch: PositiveInt | None = None

    @model_validator(mode="after")
    def _counts_in_one_way(self) -> Schedule:
        if (self.epochs is None) == (self.iterations is None) or bool(self.iterations) != bool(self.batch):
            raise ValueError("a schedule has epochs, or iterations and batch; write one of the two")
        return self


class TrainingCosts(_Strict):
    """The whole of ``training_costs.yaml``.

    Attributes:
        benchmarks: published tables by a name of ours.
        figures: by model.
        schedules: by the zoo's config, ``<package>::<path>``.
    """

    benchmarks: dict[str, Benchmark]
    figures: dict[str, Figure]
    schedules: dict[str, Schedule]


@functools.lru_cache(maxsize=8)
def load_costs(path: Path = paths.BASELINES / "training_costs.yaml") -> TrainingCosts:
    """Reads the published costs; kept for the life of the process.

    Raises:
        SuiteError: the file is missing or breaks the schema, or a figure names a benchmark that is not in it
            or does not say how many images its steps have; with file and line.
    """
    costs = parse(TrainingCosts, path)
    for model, figure in costs.figures.items():
        where = ("figures", model, "benchmark")
        benchmark = costs.benchmarks.get(figure.benchmark)
        if benchmark is None:
            known = did_you_mean(figure.benchmark, costs.benchmarks)
            refuse(path, where, f"there is no benchmark {figure.benchmark!r}; {known}")
        if figure.seconds_per_step and not benchmark.batch:
            refuse(
                path, where, f"{figure.benchmark!r} does not say how many images a step has; add its batch"
            )
    return costs


@dataclass(frozen=True)
class Cost:
    """What one training costs from its first step to its last.

    Attributes:
        hours: GPU-hours, or hours of a CPU core; None where it is unknown.
        basis: where the number comes from.
        source: the records or tables behind it; of an unknown cost, what is missing.
        how: how the number follows from the source; None where it stands there.
    """

    hours: float | None
    basis: Basis
    source: str
    how: str | None = None


@dataclass(frozen=True)
class _Step:
    """Training a model alone: device-seconds an image, and how many images a recorded run has seen."""

    seconds: float
    basis: Basis
    source: str
    how: str | None = None
    images: float | None = None


class _NotOnFileError(Exception):
    """Something that a cost would follow from is on no file; says what."""


class Estimator:
    """Tells what trainings cost, from records and published figures."""

    def __init__(self, records: Iterable[Record], reference: Iterable[Record] = ()) -> None:
        """Sorts the records by what was trained.

        Args:
            records: one's own.
            reference: records that came with the project: they count for embedded data only, after one's own.
        """
        self._costs = load_costs()
        self._own = _by_training(records)
        self._reference = _by_training(record for record in reference if not record.comparable)

    def cost(self, run: Run, plan: Plan) -> Cost:
        """The cost of one run of a plan, whether or not it has been carried out already."""
        recipe = run.recipe
        try:
            measured = self._measured(recipe)
            if measured is not None and measured.images is not None:
                return _as_cost(measured, measured.images)
            if not recipe["method"]:
                return _as_cost(step := self._alone(recipe), self._images(recipe, step))
            return self._distilled(recipe, plan.runs[run.teacher].recipe if run.teacher else None)
        except _NotOnFileError as missing:
            return Cost(None, "unknown", str(missing))

    def _distilled(self, recipe: dict[str, Any], teacher_recipe: dict[str, Any] | None) -> Cost:
        """A distilled training that nobody has timed; see `FORWARD_OF_STEP`."""
        student = self._alone({**recipe, "teacher": None, "method": None})
        images = self._images(recipe, student)
        if teacher_recipe is None:
            how = "the student's step; what the loss adds is not counted"
            return _as_cost(
                _Step(student.seconds, "estimated", student.source, _joined(how, student.how)), images
            )
        teacher = self._alone(teacher_recipe)
        how = "the student's step and a third of the teacher's training step for its forward pass"
        return _as_cost(
            _Step(
                student.seconds + FORWARD_OF_STEP * teacher.seconds,
                "estimated",
                "; ".join(dict.fromkeys([student.source, teacher.source])),
                _joined(how, student.how, teacher.how),
            ),
            images,
        )

    def _alone(self, recipe: dict[str, Any]) -> _Step:
        """The step of a model that is trained alone.

        Raises:
            _NotOnFileError: it is neither recorded nor published.
        """
        name = recipe["student"]["name"]
        if measured := self._measured(recipe):
            return measured
        if recipe["scale"] != "published":
            raise _NotOnFileError(f"no finished run of {name} in this profile on a CPU")
        figure = self._costs.figures.get(name)
        if figure is None:
            raise _NotOnFileError(f"no published training step of {name}")
        return _published_step(figure, self._costs.benchmarks[figure.benchmark])

    def _measured(self, recipe: dict[str, Any]) -> _Step | None:
        """The step of finished runs of this training; the median where there are several."""
        key = _training(recipe)
        for records, whose in ((self._own, "finished runs"), (self._reference, "the reference records")):
            if found := records.get(key):
                seconds = statistics.median(
                    record.timings["seconds_per_step"] * _width(record) / _batch(record) for record in found
                )
                images = statistics.median(record.protocol["iterations"] * _batch(record) for record in found)
                devices = ", ".join(sorted({_device(record) for record in found}))
                return _Step(seconds, "measured", f"seconds a step of {whose} on {devices}", None, images)
        return None

    def _images(self, recipe: dict[str, Any], step: _Step) -> float:
        """How many images a training sees, counted as often as it sees them.

        Raises:
            _NotOnFileError: the schedule or the size of the data set is on no file.
        """
        data = recipe["data"].get("images")
        if data is None:
            if step.images is None:
                raise _NotOnFileError(f"no number of training images for {recipe['data']['name']}")
            return step.images
        zoo = recipe["student"]["zoo"]
        if (schedule := self._costs.schedules.get(zoo)) is None:
            raise _NotOnFileError(f"no schedule of {zoo}")
        epochs, iterations, batch = _overridden(schedule, recipe)
        if epochs is not None:
            return float(epochs * data["train"])
        if iterations is None or batch is None:
            raise _NotOnFileError(f"no batch size for the iterations of {recipe['student']['name']}")
        return float(iterations * batch * recipe.get("devices", 1))


def _as_cost(step: _Step, images: float) -> Cost:
    return Cost(step.seconds * images / 3600, step.basis, step.source, step.how)


def _joined(*parts: str | None) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))


def _published_step(figure: Figure, benchmark: Benchmark) -> _Step:
    """Device-seconds an image, of a printed speed."""
    if figure.seconds_per_step and benchmark.batch:
        seconds = figure.seconds_per_step * benchmark.devices / benchmark.batch
    else:
        seconds = benchmark.devices / (figure.images_per_second or math.nan)
    if figure.scaled is None:
        return _Step(seconds, "published", str(benchmark))
    scaled = figure.scaled
    how = f"the step of {figure.of} times {scaled.this:g}/{scaled.other:g} ({scaled.by}; {scaled.source})"
    return _Step(seconds * scaled.this / scaled.other, "estimated", str(benchmark), how)


def _overridden(schedule: Schedule, recipe: dict[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Epochs or iterations, and images a step on one device, as far as the zoo and the recipe say.

    What the recipe changes is applied in the order in which an adapter merges it.
    """
    epochs, iterations, batch = schedule.epochs, schedule.iterations, schedule.batch
    method = recipe["method"] or {}
    for layer in (recipe["schedule"], recipe["student"].get("config", {}), method.get("config", {})):
        train = layer.get("train_cfg") or {}
        if "max_epochs" in train:
            epochs, iterations = train["max_epochs"], None
        if "max_iters" in train:
            epochs, iterations = None, train["max_iters"]
        batch = (layer.get("train_dataloader") or {}).get("batch_size", batch)
    return epochs, iterations, batch


def _by_training(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records that time a training, by `_training`."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if _is_timed(record):
            found.setdefault(_training(record.recipe), []).append(record)
    return found


def _is_timed(record: Record) -> bool:
    on_gpu = record.provenance.get("device") == "cuda"
    return (
        record.status == "finished"
        and bool(record.recipe)
        and on_gpu == (record.recipe["scale"] == "published")
        and "seconds_per_step" in record.timings
        and {"iterations", "batch_size"} <= record.protocol.keys()
    )


def _training(recipe: Mapping[str, Any]) -> str:
    """What the duration of a training depends on."""
    method = recipe["method"] or {}
    parts = {key: recipe[key] for key in ("profile", "student", "teacher", "data", "schedule")}
    return json.dumps([parts, method.get("name"), method.get("config")], sort_keys=True)


def _width(record: Record) -> int:
    """How many devices, or cores of a CPU, a run was busy on."""
    each = 1 if record.provenance.get("device") == "cuda" else int(record.provenance.get("threads", 1))
    return each * _devices(record)


def _devices(record: Record) -> int:
    return int(record.protocol.get("devices", 1))


def _batch(record: Record) -> int:
    """Images an iteration on all devices; one that only accumulates gradients counts as any other."""
    return int(record.protocol["batch_size"]) * _devices(record)


def _device(record: Record) -> str:
    name = record.provenance.get("gpu") or record.provenance.get("host", {}).get("cpu")
    return str(name or record.provenance.get("device"))


def run_costs(plan: Plan, records: Iterable[Record]) -> dict[str, Cost]:
    """The cost of every run of a plan.

    Args:
        plan: the plan.
        records: one's own; the reference records are read here where they count.

    Returns:
        Run id -> cost of the whole training, whether or not it is finished.

    Raises:
        SuiteError: a reference record or the file of published costs is damaged.
    """
    from suite.records import read_all

    embedded = any(run.recipe["scale"] == "embedded" for run in plan.runs.values())
    reference = read_all(paths.REFERENCE / "records") if embedded else []
    estimator = Estimator(records, reference)
    return {run_id: estimator.cost(run, plan) for run_id, run in plan.runs.items()}


def in_words(hours: float) -> str:
    """Hours with as many decimals as make a difference."""
    if not hours:
        return "0"
    return f"{hours:,.{1 if hours >= 10 else 2 if hours >= 0.1 else 4}f}"


def unit(plan: Plan) -> str:
    """What the hours of a plan are hours of."""
    published = any(run.recipe["scale"] == "published" for run in plan.runs.values())
    return "GPU-hours" if published or plan.profile == "paper" else "CPU core-hours"


@dataclass(frozen=True)
class Sum:
    """Some trainings together.

    Attributes:
        trainings: how many.
        finished: how many of them need not be carried out any more.
        hours: of those that are left and whose cost is known.
        unknown: how many are left whose cost is not known.
    """

    trainings: int
    finished: int
    hours: float
    unknown: int

    def __str__(self) -> str:
        known = self.trainings - self.finished - self.unknown
        if self.unknown and not known:
            return "unknown"
        return in_words(self.hours) + (" + unknown" if self.unknown else "")


@dataclass(frozen=True)
class ClaimCost:
    """What one claim takes.

    Attributes:
        claim: the claim.
        runs: run ids of its trainings.
        shared: how many of them other claims of the plan need too.
        cost: of its trainings as if no other claim were planned.
        bases: where the hours come from.
        data: names of the data sets that they read.
        teacher: the model that teaches, where one does.
    """

    claim: str
    runs: tuple[str, ...]
    shared: int
    cost: Sum
    bases: tuple[Basis, ...]
    data: tuple[str, ...]
    teacher: str | None


@dataclass(frozen=True)
class PlanCost:
    """A plan with what it costs.

    Attributes:
        plan: the plan.
        states: run id -> what is recorded of it.
        runs: run id -> cost of the whole training.
        claims: a row a claim of the plan.
        total: every training of the plan once.
        by_paper: paper id -> its trainings as if no other paper were planned.
    """

    plan: Plan
    states: Mapping[str, str]
    runs: Mapping[str, Cost]
    claims: tuple[ClaimCost, ...]
    total: Sum
    by_paper: Mapping[str, Sum]

    @property
    def saved_between_papers(self) -> int:
        """How many trainings it saves to plan the papers together and not one by one."""
        return sum(paper.trainings for paper in self.by_paper.values()) - self.total.trainings


def cost_of(plan: Plan, states: Mapping[str, str], records: Iterable[Record]) -> PlanCost:
    """What a plan costs, a claim and in total.

    Args:
        plan: the plan.
        states: run id -> what is recorded of it; ``finished`` costs nothing any more.
        records: one's own records.

    Raises:
        SuiteError: a reference record or the file of published costs is damaged.
    """
    costs = run_costs(plan, records)
    needs = _needs(plan)
    users: dict[str, int] = {}
    for run_ids in needs.values():
        for run_id in run_ids:
            users[run_id] = users.get(run_id, 0) + 1
    claims = tuple(
        ClaimCost(
            claim=claim,
            runs=run_ids,
            shared=sum(users[run_id] > 1 for run_id in run_ids),
            cost=_sum(run_ids, costs, states),
            bases=tuple(dict.fromkeys(costs[run_id].basis for run_id in run_ids)),
            data=tuple(dict.fromkeys(plan.runs[run_id].recipe["data"]["name"] for run_id in run_ids)),
            teacher=_teacher_of(run_ids, plan),
        )
        for claim, run_ids in needs.items()
    )
    by_paper: dict[str, Sum] = {}
    for paper in load_papers().values():
        needed = {run_id for claim in paper.claims for run_id in needs.get(claim.id, ())}
        if needed:
            by_paper[paper.id] = _sum(needed, costs, states)
    return PlanCost(plan, states, costs, claims, _sum(plan.runs, costs, states), by_paper)


def _needs(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Claim of the plan -> the runs that it needs."""
    found: dict[str, list[str]] = {claim: [] for claim in plan.planned}
    for run_id, run in plan.runs.items():
        for claim in dict.fromkeys(entry.claim for entry in run.claims):
            if claim in found:
                found[claim].append(run_id)
    return {claim: tuple(run_ids) for claim, run_ids in found.items()}


def _teacher_of(run_ids: Iterable[str], plan: Plan) -> str | None:
    teachers = (plan.runs[run_id].teacher for run_id in run_ids)
    return next((_model(plan.runs[teacher]) for teacher in teachers if teacher), None)


def _model(run: Run) -> str:
    return str(run.recipe["student"]["name"])


def _sum(run_ids: Collection[str], costs: Mapping[str, Cost], states: Mapping[str, str]) -> Sum:
    left = [costs[run_id].hours for run_id in run_ids if states[run_id] != "finished"]
    known = [hours for hours in left if hours is not None]
    return Sum(len(run_ids), len(run_ids) - len(left), sum(known), len(left) - len(known))


@dataclass(frozen=True)
class NeededData:
    """A data set that a plan trains on.

    Attributes:
        name: as `python -m suite data` takes it.
        title: its name in texts.
        gigabytes: its size on the disk; None for embedded data, which take next to none.
        presence: ``absent``, ``unverified`` or ``verified``; ``embedded`` is built on first use.
        obtained: where it comes from.
    """

    name: str
    title: str
    gigabytes: float | None
    presence: Literal["absent", "unverified", "verified", "embedded"]
    obtained: str


def needed_data(plan: Plan) -> list[NeededData]:
    """The data sets of a plan, and whether they are here.

    Raises:
        SuiteError: the file of published data sets is damaged.
    """
    from suite.datasets import presence, read_published

    published = read_published()
    found = []
    for name in sorted({run.recipe["data"]["name"] for run in plan.runs.values()}):
        if name in published:
            dataset = published[name]
            found.append(NeededData(name, dataset.title, dataset.gigabytes, presence(name), dataset.obtained))
        else:
            found.append(NeededData(name, name, None, "embedded", "built on first use"))
    return found


def free_gigabytes(folder: Path) -> float:
    """Free space, in 10^9 bytes, on the disk where a folder lies or would be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


@dataclass(frozen=True)
class TeacherWeights:
    """A teacher that a plan trains, and the checkpoint that would do in its place.

    Attributes:
        model: the teacher.
        run_id: its run in the plan.
        published: whether a checkpoint can be fetched.
        present: whether it has been.
        address: where it lies.
        cost: of the training in the plan.
        finished: whether that training is done.
        only_teaches: whether it serves distilled students alone; otherwise a claim on the model itself needs
            it too, and a checkpoint would not save it.
    """

    model: str
    run_id: str
    published: bool
    present: bool
    address: str | None
    cost: Cost
    finished: bool
    only_teaches: bool

    @property
    def saves(self) -> bool:
        """Whether published weights would save the training."""
        return self.published and self.only_teaches and not self.finished


def teacher_weights(cost: PlanCost) -> list[TeacherWeights]:
    """The teachers of a plan that follows the published protocol; the plan trains each of them.

    Raises:
        SuiteError: the registry of weights is damaged.
    """
    from suite.weights import cached
    from suite.weights import teacher_weights as registered

    teachers = {run.teacher for run in cost.plan.runs.values() if run.teacher}
    roles = {claim.id: claim.role for claim in _claims().values()}
    planned = set(cost.plan.planned)
    found = []
    for run_id, run in cost.plan.runs.items():
        if run_id not in teachers or run.recipe["scale"] != "published":
            continue
        model = _model(run)
        weights = registered(model)
        published = weights is not None and weights.published
        present = weights is not None and published and cached(weights) is not None
        address = weights.address if weights else None
        only_teaches = all(
            entry.arm == "teacher" and roles[entry.claim] != "teacher"
            for entry in run.claims
            if entry.claim in planned
        )
        found.append(
            TeacherWeights(
                model=model,
                run_id=run_id,
                published=published,
                present=present,
                address=address,
                cost=cost.runs[run_id],
                finished=cost.states[run_id] == "finished",
                only_teaches=only_teaches,
            )
        )
    return found


@dataclass(frozen=True)
class Choice:
    """Whether a claim is worth its hours.

    Attributes:
        claim: the claim.
        picked: whether it fits into the budget.
        hours: what it takes beyond the claims picked before it, or, left out, beyond all that were picked;
            None where that is unknown.
        reason: why, in words.
    """

    claim: str
    picked: bool
    hours: float | None
    reason: str


_TURNS = {
    "ours": (0, "the paper's own result"),
    "ablation": (1, "an ablation"),
    "baseline": (2, "a student alone"),
    "teacher": (2, "a teacher alone"),
}
"""Role -> its turn to be picked, and the role in words."""


def choose(cost: PlanCost, budget: float, seeds: int) -> list[Choice]:
    """Picks the claims that fit into a budget, the most informative first.

    Three rules, in this order:

    1. The papers' own results come before ablations, and these before models trained alone, which are arms of
       the others anyway.
    2. Within these, that claim comes next which tells most an hour: its chance to show (`chance_to_show`)
       over the hours that it takes beyond those already picked. An arm that a picked claim needs is paid
       for, and a finished run costs nothing, so that claims which share arms come together.
    3. A claim that does not fit into what is left is passed over, and so is one of whose hours a part is
       unknown.

    Args:
        cost: the plan and its cost.
        budget: hours, in the unit of the plan.
        seeds: runs an arm.

    Returns:
        The picked claims in the order of their picking, then the others.
    """
    claims = _claims()
    needs = {row.claim: row.runs for row in cost.claims}
    shows = {name: chance_to_show(claims[name], claims, seeds) for name in needs}
    paid = {run_id for run_id, state in cost.states.items() if state == "finished"}
    picked: list[Choice] = []
    remaining = budget
    waiting = list(needs)
    for turn in sorted({turn for turn, _ in _TURNS.values()}):
        while True:
            extra = {
                name: hours
                for name in waiting
                if _TURNS[claims[name].role][0] == turn
                and (hours := _extra(needs[name], paid, cost.runs)) is not None
                and hours <= remaining
            }
            if not extra:
                break
            best = max(extra, key=lambda name: (_per_hour(shows[name][0], extra[name]), shows[name][0]))
            why = _why(claims[best], shows[best][1], needs[best], paid)
            picked.append(Choice(best, True, extra[best], why))
            remaining -= extra[best]
            paid.update(needs[best])
            waiting.remove(best)
    return picked + [
        _left_out(name, needs[name], paid, cost.runs, remaining, unit(cost.plan)) for name in waiting
    ]


def _claims() -> dict[str, Claim]:
    return {claim.id: claim for paper in load_papers().values() for claim in paper.claims}


def _per_hour(chance: float, hours: float) -> float:
    return chance / hours if hours else math.inf


def _extra(needs: Iterable[str], paid: set[str], costs: Mapping[str, Cost]) -> float | None:
    """Hours of the runs that are not paid for; None where one is unknown."""
    hours = [costs[run_id].hours for run_id in needs if run_id not in paid]
    return None if None in hours else sum(value for value in hours if value is not None)


def _why(claim: Claim, shows: str, needs: Collection[str], paid: set[str]) -> str:
    known = len(paid.intersection(needs))
    shared = f"; {known} of {len(needs)} trainings finished or paid for already" if known else ""
    return f"{_TURNS[claim.role][1]}; {shows}{shared}"


def _left_out(
    claim: str, needs: Iterable[str], paid: set[str], costs: Mapping[str, Cost], remaining: float, hours: str
) -> Choice:
    extra = _extra(needs, paid, costs)
    if extra is not None:
        return Choice(
            claim, False, extra, f"takes {in_words(extra)} {hours} more, and {in_words(remaining)} are left"
        )
    missing = dict.fromkeys(
        costs[run_id].source for run_id in needs if run_id not in paid and costs[run_id].hours is None
    )
    return Choice(claim, False, None, f"its cost is unknown: {'; '.join(missing)}")


def chance_to_show(claim: Claim, claims: Mapping[str, Claim], seeds: int) -> tuple[float, str]:
    """How likely it is that the planned runs show what a claim says, were it exactly true.

    A gain shows when the distilled mean lies above the student's by more than chance would bring about in 5 %
    of all cases. With ``sigma0`` the noise of one run (``baselines/priors.yaml``) and ``n`` seeds, two means
    differ by chance with a standard deviation of ``s = sigma0 * sqrt(2 / n)``, and a gain ``g`` shows with
    the probability ``Phi(|g| / s - 1.645)``. A gain that no source prints is the difference to the paper's
    own student alone. For a model trained alone it is a deviation of the practical margin ``delta`` that has
    to show, with ``s = sigma0 * sqrt(1 + 1 / n)`` for our mean against one published run.

    Args:
        claim: the claim.
        claims: all claims by id.
        seeds: runs an arm.

    Returns:
        The probability, 0 where no metric of the claim has a prior; and the reason in words.
    """
    baseline = claims.get(claim.baseline or "")
    for name, metric in claim.metrics.items():
        if (prior := find_prior(claim.dataset, name)) is None:
            continue
        if claim.role in ("baseline", "teacher"):
            size, noise = prior.delta, prior.sigma0 * math.sqrt(1 + 1 / seeds)
            what = f"a deviation of {size:g} {name}"
        else:
            gain = metric.gain
            if gain is None and baseline is not None and name in baseline.metrics:
                gain = metric.value - baseline.metrics[name].value
            if gain is None:
                continue
            size, noise = abs(gain), prior.sigma0 * math.sqrt(2 / seeds)
            what = f"its published gain of {gain:.2f} {name}"
        chance = NormalDist().cdf(size / noise - _CHANCE_BY_LUCK)
        words = (
            f"is {size / noise:.1f} times the noise of published runs and shows with a chance of {chance:.0%}"
        )
        return chance, f"{what} {words}"
    return 0.0, "no noise prior says how well it would show"
