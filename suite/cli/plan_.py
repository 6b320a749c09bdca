"""``plan``: the runs a selection needs, shared arms counted once."""

from __future__ import annotations

import argparse


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
    from suite.paths import records_dir
    from suite.plan import make_plan
    from suite.records import newest_by_run, read_all

    claims = [claim for _, claim in select(args.paper, args.table, args.claim)]
    plan = make_plan(claims, args.profile, args.seeds, args.overrides)
    recorded = newest_by_run(read_all(records_dir()))
    states = {run_id: recorded[run_id].status if run_id in recorded else "to do" for run_id in plan.runs}
    if args.format == "json":
        _print_json(plan, states)
    else:
        print_plan(plan, states)
    return 0


def _print_json(plan, states) -> None:  # type: ignore[no-untyped-def]
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


def print_plan(plan, states) -> None:  # type: ignore[no-untyped-def]
    """Prints the plan as a table, with what sharing saves and what is left out."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("run", "arm", "what", "claims", "state"):
        table.add_column(heading, overflow="fold")
    for run in plan.runs.values():
        served = str(len({entry.claim for entry in run.claims}))
        table.add_row(run.run_id, run.arm, run.label, served, states[run.run_id])
    console = Console(highlight=False)
    console.print(table)
    todo = sum(state != "finished" for state in states.values())
    saved = plan.unshared - len(plan.runs)
    console.print(
        f"\n{len(plan.planned)} claims need {len(plan.runs)} trainings (sharing arms saves {saved}); "
        f"{todo} are not finished yet."
    )
    reasons: dict[str, int] = {}
    for reason in plan.left_out.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in reasons.items():
        console.print(f"{count} claims are left out: {reason}.")
