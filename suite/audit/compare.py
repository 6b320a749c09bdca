"""Compares the effective protocol of a run with the published one, setting by setting, before the first step.

The effective settings are read back from the objects that were built (`tasks.training.effective_protocol`),
never from the config: a key that is never read or a gradient clip that is never applied shows up here.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from suite.audit.dry_run import dry_run
from suite.contract import Arm, BlockedError, ComposedRecipe, Departure, EffectiveProtocol, ServedClaim
from suite.paths import work_dir
from suite.planning.plan import Plan, Run, arms
from suite.published.claims import Claim
from suite.published.finding import find_claim
from suite.published.protocols import (
    KnownDeparture,
    Stated,
    flatten,
    learning_rates,
    load_protocols,
    published_distillation,
    published_training,
)
from suite.published.recipes import load_recipes

Verdict = Literal["match", "departure", "mismatch"]

_LONG = 12
"""Longer lists are shown by their ends."""

_CLOSE = (1e-5, 1e-9)
"""Relative and absolute tolerance for equal numbers, since buffers have single precision."""
_CLOSE_RATE = (0.02, 1e-4)
"""The same for learning rates, since a schedule may be stepped per epoch or per iteration."""


@dataclass(frozen=True)
class Comparison:
    """One setting of one run.

    Attributes:
        setting: flat name.
        published: the value that the source states.
        effective: the value that the run has.
        verdict: `departure` is a difference that is known and listed, `mismatch` one that is not.
        source: who states it; for a departure also why it is accepted.
    """

    setting: str
    published: Any
    effective: Any
    verdict: Verdict
    source: str

    @property
    def difference(self) -> str:
        """Both values in words."""
        return f"{self.setting} is {shown(self.effective)}, published {shown(self.published)}"


def shown(value: object) -> str:
    """A value as text; of a long list only both ends."""
    if isinstance(value, list):
        words = [shown(item) for item in value]
        return f"[{', '.join(words if len(words) <= _LONG else [*words[:6], '...', *words[-3:]])}]"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value in ({}, []) else str(value)


def audit(claim: Claim, arm: Arm, recipe: ComposedRecipe, protocol: EffectiveProtocol) -> list[Comparison]:
    """Compares a run with what was published for a claim that it serves.

    Args:
        claim: the claim.
        arm: the arm of the claim that the run fills.
        recipe: the composed recipe of the run.
        protocol: the effective protocol (`Adapter.describe`).

    Returns:
        One comparison for every setting that a source states.
    """
    protocols = load_protocols()
    stated = published(claim, arm, recipe)
    method = recipe.method.name if recipe.method else None
    departures = [entry for entry in protocols.departures if entry.concerns(recipe.student.name, method)]
    return [_compare(name, entry, protocol, recipe, departures) for name, entry in stated.items()]


def published(claim: Claim, arm: Arm, recipe: ComposedRecipe) -> dict[str, Stated]:
    """The settings that sources state for one arm of a claim, by flat name."""
    protocols = load_protocols()
    trained = dict(arms(claim, load_recipes()[str(claim.recipe)]))[arm]
    stated = published_training(protocols, str(claim.recipe), trained)
    if arm == "distilled":
        paper, _ = find_claim(claim.id)
        assert recipe.method is not None
        losses = recipe.method.losses
        stated |= published_distillation(protocols, paper, claim, trained, losses)
    return stated


def mismatches(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons that forbid a run."""
    return [comparison for comparison in comparisons if comparison.verdict == "mismatch"]


def _compare(
    name: str,
    stated: Stated,
    protocol: EffectiveProtocol,
    recipe: ComposedRecipe,
    departures: list[KnownDeparture],
) -> Comparison:
    effective = protocol.at(name)
    expected = _expected(name, stated.value, effective)
    same = _agree(name, expected, effective)
    why = None if same else _accepted(name, effective, recipe, departures)
    verdict: Verdict = "match" if same else "departure" if why else "mismatch"
    return Comparison(name, expected, effective, verdict, f"{stated.source}; {why}" if why else stated.source)


def _accepted(name: str, effective: Any, recipe: ComposedRecipe, known: list[KnownDeparture]) -> str | None:
    """Why a difference is accepted, or None if it is not.

    It is accepted if a departure names this setting: either a known one of the model, or one that the run
    declares. Resources declare their values, and only those values are accepted.
    """
    for departure in known:
        named = any(name == setting or name.startswith(f"{setting}.") for setting in departure.settings)
        ours = _expected(name, departure.ours[name], effective) if name in departure.ours else effective
        if named and _agree(name, ours, effective):
            return departure.why
    if not recipe.comparable:
        return f"profile {recipe.profile}"
    for declared in recipe.departures:
        if declared.covers(name) and _is_what_was_declared(declared, effective):
            return f"declared by {declared.declared_by}"
    return None


def _expected(name: str, stated: Any, effective: Any) -> Any:
    """A stated value in the format that a run reads back: a schedule as its list of learning rates."""
    if name != "learning_rates" or not isinstance(effective, list):
        return stated
    return [round(rate, 6) for rate in learning_rates(stated, len(effective))]


def _agree(name: str, expected: Any, effective: Any) -> bool:
    return _same(expected, effective, *(_CLOSE_RATE if name == "learning_rates" else _CLOSE))


def _is_what_was_declared(departure: Departure, effective: Any) -> bool:
    return (
        departure.kind != "resources" or departure.ours is None or _same(departure.ours, effective, *_CLOSE)
    )


def _same(expected: Any, effective: Any, relative: float, absolute: float) -> bool:
    if isinstance(expected, list | tuple) and isinstance(effective, list | tuple):
        return len(expected) == len(effective) and all(
            _same(one, other, relative, absolute) for one, other in zip(expected, effective, strict=True)
        )
    if isinstance(expected, int | float) and isinstance(effective, int | float):
        if isinstance(expected, bool) or isinstance(effective, bool):
            return expected is effective
        return math.isclose(expected, effective, rel_tol=relative, abs_tol=absolute)
    return bool(expected == effective)


@dataclass(frozen=True)
class Audited:
    """One training of a plan.

    Attributes:
        run: the training.
        claims: number of claims of the selection that it serves.
        comparisons: every setting that a source states; if two claims state different values, both.
        unstated: flat names of settings that no source states.
        error: why it could not be built.
    """

    run: Run
    claims: int
    comparisons: list[Comparison]
    unstated: list[str]
    error: str | None = None

    @property
    def mismatches(self) -> list[Comparison]:
        """The comparisons that forbid the run."""
        return mismatches(self.comparisons)


def audit_plan(plan: Plan, selected: Collection[str], jobs: int | None = None) -> Iterator[Audited]:
    """Builds every training of a plan in worker processes, with stub data and without weights, and audits it.

    Args:
        plan: a plan of a profile with the published protocol.
        selected: ids of the selected claims.
        jobs: number of trainings built in parallel; None: one per core.
    """
    log = work_dir() / "audit.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # Released checkpoints are not trained here, so there is nothing to audit.
    runs = {run_id: run for run_id, run in plan.runs.items() if run.trains}
    workers = min(jobs or os.cpu_count() or 1, max(1, len(runs)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        built = {run_id: pool.submit(dry_run, run.recipe, log) for run_id, run in runs.items()}
        for run_id, run in runs.items():
            served = [entry for entry in run.claims if entry.claim in selected]
            try:
                protocol = built[run_id].result()
            except BlockedError as error:
                yield Audited(run, len(served), [], [], str(error))
                continue
            yield _audited(run, served, protocol)


def _audited(run: Run, served: list[ServedClaim], protocol: EffectiveProtocol) -> Audited:
    found: dict[tuple[str, str], Comparison] = {}
    for entry in served:
        for comparison in audit(find_claim(entry.claim)[1], entry.arm, run.recipe, protocol):
            found[comparison.setting, repr(comparison.published)] = comparison
    stated = {comparison.setting for comparison in found.values()}
    unstated = [
        name
        for name in flatten(protocol.settings)
        if not any(name == other or name.startswith(f"{other}.") for other in stated)
    ]
    return Audited(run, len({entry.claim for entry in served}), list(found.values()), unstated)
