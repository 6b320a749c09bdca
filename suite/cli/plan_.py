"""``plan``: print the runs that a selection needs, what they cost, and what a budget buys."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from suite.cost import Choice, NeededBackbone, NeededData, PlanCost, TeacherWeights
    from suite.planning.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_output
    from suite.cli.selection import add_budget, add_selection

    add_selection(parser)
    parser.add_argument("--format", choices=["table", "json"], default="table", help="how to print it")
    add_budget(parser, "pick the claims that fit into this many hours, most informative first")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the plan and its cost.

    Raises:
        SuiteError: the selection, the profile or an override is wrong, or a record is damaged.
    """
    from suite.cli.selection import recorded_states
    from suite.cost import choose, cost_of
    from suite.paths import records_dir
    from suite.planning.plan import make_plan
    from suite.published.finding import select
    from suite.store.records import read_all

    claims = [claim for _, claim in select(args.paper, args.table, args.claim)]
    plan = make_plan(claims, args.profile, args.seeds, args.overrides)
    records = read_all(records_dir())
    cost = cost_of(plan, recorded_states(plan, records), records)
    choices = None if args.budget is None else choose(cost, args.budget, args.seeds)
    if args.format == "json":
        _print_json(cost, args.budget, choices)
        return 0
    print_plan(plan, cost.states)
    if plan.runs:
        _print_cost(cost)
    if choices is not None:
        _print_choices(args, cost, choices)
    return 0


def _print_json(cost: PlanCost, budget: float | None, choices: list[Choice] | None) -> None:
    import json
    from dataclasses import asdict

    from suite.cost import free_gigabytes, needed_backbones, needed_data, needed_teachers, unit
    from suite.paths import datasets_dir

    plan = cost.plan
    runs = [
        {
            **run.as_json(),
            "state": cost.states[run.run_id],
            "cost": asdict(cost.runs[run.run_id]),
        }
        for run in plan.runs.values()
    ]
    data = needed_data(plan)
    content = {
        "profile": plan.profile,
        "runs": runs,
        "left_out": plan.left_out,
        "unshared": plan.unshared,
        "unit": unit(plan),
        "claims": [asdict(row) for row in cost.claims],
        "total": asdict(cost.total),
        "by_paper": {paper: asdict(trainings) for paper, trainings in cost.by_paper.items()},
        "saved_by_sharing": plan.saved,
        "saved_between_papers": cost.saved_between_papers,
        "data_sets": [asdict(dataset) for dataset in data],
        "teacher_weights": [asdict(entry) for entry in needed_teachers(plan)],
        "backbones": [asdict(entry) for entry in needed_backbones(plan)],
        "disk": {**_disk(data), "folder": str(datasets_dir()), "free": free_gigabytes(datasets_dir())},
        "budget": None if choices is None else {"hours": budget, "choices": [asdict(row) for row in choices]},
    }
    print(json.dumps(content, indent=1))


def _disk(data: list[NeededData]) -> dict[str, float]:
    """Gigabytes of the published data sets: of all that are needed, and of those that are missing."""
    sizes = {dataset.name: dataset.gigabytes or 0.0 for dataset in data}
    absent = [dataset.name for dataset in data if dataset.presence == "absent"]
    return {"needed": sum(sizes.values()), "missing": sum(sizes[name] for name in absent)}


def print_plan(plan: Plan, states: Mapping[str, str]) -> None:
    """Prints the plan as a table, with what sharing saves and what is left out.

    Args:
        plan: the plan.
        states: run id -> its recorded state (`suite.cli.selection.recorded_states`).
    """
    from suite.cli.screen import Screen, plain_table

    out = Screen()
    table = plain_table("run", "arm", "what", "claims", "state", right=("claims",), widths=(16,))
    for run in plan.runs.values():
        served = str(len({entry.claim for entry in run.claims}))
        table.add_row(run.run_id, run.arm, run.label, served, states[run.run_id])
    if plan.runs:
        out.print(table)
        out.say()
    todo = sum(state != "finished" for state in states.values())
    released = len(plan.runs) - plan.trainings
    out.say(
        f"Claims: {len(plan.planned)}; trainings they need: {plan.trainings}; "
        f"sharing arms saves {plan.saved}; "
        + (f"released teachers to score: {released}; " if released else "")
        + f"not finished yet: {todo}."
    )
    for sentence in left_out(plan):
        out.say(f"{sentence}.")


def left_out(plan: Plan) -> list[str]:
    """Why nothing is trained for claims of the selection: one sentence per reason, with their number."""
    return [
        f"Claims left out: {count}, {reason}" for reason, count in Counter(plan.left_out.values()).items()
    ]


def _print_cost(cost: PlanCost) -> None:
    """Prints the cost of every claim, the total, where the hours come from, data, disk and weights."""
    from suite.cli.screen import Screen
    from suite.cost import needed_backbones, needed_data, needed_teachers, unit

    out = Screen()
    hours = unit(cost.plan)
    out.say()
    data, teachers = needed_data(cost.plan), needed_teachers(cost.plan)
    table = _narrow_claims if out.is_narrow else _wide_claims
    out.print(table(_needs(cost, data, teachers), hours, bool(teachers)))
    out.say()
    for line in (
        *_totals(cost, hours),
        *_origins(cost, hours),
        *_data(data),
        *_teachers(teachers),
        *_backbones(needed_backbones(cost.plan)),
    ):
        out.say(line)


@dataclass(frozen=True)
class _Need:
    """The needs of one claim, in words."""

    claim: str
    role: str
    counts: tuple[str, str, str, str]
    """Trainings, shared ones, finished ones, hours."""
    bases: str
    data: str
    weights: str


def _needs(cost: PlanCost, data: list[NeededData], teachers: list[TeacherWeights]) -> Iterator[_Need]:
    from suite.published.finding import find_claim

    here = {dataset.name: f"{dataset.name} {dataset.presence}" for dataset in data}
    weights = {entry.model: _weights(entry) for entry in teachers}
    for row in cost.claims:
        yield _Need(
            claim=row.claim,
            role=find_claim(row.claim)[1].role,
            counts=(str(row.cost.trainings), str(row.shared), str(row.cost.finished), str(row.cost)),
            bases=", ".join(row.bases),
            data=", ".join(here[name] for name in row.data),
            weights=weights[row.teacher] if row.teacher and teachers else "",
        )


def _wide_claims(needs: Iterable[_Need], hours: str, teachers: bool) -> Table:
    from suite.cli.screen import plain_table

    counts = ("trainings", "shared", "finished", hours)
    last = ("teacher's weights",) if teachers else ()
    table = plain_table("claim", "role", *counts, "hours are", "data", *last, right=counts)
    for need in needs:
        weights = (need.weights,) if teachers else ()
        table.add_row(need.claim, need.role, *need.counts, need.bases, need.data, *weights)
    return table


def _narrow_claims(needs: Iterable[_Need], hours: str, teachers: bool) -> Table:
    """The same with roles below the ids of claims, and basis, data and weights in one column."""
    from suite.cli.screen import folded, plain_table

    counts = ("trainings", "shared", "finished", hours)
    headings = ("claim", *counts, "hours, data" + (", teacher" if teachers else ""))
    table = plain_table(*headings, right=counts, widths=(22, 9, 6, 8, 10, 15))
    for need in needs:
        rests_on = filter(None, (need.bases, need.data, need.weights))
        table.add_row(f"{folded(need.claim, 22)}\n  {need.role}", *need.counts, "\n".join(rests_on))
    return table


def _weights(entry: TeacherWeights) -> str:
    """The state of a teacher's checkpoint, in a word or two."""
    if entry.released is None:
        return "not released"
    return "released, here" if entry.present else "released, absent"


def _totals(cost: PlanCost, hours: str) -> Iterable[str]:
    total = cost.total
    left = total.trainings - total.finished
    unknown = f"; not counted: {total.unknown} of unknown cost" if total.unknown else ""
    yield f"In total: {total} {hours} for {left} remaining trainings{unknown}."
    if len(cost.by_paper) > 1:
        alone = ", ".join(f"{paper} {sum_.trainings}" for paper, sum_ in cost.by_paper.items())
        yield (
            f"Planned separately: {alone} trainings; together {total.trainings}: sharing between papers "
            f"saves {cost.saved_between_papers}."
        )


def _origins(cost: PlanCost, hours: str) -> Iterable[str]:
    """Where the hours come from, one line per source."""
    from suite.cost import in_words

    found: dict[tuple[str, str], list[float]] = {}
    for run_cost in cost.runs.values():
        if run_cost.basis == "released":
            continue
        found.setdefault((run_cost.basis, run_cost.source), []).append(run_cost.hours or 0.0)
    yield "Sources of the hours, finished trainings included; an hour is one of the named hardware:"
    for (basis, source), each in sorted(found.items()):
        amount = "" if basis == "unknown" else f", {in_words(sum(each))} {hours}"
        yield f"  {basis}, {len(each)} {'training' if len(each) == 1 else 'trainings'}{amount}: {source}"
    if any(run_cost.basis == "estimated" for run_cost in cost.runs.values()):
        yield (
            "  Estimate of a distilled training: the student's own step plus a third of the teacher's "
            "training step for its forward pass (on embedded data, in the first epoch); the cost of the loss "
            "is not counted. --format json shows each derivation."
        )


def _data(data: list[NeededData]) -> Iterable[str]:
    from suite.cost import free_gigabytes
    from suite.paths import datasets_dir

    sizes = [
        f"{dataset.title} ({'built on first use' if dataset.gigabytes is None else _present(dataset)})"
        for dataset in data
    ]
    yield f"Data: {', '.join(sizes)}."
    disk = _disk(data)
    if disk["needed"]:
        yield (
            f"Disk: {disk['needed']:g} GB of data sets, {disk['missing']:g} GB of them still missing; "
            f"{free_gigabytes(datasets_dir()):,.0f} GB are free in {datasets_dir()}. Weights, checkpoints "
            "and logs are not counted."
        )


def _present(dataset: NeededData) -> str:
    return f"{dataset.gigabytes:g} GB, {dataset.presence}"


def _teachers(teachers: list[TeacherWeights]) -> Iterable[str]:
    """Which teachers are released, which of them are present, and which have to be trained."""
    absent = [entry for entry in teachers if entry.released and not entry.present]
    if present := [entry for entry in teachers if entry.present]:
        yield f"Released teachers present: {_models(present)}."
    if absent:
        names = " ".join(str(entry.released) for entry in absent)
        yield f"Released teachers missing: {_models(absent)}; 'python -m suite weights fetch {names}'"
    if trained := [entry for entry in teachers if entry.released is None]:
        yield f"Unreleased teachers that this plan trains: {_models(trained)}."


def _backbones(backbones: list[NeededBackbone]) -> Iterable[str]:
    """The backbones that trainings start from and that have to be fetched."""
    absent = [backbone for backbone in backbones if not backbone.present]
    if absent:
        trainings = sum(backbone.trainings for backbone in absent)
        names = " ".join(backbone.id for backbone in absent)
        yield (
            f"Missing backbones that {trainings} trainings start from: 'python -m suite weights fetch "
            f"{names}'"
        )


def _models(teachers: list[TeacherWeights]) -> str:
    return ", ".join(entry.model for entry in teachers)


def bought(budget: float, cost: PlanCost, choices: Sequence[Choice]) -> str:
    """One sentence on what a budget buys, without its full stop."""
    from suite.cost import in_words, unit

    picked = [choice for choice in choices if choice.picked]
    spent = in_words(sum(choice.hours or 0.0 for choice in picked))
    return f"Budget of {budget:,g} {unit(cost.plan)}: {len(picked)} of {len(choices)} claims fit, for {spent}"


def _print_choices(args: argparse.Namespace, cost: PlanCost, choices: list[Choice]) -> None:
    """Prints what a budget buys, and why."""
    from suite.cli.screen import Screen, folded, plain_table
    from suite.cli.selection import command_of
    from suite.cost import in_words

    out = Screen()
    picked = [choice for choice in choices if choice.picked]
    out.say(f"\n{bought(args.budget, cost, choices)}.")
    widths = (5, 26, 8, 35) if out.is_narrow else ()
    table = plain_table("", "claim", "adds", "why", right=("adds",), widths=widths)
    for choice in choices:
        added = "unknown" if choice.hours is None else in_words(choice.hours)
        claim = folded(choice.claim, 26) if out.is_narrow else choice.claim
        table.add_row("pick" if choice.picked else "leave", claim, added, choice.reason)
    if choices:
        out.print(table)
    if picked:
        wanted = argparse.Namespace(**vars(args))
        wanted.verb, wanted.paper, wanted.table, wanted.budget = "reproduce", None, None, None
        wanted.claim = [choice.claim for choice in picked]
        out.command("To execute them:", command_of(wanted))
