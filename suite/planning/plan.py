"""From claims to runs: which trainings a selection needs, each once, and in which order."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from suite.environment import installed_versions
from suite.errors import SuiteError
from suite.planning.composing import OWN_MEANS, compose
from suite.published.claims import Claim
from suite.published.finding import load_papers
from suite.published.recipes import Recipe, load_recipes, trained_alone
from suite.published.weights import teacher_weights
from suite.store.records import Arm, Record, ServedClaim, Status

_OF_THE_METHOD = re.compile(r"^[+~]{0,2}(method|teacher|model@teacher)\b")

_NOT_PART_OF_THE_NUMBER = ("comparable", "departures", "teacher_seed")
"""Keys of a composed recipe that describe the run and do not change what it computes."""


@dataclass(frozen=True)
class Run:
    """One training: an arm of one or more claims, at one profile, with one seed.

    Attributes:
        run_id: 16 hexadecimal digits, a hash of what defines the number: recipe, profile, seed, data
            fingerprint, teacher identity, package versions.
        series: the same without the seed.
        arm: the arm it was first planned as.
        recipe: the composed recipe (`suite.published.recipes.compose`).
        seed: seed of initial weights, order of the data and every draw of the method.
        teacher: run id of the teacher, for a distilled run.
        claims: all published claims it serves, each with the arm it fills.
    """

    run_id: str
    series: str
    arm: Arm
    recipe: dict[str, Any]
    seed: int
    teacher: str | None = None
    claims: tuple[ServedClaim, ...] = ()

    @property
    def trains(self) -> bool:
        """Whether it trains; if not, it scores a checkpoint that was trained elsewhere."""
        return "checkpoint" not in self.recipe

    @property
    def label(self) -> str:
        """A short name for people: student, method, teacher and seed."""
        parts = [self.recipe["student"]["name"]]
        if not self.trains:
            return f"{parts[0]}, released checkpoint"
        if self.recipe["method"]:
            parts.append(self.recipe["method"]["title"])
        if self.recipe["teacher"]:
            parts.append(f"from {self.recipe['teacher']['name']}")
        return f"{' '.join(parts)}, seed {self.seed}"

    def record(self, status: Status, provenance: dict[str, Any], **measured: Any) -> Record:
        """The record of an attempt at this run that ends now.

        Args:
            status: how it ended.
            provenance: code, packages, host and data it ran with.
            measured: what else is known: `metrics`, `protocol`, `timings`, `error`.
        """
        return Record(
            run_id=self.run_id,
            series=self.series,
            claims=list(self.claims),
            task=self.recipe["task"],
            arm=self.arm,
            profile=self.recipe["profile"],
            seed=self.seed,
            status=status,
            comparable=self.recipe["comparable"],
            recipe=self.recipe,
            departures=self.recipe["departures"],
            provenance=provenance,
            finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **measured,
        )


@dataclass
class Plan:
    """The runs of a selection, teachers before the runs that need them.

    Attributes:
        profile: profile of all runs.
        runs: by run id; every teacher stands before the runs that need it.
        planned: claims that the runs serve.
        left_out: claim id -> why nothing is trained for it.
        unshared: how many trainings it would take if no two claims of the selection shared one.
    """

    profile: str
    runs: dict[str, Run] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unshared: int = 0

    @property
    def trainings(self) -> int:
        """How many of the runs train; the others score a checkpoint that was trained elsewhere."""
        return sum(run.trains for run in self.runs.values())

    @property
    def saved(self) -> int:
        """How many trainings it saves that claims share them."""
        return self.unshared - self.trainings


def make_plan(claims: Iterable[Claim], profile: str, seeds: int, overrides: Sequence[str] = ()) -> Plan:
    """Plans the arms of every claim, each training once.

    A judged claim needs: `ours` and `ablation` the teacher (if any), the student alone and the
    distilled student; `baseline` the student alone; `teacher` the teacher alone. Every seed repeats
    student and distilled student; the teacher is one, as the papers distil from one checkpoint: with the
    published protocol the released one (``baselines/weights.yaml``), which is scored before it teaches, and
    otherwise one that is trained here.

    Args:
        claims: the selection.
        profile: name of the profile.
        seeds: number of seeds, at least 1; the seeds are 0 to `seeds - 1`.
        overrides: the user's Hydra overrides.

    Raises:
        SuiteError: a bad override or profile, or fewer than one seed.
    """
    if seeds < 1:
        raise SuiteError(f"--seeds {seeds}: ask for at least 1")
    recipes = load_recipes()
    claims = list(claims)
    plan = Plan(profile)
    runs: dict[str, Run] = {}
    for claim in claims:
        reason = _not_trained(claim)
        if reason:
            plan.left_out[claim.id] = reason
            continue
        plan.planned.append(claim.id)
        for seed in range(seeds):
            for run in _runs(claim, recipes[str(claim.recipe)], profile, seed, tuple(overrides)):
                runs.setdefault(run.run_id, run)
                plan.unshared += run.trains
    # A claim's recipe trains the claim's own models, so that no other claim can be served.
    trained = {run.recipe["student"]["name"] for run in runs.values()}
    concerned = [
        claim
        for paper in load_papers().values()
        for claim in paper.claims
        if trained & {claim.student, claim.teacher}
    ]
    served = _served(concerned, recipes, profile, seeds, ())
    if overrides:
        # A run that is overridden serves nobody who did not ask for it.
        served = _served(claims, recipes, profile, seeds, tuple(overrides)) | served
    # Stable: within a seed the claims' order stays, in which a teacher comes before its students.
    for run in sorted(runs.values(), key=lambda run: run.seed):
        plan.runs[run.run_id] = replace(run, claims=tuple(served[run.run_id]))
    return plan


def plan_released(claim: Claim, profile: str, sha256: str, overrides: Sequence[str] = ()) -> Plan:
    """Plans the scoring of a checkpoint that was trained elsewhere, for one claim.

    Args:
        claim: whose student (or teacher, where the claim is its accuracy) the checkpoint is.
        profile: name of the profile.
        sha256: of the checkpoint; part of what defines the number.
        overrides: the user's Hydra overrides.

    Raises:
        SuiteError: nobody makes the number of this claim here, or a bad override or profile.
    """
    if reason := _not_trained(claim):
        raise SuiteError(f"{claim.id} cannot be evaluated: {reason}; 'python -m suite list' has the others")
    recipe = load_recipes()[str(claim.recipe)]
    alone = compose(trained_alone(recipe, recipe.student), profile, tuple(overrides))
    # A checkpoint may be named for several claims, and is scored for each: a record is never changed.
    run = _run("released", {**alone, "checkpoint": {"claim": claim.id, "sha256": sha256}}, seed=0)
    run = replace(run, claims=(ServedClaim(claim=claim.id, arm="released"),))
    return Plan(profile, {run.run_id: run}, [claim.id])


def _not_trained(claim: Claim) -> str | None:
    """Why nothing is trained for a claim, or None."""
    if not claim.judged:
        return "a rival's number, only quoted"
    if claim.recipe is None:
        return f"no recipe for {claim.task.replace('_', ' ')} yet"
    return None


def _served(
    claims: Iterable[Claim], recipes: dict[str, Recipe], profile: str, seeds: int, overrides: tuple[str, ...]
) -> dict[str, list[ServedClaim]]:
    """Run id -> each of `claims` that it serves, in or out of the selection.

    A record lists them all, so that what was trained for one paper counts for the others.
    """
    served: dict[str, list[ServedClaim]] = {}
    for claim in claims:
        if _not_trained(claim):
            continue
        for seed in range(seeds):
            for run in _runs(claim, recipes[str(claim.recipe)], profile, seed, overrides):
                entry = ServedClaim(claim=claim.id, arm=run.arm)
                if entry not in (entries := served.setdefault(run.run_id, [])):
                    entries.append(entry)
    return served


def arms(claim: Claim, recipe: Recipe) -> Iterator[tuple[Arm, Recipe]]:
    """What has to be trained for a claim, arm by arm; a teacher comes before the student that needs it."""
    if claim.role == "teacher":
        yield "teacher", recipe
        return
    yield "student", trained_alone(recipe, recipe.student)
    if claim.role == "baseline":
        return
    if recipe.teacher:
        yield "teacher", trained_alone(recipe, recipe.teacher)
    yield "distilled", recipe


def _runs(claim: Claim, recipe: Recipe, profile: str, seed: int, overrides: tuple[str, ...]) -> Iterator[Run]:
    # A model that is trained alone has no method and no teacher that an override could touch.
    alone = tuple(text for text in overrides if not _OF_THE_METHOD.match(text))
    teacher = None
    for arm, trained in arms(claim, recipe):
        composed = compose(trained, profile, overrides if arm == "distilled" else alone)
        if arm == "teacher":
            # A claim on the teacher itself is about its training.
            taken = composed if claim.role == "teacher" else _released(composed)
            teacher = _run(arm, taken, composed["teacher_seed"])
            yield teacher
        else:
            yield _run(arm, composed, seed, teacher if arm == "distilled" else None)


def _released(teacher: dict[str, Any]) -> dict[str, Any]:
    """A teacher as the papers have it: with the published protocol the released checkpoint.

    It is scored and not trained: on how many devices its students are does not matter.
    """
    weights = teacher_weights(teacher["student"]["name"]) if teacher["scale"] == "published" else None
    if weights is None or not weights.published:
        return teacher
    scored = {key: value for key, value in teacher.items() if key not in OWN_MEANS}
    scored["devices"] = teacher.get("published_devices", teacher["devices"])
    scored["departures"] = [text for text in teacher["departures"] if not text.startswith("override means.")]
    return {**scored, "checkpoint": {"weights": weights.id, "file": weights.file_name}}


def _run(arm: Arm, recipe: dict[str, Any], seed: int, teacher: Run | None = None) -> Run:
    identity = {
        "recipe": {key: value for key, value in recipe.items() if key not in _NOT_PART_OF_THE_NUMBER},
        "teacher": teacher.run_id if teacher else None,
        "versions": installed_versions(),
    }
    return Run(
        run_id=_hash({**identity, "seed": seed}),
        series=_hash(identity),
        arm=arm,
        recipe=recipe,
        seed=seed,
        teacher=teacher.run_id if teacher else None,
    )


def _hash(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
