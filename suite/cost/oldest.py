"""Picks measured claims to repeat within the remaining hours: those measured longest ago first."""

from __future__ import annotations

from collections.abc import Mapping

from suite.cost.totals import PlanCost


def choose_oldest(cost: PlanCost, measured: Mapping[str, str], budget: float) -> list[str]:
    """Picks claims to measure again.

    A claim is skipped if it does not fit into the remaining budget, or if part of its cost is unknown; a
    training that several picked claims need is paid for once.

    Args:
        cost: a plan of the next repetitions (`suite.planning.plan.make_plan` with `again`), and its cost.
        measured: claim -> when it was last measured, in ISO 8601; others are not picked.
        budget: hours, in the unit of the plan.

    Returns:
        Ids of claims, those measured longest ago first.
    """
    paid: set[str] = set()
    picked: list[str] = []
    needs = {row.claim: row.runs for row in cost.claims if row.claim in measured}
    for claim in sorted(needs, key=lambda name: (measured[name], name)):
        unpaid = [run_id for run_id in needs[claim] if run_id not in paid]
        hours = [cost.runs[run_id].hours for run_id in unpaid]
        known = [each for each in hours if each is not None]
        if len(known) == len(hours) and sum(known) <= budget:
            picked.append(claim)
            paid.update(unpaid)
            budget -= sum(known)
    return picked
