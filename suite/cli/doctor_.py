"""``doctor``: check the installation and the data, and say how to fix each gap."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite.doctor import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    from suite.cli.output import add_output

    parser.add_argument(
        "--format",
        choices=("table", "json"),
        default="table",
        help="json names every package (default: table)",
    )
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Runs all checks and prints their findings.

    Returns:
        0 if the mini profile can run, 1 if it cannot.
    """
    import json
    from dataclasses import asdict

    from suite.doctor import examine, is_ready

    findings = examine()
    ready = is_ready(findings)
    if args.format == "json":
        print(json.dumps({"ready": ready, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print_table(findings, ready)
    return 0 if ready else 1


def _print_table(findings: list[Finding], ready: bool) -> None:
    shown = _worth_a_line(findings)
    try:
        say = _print_rich(shown)
    except ImportError:
        say = print
        for finding in shown:
            print(f"{finding.state:8}{finding.name:22}{finding.found}")
    packages = [finding for finding in findings if finding.area == "package"]
    as_locked = sum(finding.state == "ok" for finding in packages)
    say(f"\n{as_locked} of {len(packages)} locked distributions are installed as locked.")
    for finding in shown:
        if finding.remedy:
            say(f"{finding.state}: {finding.name}: {finding.remedy}")
    say(_answer(shown, ready))


def _answer(findings: list[Finding], ready: bool) -> str:
    if ready:
        return "The mini profile can run."
    blocked = {finding.name for finding in findings if finding.state == "blocked"}
    if blocked == {"training"}:
        return (
            "Claims, plans, records and reports work here. The mini profile cannot run: training is "
            "'blocked'."
        )
    return "The mini profile cannot run: fix what is 'blocked'."


def _worth_a_line(findings: list[Finding]) -> list[Finding]:
    """All findings, except for indirect dependencies that are as locked."""
    from suite.doctor import direct_dependencies
    from suite.environment import normalised

    direct = direct_dependencies()
    return [
        finding
        for finding in findings
        if finding.area != "package" or finding.state != "ok" or normalised(finding.name) in direct
    ]


def _print_rich(findings: list[Finding]) -> Callable[[str], None]:
    """Prints the table; returns a function that prints a sentence below it.

    Raises:
        ImportError: rich is not installed.
    """
    from rich.text import Text

    from suite.cli.screen import Screen, plain_table

    out = Screen()
    colours = {"ok": "green", "note": "cyan", "gap": "yellow", "blocked": "red"}
    table = plain_table("", "state", "found", "wanted")
    for finding in findings:
        state = Text(finding.state, style=colours[finding.state])
        table.add_row(finding.name, state, finding.found, finding.wanted)
    out.print(table)
    return out.say
