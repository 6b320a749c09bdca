"""Plans runs for claims: which trainings a selection needs, each once, and in which order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from suite.contract import Arm, Checkpoint, ComposedRecipe, Resources, ServedClaim
from suite.errors import SuiteError
from suite.planning.composing import compose
from suite.planning.identity import Identity, identify
from suite.planning.overrides import Override, applied_to, for_arm, parse_overrides, variant_of
from suite.planning.versions import loss_version, releases_of
from suite.published.claims import Claim
from suite.published.finding import load_papers
from suite.published.recipes import Recipe, load_recipes, trained_alone
from suite.published.tasks import find_task
from suite.published.weights import weights_of

MOST_SEEDS = 100
"""Most seeds of a selection: a plan lists every run, and the mean of 100 has a tenth of one run's noise."""


@dataclass(frozen=True)
class Run:
    """One training: an arm of one or more claims, at one profile, with one seed.

    Attributes:
        run_id: 16 hexadecimal digits, a hash of `identity`.
        series: the hash without seed and repetition.
        identity: everything that defines the number.
        arm: the arm it was first planned as; `backbone` if it fills no other arm of any claim.
        recipe: the composed recipe.
        teacher: id of the run that provides its teacher, for a distilled run.
        start: id of the run whose backbone it starts from; None if it starts from random weights.
        checkpoint: the checkpoint that is scored, if nothing is trained.
        claims: all published claims it serves, each with the arm it fills.
    """

    run_id: str
    series: str
    identity: Identity
    arm: Arm
    recipe: ComposedRecipe
    teacher: str | None = None
    start: str | None = None
    checkpoint: Checkpoint | None = None
    claims: tuple[ServedClaim, ...] = ()

    @property
    def seed(self) -> int:
        """Seed of initial weights, data order and every random draw of the method."""
        return self.identity.seed

    @property
    def repetition(self) -> int:
        """How often the same was measured before."""
        return self.identity.repetition

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the runs that must succeed before it: of its initial backbone, and of its teacher."""
        return tuple(dict.fromkeys(filter(None, (self.start, self.teacher))))

    @property
    def trains(self) -> bool:
        """Whether it trains; if not, it scores a checkpoint that was trained elsewhere."""
        return self.checkpoint is None

    @property
    def label(self) -> str:
        """A short name for people: student, method, teacher, seed and, if repeated, the repetition."""
        recipe = self.recipe
        return label_of(
            recipe.student.name,
            recipe.method.title if recipe.method else None,
            recipe.teacher.name if recipe.teacher else None,
            self.trains,
            self.seed,
            self.repetition,
        )

    def as_json(self) -> dict[str, Any]:
        """The run as plain data."""
        return {
            "run_id": self.run_id,
            "series": self.series,
            "arm": self.arm,
            "label": self.label,
            "seed": self.seed,
            "repetition": self.repetition,
            "teacher": self.teacher,
            "start": self.start,
            "checkpoint": self.checkpoint.model_dump(exclude_none=True) if self.checkpoint else None,
            "recipe": self.recipe.model_dump(),
            "identity": self.identity.model_dump(),
            "claims": [entry.model_dump() for entry in self.claims],
        }


def label_of(
    student: str,
    method: str | None,
    teacher: str | None,
    trains: bool,
    seed: int | None = None,
    repetition: int = 0,
) -> str:
    """A short name for a run, from its components; see `Run.label`.

    Args:
        student: id of the network that is trained or scored.
        method: title of the method, if any.
        teacher: id of the teacher, if any.
        trains: whether it trains; if not, it scores a released checkpoint.
        seed: seed of the run; None for all runs of its series.
        repetition: how often the same was measured before.
    """
    if not trains:
        return f"{student}, released checkpoint"
    words = " ".join(filter(None, (student, method, f"from {teacher}" if teacher else None)))
    return words if seed is None else f"{words}, {seed_in_words(seed, repetition)}"


def seed_in_words(seed: int, repetition: int) -> str:
    """Names a run within its series."""
    return f"seed {seed}" + (f", repetition {repetition}" if repetition else "")


def stored_label(
    recipe: Mapping[str, Any], identity: Mapping[str, Any], seed: int | None = None, repetition: int = 0
) -> str | None:
    """The same for a recorded run.

    Args:
        recipe: as its record stores it.
        identity: likewise.
        seed: as in `label_of`.
        repetition: likewise.

    Returns:
        None if the recipe names no student.
    """
    student, teacher, method = (recipe.get(part) or {} for part in ("student", "teacher", "method"))
    if not student:
        return None
    # Records only guarantee the name of a method, not its title.
    title = str(method.get("title") or method["name"]) if method else None
    trains = not identity.get("checkpoint")
    return label_of(student["name"], title, teacher.get("name"), trains, seed, repetition)


@dataclass
class Plan:
    """The runs of a selection, teachers and backbones before the runs that need them.

    Attributes:
        profile: profile of all runs.
        runs: by run id; every run comes after those that it needs.
        planned: claims that the runs serve.
        left_out: claim id -> why nothing is trained for it.
        unshared: number of trainings if no two claims of the selection shared one.
    """

    profile: str
    runs: dict[str, Run] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unshared: int = 0

    @property
    def trainings(self) -> int:
        """Number of runs that train; the others score a checkpoint that was trained elsewhere."""
        return sum(run.trains for run in self.runs.values())

    @property
    def saved(self) -> int:
        """Number of trainings saved because claims share them."""
        return self.unshared - self.trainings


Measured = Callable[[str], bool]
"""Whether the run with this id has a finished record."""


def make_plan(
    claims: Iterable[Claim],
    profile: str,
    seeds: int,
    overrides: Sequence[str] = (),
    again: Measured | None = None,
) -> Plan:
    """Plans the arms of every claim, each training once.

    A judged claim needs its student alone, the teacher (if any) and the distilled student; a `baseline` only
    the student alone; a `teacher` only the teacher. Student and distilled student are trained for every seed.
    There is a single teacher, since the papers distil from one checkpoint: with the published protocol the
    released one (``baselines/weights.yaml``), which is scored before it is used, otherwise one trained here.
    Each network that starts from the backbone of another (`ComposedModel.pretrained`) also needs that one,
    trained alone on its own task with the teachers' seed, since published networks share one backbone.

    Args:
        claims: the selection.
        profile: name of the profile.
        seeds: number of seeds, 1 to `MOST_SEEDS`; the seeds are 0 to `seeds - 1`.
        overrides: the user's overrides (`suite.planning.overrides`).
        again: to measure runs once more: tells which ids are already measured. Each run is then planned as
            its next repetition; teachers and the backbones that runs start from stay the same.

    Raises:
        SuiteError: a bad override or profile, or fewer than one seed or more than `MOST_SEEDS`.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise SuiteError(f"--seeds must be from 1 to {MOST_SEEDS}, got {seeds}")
    recipes = load_recipes()
    claims = list(claims)
    asked = parse_overrides(overrides)
    planner = _Planner(profile, again)
    plan = Plan(profile)
    runs: dict[str, Run] = {}
    served: dict[str, dict[ServedClaim, None]] = {}
    for claim in claims:
        if reason := _not_trained(claim):
            plan.left_out[claim.id] = reason
            continue
        plan.planned.append(claim.id)
        for seed in range(seeds):
            for run, entry in planner.runs(claim, recipes[str(claim.recipe)], seed, asked):
                runs[run.run_id] = _standing(runs.get(run.run_id), run)
                served.setdefault(run.run_id, {})[entry] = None
                plan.unshared += run.trains
    # Records list all claims whose unchanged recipes include the run, in or out of the selection, so that
    # what was trained for one paper counts for the others.
    trained = {run.recipe.student.name for run in runs.values()}
    for paper in load_papers().values():
        for claim in paper.claims:
            if _not_trained(claim) or not trained & {claim.student, claim.teacher}:
                continue
            for seed in range(seeds):
                for run, entry in planner.runs(claim, recipes[str(claim.recipe)], seed, ()):
                    if run.run_id in runs:
                        served[run.run_id][entry] = None
    # The sort is stable: within a seed it keeps the order of claims, where a run follows those it needs.
    for run in sorted(runs.values(), key=lambda run: run.seed):
        plan.runs[run.run_id] = replace(run, claims=tuple(served[run.run_id]))
    return plan


def _standing(first: Run | None, run: Run) -> Run:
    """Which of two arms with the same training to plan: the first, unless it is a mere backbone."""
    return run if first is None or first.arm == "backbone" else first


def plan_released(claim: Claim, profile: str, sha256: str, overrides: Sequence[str] = ()) -> Plan:
    """Plans the scoring of a checkpoint that was trained elsewhere, for one claim.

    Args:
        claim: the claim whose student (or teacher, if the claim is about its accuracy) the checkpoint is.
        profile: name of the profile.
        sha256: SHA-256 of the checkpoint; part of the run's identity.
        overrides: the user's overrides.

    Raises:
        SuiteError: the claim is not reproduced here, or a bad override or profile.
    """
    if reason := _not_trained(claim):
        raise SuiteError(f"{claim.id} cannot be evaluated: {reason}; 'python -m suite list' has the others")
    asked = parse_overrides(overrides)
    recipe = applied_to(load_recipes()[str(claim.recipe)], asked)
    chosen = for_arm(asked, "released")
    alone = compose(
        trained_alone(recipe, recipe.student), profile, tuple(override.text for override in chosen)
    )
    named = Checkpoint(kind="named", sha256=sha256, claim=claim.id)
    run = _run("released", alone, seed=0, checkpoint=named)
    entry = ServedClaim(claim=claim.id, arm="released", variant=variant_of(asked, "released"))
    run = replace(run, claims=(entry,))
    return Plan(profile, {run.run_id: run}, [claim.id])


def next_repetition(run: Run, measured: Measured) -> Run:
    """The first repetition of a run that has not been measured; the run itself if it has not.

    Args:
        run: the run; unlike with `make_plan`, also one that scores a released checkpoint.
        measured: whether the run with an id has been measured.
    """
    while measured(run.run_id):
        identity = run.identity.model_copy(update={"repetition": run.repetition + 1})
        run = replace(run, identity=identity, run_id=identity.run_id)
    return run


def _not_trained(claim: Claim) -> str | None:
    """Why nothing is trained for a claim, or None."""
    return None if claim.judged else "quoted only: no recipe makes its number"


def arms(claim: Claim, recipe: Recipe) -> Iterator[tuple[Arm, Recipe]]:
    """The arms that have to be trained for a claim; a teacher comes before the student that needs it."""
    measured: Arm = claim.kind.arm
    if measured == "teacher":
        yield "teacher", recipe
        return
    yield "student", trained_alone(recipe, recipe.student)
    if measured == "student":
        return
    if recipe.teacher:
        yield "teacher", trained_alone(recipe, recipe.teacher)
    yield "distilled", recipe


class _Planner:
    """Creates the runs of claims; a run that several claims or seeds share is created once."""

    def __init__(self, profile: str, again: Measured | None) -> None:
        self._profile = profile
        self._again = again
        self._made: dict[tuple[Any, ...], Run] = {}
        self._backbones: dict[str, Run] = {}

    def runs(
        self, claim: Claim, recipe: Recipe, seed: int, overrides: tuple[Override, ...]
    ) -> Iterator[tuple[Run, ServedClaim]]:
        """The runs of a claim for one seed, each after those that it needs, with its place in the claim."""
        teacher: Run | None = None
        backbones: set[str] = set()
        for arm, trained in arms(claim, _chosen(claim, recipe, overrides)):
            about_the_teacher = claim.kind.arm == "teacher"
            if arm == "teacher":
                teacher = self._teacher(trained, overrides, released=not about_the_teacher)
                run = teacher
            else:
                run = self._trained(arm, trained, seed, overrides, teacher if arm == "distilled" else None)
            if run.start is not None and run.start not in backbones:
                backbones.add(run.start)
                variant = variant_of(overrides, "backbone")
                yield self._backbones[run.start], ServedClaim(claim=claim.id, arm="backbone", variant=variant)
            yield run, ServedClaim(claim=claim.id, arm=arm, variant=variant_of(overrides, arm))

    def _teacher(self, recipe: Recipe, overrides: tuple[Override, ...], released: bool) -> Run:
        """The single teacher of all seeds; for a claim about the teacher itself, its training."""
        texts = tuple(override.text for override in for_arm(overrides, "teacher"))
        key = ("teacher", recipe, texts, released)
        if key not in self._made:
            composed = compose(recipe, self._profile, texts)
            checkpoint = _released(composed) if released else None
            if checkpoint:
                # It is scored and not trained: the resources of its students' training do not matter.
                composed = _without_resources(composed)
            repeated = not released
            start = self._backbone(composed, overrides) if checkpoint is None else None
            self._made[key] = self._measured(
                "teacher", composed, composed.teacher_seed, None, checkpoint, start, repeated
            )
        return self._made[key]

    def _backbone(self, recipe: ComposedRecipe, overrides: tuple[Override, ...]) -> Run | None:
        """The run whose backbone a network starts from; None if it starts from random weights.

        Raises:
            SuiteError: that network starts from another one itself.
        """
        if recipe.student.pretrained is None:
            return None
        task, _, model = recipe.student.pretrained.partition("/")
        alone = Recipe(task=task, student=model)
        texts = tuple(override.text for override in for_arm(overrides, "backbone"))
        key = ("backbone", alone, texts)
        if key not in self._made:
            composed = compose(alone, self._profile, texts)
            if composed.student.pretrained is not None:
                raise SuiteError(
                    f"{recipe.student.name} cannot start from {recipe.student.pretrained}, which starts from "
                    f"{composed.student.pretrained} itself; name a network that starts from random weights"
                )
            run = self._measured(
                "backbone", composed, composed.teacher_seed, None, None, None, repeated=False
            )
            self._made[key] = self._backbones[run.run_id] = run
        return self._made[key]

    def _trained(
        self, arm: Arm, recipe: Recipe, seed: int, overrides: tuple[Override, ...], teacher: Run | None
    ) -> Run:
        texts = tuple(override.text for override in for_arm(overrides, arm))
        key = (arm == "distilled", recipe, texts, seed, teacher.run_id if teacher else None)
        if key not in self._made:
            composed = compose(recipe, self._profile, texts)
            start = self._backbone(composed, overrides)
            self._made[key] = self._measured(arm, composed, seed, teacher, None, start, repeated=True)
        # The training may have been created for another arm.
        found = self._made[key]
        return found if found.arm == arm else replace(found, arm=arm)

    def _measured(
        self,
        arm: Arm,
        recipe: ComposedRecipe,
        seed: int,
        teacher: Run | None,
        checkpoint: Checkpoint | None,
        start: Run | None,
        repeated: bool,
    ) -> Run:
        run = _run(arm, recipe, seed, teacher, checkpoint, start)
        while self._again is not None and repeated and self._again(run.run_id):
            run = _run(arm, recipe, seed, teacher, checkpoint, start, run.repetition + 1)
        return run


def _chosen(claim: Claim, recipe: Recipe, overrides: tuple[Override, ...]) -> Recipe:
    """A claim's recipe with its choices overridden; a claim about a teacher has the teacher as student."""
    if claim.kind.arm != "teacher":
        return applied_to(recipe, overrides)
    as_teacher = tuple(override for override in overrides if override.chooses == "teacher")
    return applied_to(recipe, (replace(entry, key="model@student") for entry in as_teacher))


def _released(teacher: ComposedRecipe) -> Checkpoint | None:
    """The released checkpoint of a teacher, for the published protocol; None if it has to be trained."""
    weights = weights_of(teacher.student.name) if teacher.scale == "published" else None
    if weights is None or not weights.published:
        return None
    return Checkpoint(kind="released", weights=weights.id, file=weights.file_name, sha256=weights.sha256)


def _without_resources(recipe: ComposedRecipe) -> ComposedRecipe:
    departures = [entry for entry in recipe.departures if entry.kind != "resources"]
    return recipe.model_copy(update={"resources": Resources(), "departures": departures})


def _run(
    arm: Arm,
    recipe: ComposedRecipe,
    seed: int,
    teacher: Run | None = None,
    checkpoint: Checkpoint | None = None,
    start: Run | None = None,
    repetition: int = 0,
) -> Run:
    identity = _identity(recipe, seed, _as_checkpoint(teacher), checkpoint, _as_checkpoint(start), repetition)
    return Run(
        run_id=identity.run_id,
        series=identity.series,
        identity=identity,
        arm=arm,
        recipe=recipe,
        teacher=teacher.run_id if teacher else None,
        start=start.run_id if start else None,
        checkpoint=checkpoint,
    )


def identity_here(run: Run) -> Identity:
    """The identity of a run under the local code and packages, wherever it was planned.

    Raises:
        SuiteError: there is no such task or loss here.
    """
    teacher, start = (
        Checkpoint(kind="trained", **weights.model_dump()) if weights else None
        for weights in (run.identity.teacher, run.identity.start)
    )
    return _identity(run.recipe, run.seed, teacher, run.checkpoint, start, run.repetition)


def _identity(
    recipe: ComposedRecipe,
    seed: int,
    teacher: Checkpoint | None,
    checkpoint: Checkpoint | None,
    start: Checkpoint | None,
    repetition: int,
) -> Identity:
    task = find_task(recipe.task)
    losses = recipe.method.losses.values() if recipe.method and checkpoint is None else ()
    return identify(
        recipe,
        seed=seed,
        adapter_version=task.version,
        loss_versions={loss.type: loss_version(loss.type) for loss in losses},
        releases=_releases(tuple(task.packages)),
        teacher=teacher,
        checkpoint=checkpoint,
        start=start,
        repetition=repetition,
    )


@functools.cache
def _releases(packages: tuple[str, ...]) -> dict[str, str]:
    return releases_of(packages)


def _as_checkpoint(run: Run | None) -> Checkpoint | None:
    """The checkpoint that a student learns or starts from: a released file, or that of a run of ours."""
    if run is None:
        return None
    return run.checkpoint or Checkpoint(kind="trained", run=run.run_id)
