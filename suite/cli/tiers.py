"""The tiers of a night, and the runs of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from suite.cli.selection import recorded_states
from suite.cost import choose, cost_of
from suite.cost.oldest import choose_oldest
from suite.evidence.points import LOSS, SMOKE, Point, Row, is_teacher, rows_planned
from suite.evidence.served import known_trainings
from suite.paths import work_dir
from suite.planning.overrides import parse_overrides, variant_of
from suite.planning.plan import Plan, Run, make_plan, next_repetition, plan_released
from suite.published.claims import Claim
from suite.store.record import Record, standing_by_run
from suite.store.run_folders import RunFolder

TIERS: Final[dict[str, str]] = {
    "score": "released teachers and the weights of our own runs, against their earlier and published scores",
    "smoke": "two iterations of every row, to check its wiring",
    "loss": "the first steps of every distilled recipe, against stored trajectories",
    "train": "the next trainings that the budget buys, then repeats of the rows measured longest ago",
}
"""Tier -> what it runs."""

STALE_AFTER: Final = {"score": 1, "smoke": 1, "loss": 1, "train": 30}
"""Tier -> number of nights without a new point after which its rows are stale, if the night runs the tier."""

_OWN_ROWS: Final = (SMOKE, LOSS)
"""Tiers with rows of their own, independent of the profile of the night."""


@dataclass(frozen=True)
class Selection:
    """The selection of claims for a night.

    Attributes:
        claims: the claims.
        profile: profile of the tiers `score` and `train`; the others have their own.
        seeds: runs per arm in the tier `train`.
        overrides: as the user wrote them.
    """

    claims: Sequence[Claim]
    profile: str
    seeds: int
    overrides: Sequence[str]


@dataclass(frozen=True)
class Step:
    """Runs of a tier that are executed together.

    Attributes:
        tier: the tier.
        plan: the runs.
        links: run id -> the weights that it scores, if a run of ours trained them.
        awaited: rows that should have a new point after it.
    """

    tier: str
    plan: Plan
    links: Mapping[str, Path] = field(default_factory=dict)
    awaited: Sequence[Row] = ()


def tier_of(row: Row) -> str:
    """The tier that measures a row."""
    if row.arm == "released":
        return "score"
    return row.profile if row.profile in _OWN_ROWS else "train"


def nights_until_stale(row: Row, tiers: Iterable[str], profile: str) -> int | None:
    """How many nights a row may go without a new point; None if it cannot become stale tonight.

    Args:
        row: the row.
        tiers: the tiers of tonight.
        profile: the profile of tonight.
    """
    tier = tier_of(row)
    waits = tier in tiers and row.profile == (tier if tier in _OWN_ROWS else profile)
    # Weights of our own runs may be deleted; `Step.awaited` has those that still exist.
    if not waits or (tier == "score" and not is_teacher(row.subject)):
        return None
    return STALE_AFTER[tier]


def score(chosen: Selection, records: Sequence[Record]) -> Step:
    """Plans the scoring of the claims' released teachers, and of weights of their runs in the work folder.

    Each is scored as its next repetition: the same weights, data and code should give the same number.

    Raises:
        SuiteError: the profile or an override is wrong.
    """
    finished = _finished(records)
    teachers = [
        run
        for run in make_plan(chosen.claims, chosen.profile, 1, chosen.overrides).runs.values()
        if not run.trains
    ]
    runs, links = {}, {}
    for run, weights in [*((run, None) for run in teachers), *_stored(chosen, records)]:
        again = next_repetition(run, finished.__contains__)
        runs[again.run_id] = again
        if weights is not None:
            links[again.run_id] = weights
    claims = list(dict.fromkeys(entry.claim for run in runs.values() for entry in run.claims))
    plan = Plan(chosen.profile, runs, claims)
    return Step("score", plan, links, _rows(plan))


def _stored(chosen: Selection, records: Iterable[Record]) -> Iterator[tuple[Run, Path]]:
    """The existing weights of finished trainings, each with the run that scores them for their claim."""
    claims = {claim.id: claim for claim in chosen.claims if claim.judged}
    asked = parse_overrides(chosen.overrides)
    for record in standing_by_run(records).values():
        weights = RunFolder(work_dir(), record.run_id).weights
        trained = record.status == "finished" and not record.identity.get("checkpoint")
        if not (trained and record.profile == chosen.profile and record.weights_sha256 and weights.is_file()):
            continue
        for name, arm, variant in known_trainings().served_by(record):
            if name in claims and arm == claims[name].kind.arm and variant == variant_of(asked, arm):
                plan = plan_released(claims[name], chosen.profile, record.weights_sha256, chosen.overrides)
                (run,) = plan.runs.values()
                yield run, weights
                break


def smoke(chosen: Selection, records: Sequence[Record]) -> Step:
    """Plans every row once more with two iterations; overrides of resources do not apply.

    Raises:
        SuiteError: an override is wrong.
    """
    overrides = [entry.text for entry in parse_overrides(chosen.overrides) if not entry.is_resource]
    plan = make_plan(chosen.claims, SMOKE, 1, overrides, _finished(records).__contains__)
    return Step("smoke", plan, awaited=_rows(plan))


def next_trainings(chosen: Selection, records: Sequence[Record], budget: float) -> Step:
    """Plans the trainings that a budget buys, most informative first (`suite.cost.choose`).

    Args:
        chosen: the selection.
        records: the store.
        budget: hours, in the unit of the plan.

    Raises:
        SuiteError: the profile or an override is wrong.
    """
    plan = make_plan(chosen.claims, chosen.profile, chosen.seeds, chosen.overrides)
    cost = cost_of(plan, recorded_states(plan, records), records)
    order = [choice.claim for choice in choose(cost, budget, chosen.seeds) if choice.picked]
    return Step("train", _plan_of(order, chosen, chosen.seeds))


def oldest_again(
    chosen: Selection, records: Sequence[Record], points: Iterable[Point], budget: float
) -> Step:
    """Plans the next repetition of the rows measured longest ago, as far as a budget allows.

    Args:
        chosen: the selection.
        records: the store.
        points: the history.
        budget: hours, in the unit of the plan.

    Raises:
        SuiteError: the profile or an override is wrong.
    """
    measured: dict[str, str] = {}
    for point in points:
        if tier_of(point.row) == "train" and point.profile == chosen.profile:
            measured[point.subject] = max(point.finished_at, measured.get(point.subject, ""))
    again = _finished(records).__contains__
    claims = [claim for claim in chosen.claims if claim.id in measured]
    plan = make_plan(claims, chosen.profile, 1, chosen.overrides, again)
    cost = cost_of(plan, recorded_states(plan, records), records)
    order = choose_oldest(cost, measured, budget)
    return Step("train", _plan_of(order, chosen, 1, records))


def _plan_of(order: Sequence[str], chosen: Selection, seeds: int, again: Sequence[Record] = ()) -> Plan:
    """A plan of claims in this order; if records are given, of their next repetitions."""
    claims = {claim.id: claim for claim in chosen.claims}
    measured = _finished(again).__contains__ if again else None
    return make_plan([claims[name] for name in order], chosen.profile, seeds, chosen.overrides, measured)


def _rows(plan: Plan) -> list[Row]:

    return list(dict.fromkeys(row for run in plan.runs.values() for row in rows_planned(run)))


def _finished(records: Iterable[Record]) -> set[str]:
    return {record.run_id for record in records if record.status == "finished"}
