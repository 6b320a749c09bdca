"""``plan``: the runs a selection needs, shared arms counted once."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.selection import add_selection

    add_selection(parser)
    parser.add_argument("--format", choices=["table", "json"], default="table", help="how to print it")


def run(args: argparse.Namespace) -> int:
    """Prints the plan.

    Raises:
        SuiteError: the selection, the profile or an override is wrong.
    """
    from suite.claims import select
    from suite.cli.selection import recorded_states
    from suite.plan import make_plan

    claims = [claim for _, claim in select(args.paper, args.table, args.claim)]
    plan = make_plan(claims, args.profile, args.seeds, args.overrides)
    states = recorded_states(plan)
    if args.format == "json":
        _print_json(plan, states)
    else:
        print_plan(plan, states)
    return 0


def _print_json(plan: Plan, states: dict[str, str]) -> None:
    import dataclasses
    import json

    runs = [
        {
            **{key: value for key, value in dataclasses.asdict(run).items() if key != "claims"},
            "label": run.label,
            "claims": [entry.model_dump() for entry in run.claims],
            "state": states[run.run_id],
        }
        for run in plan.runs.values()
    ]
    content = {"profile": plan.profile, "runs": runs, "left_out": plan.left_out, "unshared": plan.unshared}
    print(json.dumps(content, indent=1))


def print_plan(plan: Plan, states: dict[str, str]) -> None:
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
    saved = plan.unshared - len(plan.runs)
    out.print(
        f"Claims: {len(plan.planned)}; trainings they need: {len(plan.runs)}; sharing arms saves {saved}; "
        f"not finished yet: {todo}.",
        soft_wrap=True,
    )
    for sentence in left_out(plan):
        out.print(f"{sentence}.", soft_wrap=True)


def left_out(plan: Plan) -> list[str]:
    """Why nothing is trained for claims of the selection: one sentence a reason, with their number."""
    return [
        f"Claims left out: {count}, {reason}" for reason, count in Counter(plan.left_out.values()).items()
    ]
