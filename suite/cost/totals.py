"""Totals the cost of a plan by claim, by paper and as a whole; a shared training is paid for once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from suite.cost.estimate import Basis, Cost, run_costs
from suite.cost.needs import data_name
from suite.planning.plan import Plan
from suite.published.finding import load_papers
from suite.store.record import Record


def in_words(hours: float) -> str:
    """Hours, with more decimals the fewer they are."""
    if not hours:
        return "0"
    return f"{hours:,.{1 if hours >= 10 else 2 if hours >= 0.1 else 4}f}"


def unit(plan: Plan) -> str:
    """The unit of a plan's hours: GPU-hours or CPU core-hours."""
    published = any(run.recipe.scale == "published" for run in plan.runs.values())
    return "GPU-hours" if published or plan.profile == "paper" else "CPU core-hours"


@dataclass(frozen=True)
class Sum:
    """The cost of several trainings.

    Attributes:
        trainings: number of trainings.
        finished: how many of them are finished already.
        hours: hours of the remaining ones with known cost.
        unknown: number of remaining ones with unknown cost.
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
    """The cost of one claim.

    Attributes:
        claim: the claim.
        runs: run ids of its trainings.
        shared: how many of them other claims of the plan need too.
        cost: cost of its trainings as if no other claim were planned.
        bases: where the hours come from.
        data: names of the data sets that they read.
        teacher: the teacher, if there is one.
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
        claims: one row per claim of the plan.
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
        """Number of trainings saved by planning the papers together instead of one by one."""
        return sum(paper.trainings for paper in self.by_paper.values()) - self.total.trainings


def cost_of(plan: Plan, states: Mapping[str, str], records: Iterable[Record]) -> PlanCost:
    """The cost of a plan, per claim and in total.

    Args:
        plan: the plan.
        states: run id -> its recorded state; ``finished`` runs cost nothing.
        records: the user's own records.

    Raises:
        SuiteError: a reference record or the file of published costs is damaged.
    """
    costs = run_costs(plan, records)
    needs = _needs(plan)
    users = Counter(run_id for run_ids in needs.values() for run_id in run_ids)
    claims = tuple(
        ClaimCost(
            claim=claim,
            runs=run_ids,
            shared=sum(users[run_id] > 1 for run_id in run_ids),
            cost=_sum(run_ids, costs, states),
            bases=tuple(dict.fromkeys(costs[run_id].basis for run_id in run_ids)),
            data=tuple(dict.fromkeys(data_name(plan.runs[run_id]) for run_id in run_ids)),
            teacher=_teacher_of(run_ids, plan),
        )
        for claim, run_ids in needs.items()
    )
    by_paper: dict[str, Sum] = {}
    for paper in load_papers().values():
        needed = dict.fromkeys(run_id for claim in paper.claims for run_id in needs.get(claim.id, ()))
        if needed:
            by_paper[paper.id] = _sum(needed, costs, states)
    trained = [run_id for run_id, run in plan.runs.items() if run.trains]
    return PlanCost(plan, states, costs, claims, _sum(trained, costs, states), by_paper)


def _needs(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Claim of the plan -> the trainings that it needs; a released teacher does not count as one."""
    found: dict[str, list[str]] = {claim: [] for claim in plan.planned}
    for run_id, run in plan.runs.items():
        if not run.trains:
            continue
        for claim in dict.fromkeys(entry.claim for entry in run.claims):
            if claim in found:
                found[claim].append(run_id)
    return {claim: tuple(run_ids) for claim, run_ids in found.items()}


def _teacher_of(run_ids: Iterable[str], plan: Plan) -> str | None:
    teachers = (plan.runs[run_id].teacher for run_id in run_ids)
    return next((plan.runs[teacher].recipe.student.name for teacher in teachers if teacher), None)


def _sum(run_ids: Collection[str], costs: Mapping[str, Cost], states: Mapping[str, str]) -> Sum:
    left = [costs[run_id].hours for run_id in run_ids if states[run_id] != "finished"]
    known = [hours for hours in left if hours is not None]
    return Sum(len(run_ids), len(run_ids) - len(left), sum(known), len(left) - len(known))
