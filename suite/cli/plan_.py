"""``plan``: the runs a selection needs, shared arms counted once, what they cost, and what a budget buys."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.cost import Choice, NeededBackbone, NeededData, PlanCost, TeacherWeights
    from suite.planning.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.selection import add_budget, add_selection

    add_selection(parser)
    parser.add_argument("--format", choices=["table", "json"], default="table", help="how to print it")
    add_budget(parser, "pick the claims that fit, the most informative first")


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
    """Gigabytes of the published data sets: all that are needed, and those that are not here."""
    sizes = {dataset.name: dataset.gigabytes or 0.0 for dataset in data}
    absent = [dataset.name for dataset in data if dataset.presence == "absent"]
    return {"needed": sum(sizes.values()), "missing": sum(sizes[name] for name in absent)}


def print_plan(plan: Plan, states: Mapping[str, str]) -> None:
    """Prints the plan as a table, with what sharing saves and what is left out.

    Args:
        plan: the plan.
        states: run id -> what is recorded of it (`suite.cli.selection.recorded_states`).
    """
    from rich.table import Table

    from suite.cli.selection import console

    out = console()
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "arm", "what", "claims", "state"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "run")
    for run in plan.runs.values():
        served = str(len({entry.claim for entry in run.claims}))
        table.add_row(run.run_id, run.arm, run.label, served, states[run.run_id])
    if plan.runs:
        out.print(table)
        out.print()
    todo = sum(state != "finished" for state in states.values())
    released = len(plan.runs) - plan.trainings
    out.print(
        f"Claims: {len(plan.planned)}; trainings they need: {plan.trainings}; "
        f"sharing arms saves {plan.saved}; "
        + (f"released teachers to score: {released}; " if released else "")
        + f"not finished yet: {todo}.",
        soft_wrap=True,
    )
    for sentence in left_out(plan):
        out.print(f"{sentence}.", soft_wrap=True)


def left_out(plan: Plan) -> list[str]:
    """Why nothing is trained for claims of the selection: one sentence a reason, with their number."""
    return [
        f"Claims left out: {count}, {reason}" for reason, count in Counter(plan.left_out.values()).items()
    ]


def _print_cost(cost: PlanCost) -> None:
    """Prints what every claim takes, the total, where the hours come from, data, disk and weights."""
    from suite.cli.selection import console
    from suite.cost import needed_backbones, needed_data, needed_teachers, unit

    out = console()
    hours = unit(cost.plan)
    out.print()
    data, teachers = needed_data(cost.plan), needed_teachers(cost.plan)
    out.print(_claim_table(cost, hours, data, teachers))
    out.print()
    for line in (
        *_totals(cost, hours),
        *_origins(cost, hours),
        *_data(data),
        *_teachers(teachers),
        *_backbones(needed_backbones(cost.plan)),
    ):
        out.print(line, soft_wrap=True)


def _claim_table(cost: PlanCost, hours: str, data: list[NeededData], teachers: list[TeacherWeights]) -> Any:
    from rich.table import Table

    from suite.published.finding import find_claim

    table = Table(box=None, pad_edge=False)
    table.add_column("claim", overflow="fold")
    table.add_column("role")
    for heading in ("trainings", "shared", "finished", hours):
        table.add_column(heading, justify="right")
    table.add_column("hours are")
    table.add_column("data")
    if teachers:
        table.add_column("teacher's weights")
    here = {dataset.name: f"{dataset.name} {dataset.presence}" for dataset in data}
    weights = {entry.model: _weights(entry) for entry in teachers}
    for row in cost.claims:
        _, claim = find_claim(row.claim)
        counts = (row.cost.trainings, row.shared, row.cost.finished, row.cost)
        words = [", ".join(row.bases), ", ".join(here[name] for name in row.data)]
        if teachers:
            words.append(weights[row.teacher] if row.teacher else "")
        table.add_row(row.claim, claim.role, *map(str, counts), *words)
    return table


def _weights(entry: TeacherWeights) -> str:
    """What there is of a teacher's checkpoint, in a word or two."""
    if entry.released is None:
        return "not released"
    return "released, here" if entry.present else "released, absent"


def _totals(cost: PlanCost, hours: str) -> Iterable[str]:
    total = cost.total
    left = total.trainings - total.finished
    unknown = f"; of {total.unknown} of them the cost is unknown and not counted" if total.unknown else ""
    yield f"In total: {total} {hours} for {left} trainings that are left{unknown}."
    if len(cost.by_paper) > 1:
        alone = ", ".join(f"{paper} {sum_.trainings}" for paper, sum_ in cost.by_paper.items())
        yield (
            f"Papers planned one by one: {alone} trainings; together {total.trainings}: sharing between "
            f"papers saves {cost.saved_between_papers}."
        )


def _origins(cost: PlanCost, hours: str) -> Iterable[str]:
    """Where the hours come from, a line for each source."""
    from suite.cost import in_words

    found: dict[tuple[str, str], list[float]] = {}
    for run_cost in cost.runs.values():
        if run_cost.basis == "released":
            continue
        found.setdefault((run_cost.basis, run_cost.source), []).append(run_cost.hours or 0.0)
    yield "Where the hours come from, with finished trainings; an hour is one of the hardware named:"
    for (basis, source), each in sorted(found.items()):
        amount = "" if basis == "unknown" else f", {in_words(sum(each))} {hours}"
        yield f"  {basis}, {len(each)} {'training' if len(each) == 1 else 'trainings'}{amount}: {source}"
    if any(run_cost.basis == "estimated" for run_cost in cost.runs.values()):
        yield (
            "  Estimated of a distilled training: the student's own step and a third of the teacher's "
            "training step for its forward pass; what the loss adds is not counted. --format json says how "
            "each follows."
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
            f"Disk: {disk['needed']:g} GB of data sets, {disk['missing']:g} GB of them still to be "
            f"obtained; {free_gigabytes(datasets_dir()):,.0f} GB are free in {datasets_dir()}. Weights, "
            "checkpoints and logs are not counted."
        )


def _present(dataset: NeededData) -> str:
    return f"{dataset.gigabytes:g} GB, {dataset.presence}"


def _teachers(teachers: list[TeacherWeights]) -> Iterable[str]:
    """Which teachers are released, which of them are here, and which have to be trained."""
    absent = [entry for entry in teachers if entry.released and not entry.present]
    if present := [entry for entry in teachers if entry.present]:
        yield f"Released teachers that are here: {_models(present)}."
    if absent:
        names = " ".join(str(entry.released) for entry in absent)
        yield f"Released teachers that are absent: {_models(absent)}; 'python -m suite weights fetch {names}'"
    if trained := [entry for entry in teachers if entry.released is None]:
        yield f"Teachers that nobody has released, and this plan trains: {_models(trained)}."


def _backbones(backbones: list[NeededBackbone]) -> Iterable[str]:
    """What trainings start from, as far as it has to be fetched."""
    absent = [backbone for backbone in backbones if not backbone.present]
    if absent:
        trainings = sum(backbone.trainings for backbone in absent)
        names = " ".join(backbone.id for backbone in absent)
        yield (
            f"Backbones that are absent, and {trainings} trainings start from: "
            f"'python -m suite weights fetch {names}'"
        )


def _models(teachers: list[TeacherWeights]) -> str:
    return ", ".join(entry.model for entry in teachers)


def bought(budget: float, cost: PlanCost, choices: Sequence[Choice]) -> str:
    """One sentence, without its full stop, on what a budget buys."""
    from suite.cost import in_words, unit

    picked = [choice for choice in choices if choice.picked]
    spent = in_words(sum(choice.hours or 0.0 for choice in picked))
    return f"Budget of {budget:,g} {unit(cost.plan)}: {len(picked)} of {len(choices)} claims fit, for {spent}"


def _print_choices(args: argparse.Namespace, cost: PlanCost, choices: list[Choice]) -> None:
    """Prints what a budget buys, and why."""
    from rich.table import Table

    from suite.cli.selection import command_of, console
    from suite.cost import in_words

    out = console()
    picked = [choice for choice in choices if choice.picked]
    out.print()
    out.print(f"{bought(args.budget, cost, choices)}.", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("claim", overflow="fold")
    table.add_column("adds", justify="right")
    table.add_column("why", overflow="fold")
    for choice in choices:
        added = "unknown" if choice.hours is None else in_words(choice.hours)
        table.add_row("pick" if choice.picked else "leave", choice.claim, added, choice.reason)
    if choices:
        out.print(table)
    if picked:
        wanted = argparse.Namespace(**vars(args))
        wanted.verb, wanted.paper, wanted.table, wanted.budget = "reproduce", None, None, None
        wanted.claim = [choice.claim for choice in picked]
        out.print(f"To execute them: {command_of(wanted)}", soft_wrap=True)
