"""Picks the claims on which a number of hours is best spent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from suite.cost.estimate import Cost
from suite.cost.totals import PlanCost, in_words, unit
from suite.published.claims import Claim
from suite.published.finding import find_claim
from suite.published.metrics import find_metric
from suite.published.names import MetricName
from suite.published.priors import find_prior

_MORE_THAN_CHANCE = NormalDist().inv_cdf(0.95)
"""How many standard deviations a difference must be above zero to be significant, one-sided at 5 %."""


@dataclass(frozen=True)
class Choice:
    """Whether a claim was picked for a budget.

    Attributes:
        claim: the claim.
        picked: whether it fits into the budget.
        hours: additional hours beyond the claims picked before it, or for a claim that was left out, beyond
            all that were picked; None if unknown.
        reason: why, in words.
    """

    claim: str
    picked: bool
    hours: float | None
    reason: str


def choose(cost: PlanCost, budget: float, seeds: int) -> list[Choice]:
    """Picks the claims that fit into a budget, the most informative first.

    Three rules, in this order:

    1. The papers' own results come before ablations, and these before models trained alone, which are arms of
       the others anyway.
    2. Within each of these groups the next claim is the one that is most informative per hour: its chance to
       show an effect (`chance_to_show`) over the hours it needs beyond those already picked. An arm that a
       picked claim needs is already paid for, and a finished run costs nothing, so claims that share arms
       tend to be picked together.
    3. A claim is skipped if it does not fit into the remaining budget, or if part of its cost is unknown.

    Args:
        cost: the plan and its cost.
        budget: hours, in the unit of the plan.
        seeds: runs per arm.

    Returns:
        The picked claims in the order in which they were picked, then the others.
    """
    claims = {row.claim: find_claim(row.claim)[1] for row in cost.claims}
    shows = {name: chance_to_show(claim, seeds) for name, claim in claims.items()}
    waiting = {row.claim: row.runs for row in cost.claims}
    paid = {run_id for run_id, state in cost.states.items() if state == "finished"}
    picked: list[Choice] = []
    for turn in sorted({claim.kind.turn for claim in claims.values()}):
        while fitting := {
            name: hours
            for name, runs in waiting.items()
            if claims[name].kind.turn == turn
            and (hours := _extra(runs, paid, cost.runs)) is not None
            and hours <= budget
        }:
            best = max(fitting, key=lambda name: _worth(shows[name][0], fitting[name]))
            runs = waiting.pop(best)
            reason = f"{claims[best].kind.title}; {shows[best][1]}{_shared(runs, paid)}"
            picked.append(Choice(best, True, fitting[best], reason))
            budget -= fitting[best]
            paid.update(runs)
    return picked + [_left_out(name, runs, paid, cost, budget) for name, runs in waiting.items()]


def _extra(runs: Iterable[str], paid: set[str], costs: Mapping[str, Cost]) -> float | None:
    """Hours of the runs that are not yet paid for; None if one is unknown."""
    hours = [costs[run_id].hours for run_id in runs if run_id not in paid]
    known = [each for each in hours if each is not None]
    return sum(known) if len(known) == len(hours) else None


def _worth(chance: float, hours: float) -> tuple[float, float]:
    """Sort key of claims: the chance per hour; among claims that cost nothing, the chance."""
    return chance / hours if hours else math.inf, chance


def _shared(runs: tuple[str, ...], paid: set[str]) -> str:
    known = len(paid.intersection(runs))
    return f"; {known} of {len(runs)} trainings finished or paid for already" if known else ""


def _left_out(claim: str, runs: Iterable[str], paid: set[str], cost: PlanCost, left: float) -> Choice:
    extra = _extra(runs, paid, cost.runs)
    if extra is None:
        unpaid = [cost.runs[run_id] for run_id in runs if run_id not in paid]
        missing = dict.fromkeys(each.source for each in unpaid if each.hours is None)
        return Choice(claim, False, None, f"its cost is unknown: {'; '.join(missing)}")
    reason = f"needs {in_words(extra)} {unit(cost.plan)} more, but {in_words(left)} are left"
    return Choice(claim, False, extra, reason)


def chance_to_show(claim: Claim, seeds: int) -> tuple[float, str]:
    """The statistical power of the planned runs to show what a claim says, if it is exactly true.

    A gain shows if the distilled mean exceeds the student's by more than chance would in 5 % of all cases.
    With the noise ``sigma0`` of one run (``baselines/priors.yaml``) and ``n`` seeds, the difference of two
    means has a standard deviation of ``s = sigma0 * sqrt(2 / n)``, so a gain ``g`` shows with probability
    ``Phi(|g| / s - 1.645)``. If no source prints the gain, it is the difference to the paper's own student
    alone. For a model trained alone, a deviation by the practical margin ``delta`` has to show, with
    ``s = sigma0 * sqrt(1 + 1 / n)`` for our mean against one published run.

    Args:
        claim: the claim.
        seeds: runs per arm.

    Returns:
        The probability, and the reason in words; 0 if no metric of the claim has a prior (and, for a
        distilled claim, a gain).
    """
    unsaid = "no noise prior says how clearly it would show"
    for name in claim.metrics:
        if (prior := find_prior(claim.dataset, name)) is None:
            continue
        if not claim.kind.distilled:
            size, noise = prior.delta, prior.sigma0 * math.sqrt(1 + 1 / seeds)
            what = f"a deviation of {size:g} {name}"
        else:
            if (gain := _gain(claim, name)) is None:
                unsaid = "no source prints a gain that could show"
                continue
            size, noise = abs(gain), prior.sigma0 * math.sqrt(2 / seeds)
            what = f"its published gain of {gain:.2f} {name}"
        chance = NormalDist().cdf(size / noise - _MORE_THAN_CHANCE)
        ratio = f"{size / noise:.1f} times the noise of published runs"
        return chance, f"{what} is {ratio} and shows with a chance of {chance:.0%}"
    return 0.0, unsaid


def _gain(claim: Claim, metric: MetricName) -> float | None:
    """The printed gain, or else the difference to the student alone if the number is the paper's own."""
    claimed = claim.metrics[metric]
    if claimed.gain is not None or claim.baseline is None or claim.claimed_by is not None:
        return claimed.gain
    alone = find_claim(claim.baseline)[1].metrics.get(metric)
    return None if alone is None else find_metric(metric).gain(claimed.value, alone.value)
