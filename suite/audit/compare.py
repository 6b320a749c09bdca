"""Holds the effective protocol of a run against the published one, setting by setting, before the first step.

What is compared was read back from the objects that were built (`tasks.training.effective_protocol`), never
from the config that asked for them: a key that nobody reads and a clip that was never applied show here.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from suite.audit.dry_run import dry_run
from suite.contract import BlockedError
from suite.paths import work_dir
from suite.planning.plan import Plan, Run, arms
from suite.published.claims import Claim
from suite.published.finding import find_claim
from suite.published.protocols import (
    Departure,
    Stated,
    flatten,
    learning_rates,
    load_protocols,
    published_distillation,
    published_training,
)
from suite.published.recipes import load_recipes
from suite.store.records import Arm, ServedClaim

Verdict = Literal["match", "departure", "mismatch"]

FORCED = (
    "devices",
    "batch_size",
    "accumulation",
    "norm_batch",
    "precision",
    "train_images",
    "test_images",
)
"""Settings that a user's means may force. An override declares them; the batch of all devices has to stay."""

_LONG = 12
"""A list of more is shown by its ends."""

_CLOSE = (1e-5, 1e-9)
"""Relative and absolute difference of two numbers that are the same: buffers have single precision."""
_CLOSE_RATE = (0.02, 1e-4)
"""The same of learning rates: a schedule may move with every epoch or with every iteration."""


@dataclass(frozen=True)
class Finding:
    """One setting of one run.

    Attributes:
        setting: flat name.
        published: what the source states.
        effective: what the run has.
        verdict: `departure` is a difference that is known and listed, `mismatch` one that is not.
        source: who states it; of a departure also why it is accepted.
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
    """A value as text; a long list by its ends."""
    if isinstance(value, list):
        words = [shown(item) for item in value]
        return f"[{', '.join(words if len(words) <= _LONG else [*words[:6], '...', *words[-3:]])}]"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value in ({}, []) else str(value)


def audit(claim: Claim, arm: Arm, recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> list[Finding]:
    """Compares a run with what was published for a claim that it serves.

    Args:
        claim: the claim.
        arm: what the run is of it.
        recipe: the composed recipe of the run.
        protocol: the effective protocol (`Adapter.describe`).

    Returns:
        One finding for every setting that a source states.
    """
    protocols = load_protocols()
    stated = published(claim, arm, recipe)
    departures = [entry for entry in protocols.departures if recipe["student"]["name"] in entry.models]
    return [_compare(name, entry, protocol, recipe, departures) for name, entry in stated.items()]


def published(claim: Claim, arm: Arm, recipe: Mapping[str, Any]) -> dict[str, Stated]:
    """What the sources state of one arm of a claim, by flat names."""
    protocols = load_protocols()
    trained = dict(arms(claim, load_recipes()[str(claim.recipe)]))[arm]
    stated = published_training(protocols, str(claim.recipe), trained)
    if arm == "distilled":
        paper, _ = find_claim(claim.id)
        stated |= published_distillation(protocols, paper, claim, recipe["method"]["losses"])
    return stated


def mismatches(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that forbid a run."""
    return [finding for finding in findings if finding.verdict == "mismatch"]


def _compare(
    name: str,
    stated: Stated,
    protocol: Mapping[str, Any],
    recipe: Mapping[str, Any],
    departures: list[Departure],
) -> Finding:
    effective = _at(protocol, name)
    expected = stated.value
    if name == "learning_rates":
        expected = [round(rate, 6) for rate in learning_rates(expected, len(effective))]
    same = _same(expected, effective, *(_CLOSE_RATE if name == "learning_rates" else _CLOSE))
    why = None if same else _accepted(name, recipe, departures)
    verdict: Verdict = "match" if same else "departure" if why else "mismatch"
    return Finding(name, expected, effective, verdict, f"{stated.source}; {why}" if why else stated.source)


def _accepted(name: str, recipe: Mapping[str, Any], departures: list[Departure]) -> str | None:
    """Why a difference is known, or None where it is not."""
    for departure in departures:
        if any(name == setting or name.startswith(f"{setting}.") for setting in departure.settings):
            return departure.why
    if not recipe["comparable"]:
        return f"profile {recipe['profile']}"
    overrides = [text for text in recipe["departures"] if text.startswith("override ")]
    if overrides and name in FORCED:
        return f"declared by {', '.join(overrides)}"
    return None


def _at(protocol: Mapping[str, Any], name: str) -> Any:
    """The value at a flat name; None where there is none. A key may itself have dots."""
    if name in protocol:
        return protocol[name]
    for cut in [position for position, letter in enumerate(name) if letter == "."]:
        inner = protocol.get(name[:cut])
        if isinstance(inner, Mapping):
            return _at(inner, name[cut + 1 :])
    return None


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
        claims: how many claims of the selection it serves.
        findings: every setting that is stated of it; where two claims state different values, both.
        unstated: flat names of settings that no source states.
        error: why it could not be built.
    """

    run: Run
    claims: int
    findings: list[Finding]
    unstated: list[str]
    error: str | None = None

    @property
    def mismatches(self) -> list[Finding]:
        """The findings that forbid the run."""
        return mismatches(self.findings)


def audit_plan(plan: Plan, selected: Collection[str], jobs: int | None = None) -> Iterator[Audited]:
    """Builds every training of a plan in processes of their own, without data and weights, and audits it.

    Args:
        plan: of a profile with the published protocol.
        selected: ids of the claims that are asked about.
        jobs: how many are built side by side; one a core without it.
    """
    log = work_dir() / "audit.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # What was trained elsewhere is not trained here.
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


def _audited(run: Run, served: list[ServedClaim], protocol: dict[str, Any]) -> Audited:
    found: dict[tuple[str, str], Finding] = {}
    for entry in served:
        for finding in audit(find_claim(entry.claim)[1], entry.arm, run.recipe, protocol):
            found[finding.setting, repr(finding.published)] = finding
    stated = {finding.setting for finding in found.values()}
    unstated = [
        name
        for name in flatten(protocol)
        if not any(name == other or name.startswith(f"{other}.") for other in stated)
    ]
    return Audited(run, len({entry.claim for entry in served}), list(found.values()), unstated)
