"""``data``: list, verify and prepare published data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.datasets import Verification
    from suite.datasets.listing import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    from suite.cli.output import add_output, add_quiet

    parser.add_argument(
        "action",
        nargs="?",
        metavar="ACTION",
        help="verify: check layout, classes, counts, images, annotations, checksums and fingerprint; "
        "prepare: bring the download into the layout that the suite reads; without an action: list "
        "the data sets",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="imagenet, coco, cityscapes or cifar-100")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="verify: accept contents that changed since the last verification, if nothing else is wrong",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="how to print a verification"
    )
    add_output(parser)
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    """Verifies or prepares one data set, or lists which are present.

    Returns:
        0 if the data set is as published, or prepared.

    Raises:
        SuiteError: there is no such action or data set, or it is missing or not as published.
    """
    from suite.datasets import prepare, published, verify
    from suite.errors import SuiteError, did_you_mean

    if args.action is None:
        _print_presence()
        return 0
    if args.action not in {"verify", "prepare"}:
        known = did_you_mean(args.action, ("verify", "prepare"))
        raise SuiteError(f"'data' has no action {args.action!r}: {known}")
    if args.name is None:
        raise SuiteError(f"'data {args.action}' needs the name of a data set; 'data' alone lists them")
    dataset = published(args.name)
    if args.action == "prepare":
        with _progress(f"preparing {dataset.title}", args.verbosity) as report:
            said = prepare(args.name, dataset, dataset.root, report)
        for sentence in said:
            print(f"{dataset.title}: {sentence}.")
        print(f"Next: python -m suite data verify {args.name}")
        return 0
    with _progress(f"reading {dataset.title}", args.verbosity) as report:
        found = verify(dataset, dataset.root, report, accept=args.accept)
    if args.format == "json":
        _print_json(args.name, found)
    else:
        _print_table(found)
    found.refuse_faults()
    return 0


def _print_presence() -> None:
    from suite.cli.screen import Screen, plain_table
    from suite.datasets import presence, read_published

    out = Screen()
    headings = ("name", "data set", "GB", "state")
    table = plain_table(*headings, *(() if out.is_narrow else ("place",)), right=("GB",))
    places = []
    for name, dataset in read_published().items():
        place = out.path(dataset.root)
        row = (name, dataset.title, f"{dataset.gigabytes:g}", presence(name))
        table.add_row(*row, *(() if out.is_narrow else (place,)))
        places.append(f"{name} goes to {place}.")
    out.print(table)
    if out.is_narrow:
        out.say("\n" + "\n".join(places))


def _print_json(name: str, found: Verification) -> None:
    import json
    from dataclasses import asdict

    content = {**asdict(found), "root": str(found.root), "name": name, "verified": not found.faults}
    print(json.dumps(content, indent=1))


def _print_table(found: Verification) -> None:
    from suite.cli.screen import Screen, plain_table

    out = Screen()
    table = plain_table("check", "expected", "found", "")
    for check in found.checks:
        table.add_row(check.what, check.expected, check.found, "ok" if check.ok else "WRONG")
    out.say(f"{found.title} at {found.root}")
    out.print(table)
    for what, paths in found.changes.items():
        out.say(f"Since the last verification {len(paths):,} {what}, such as {paths[0]}.")
    read = (
        f"{found.read:,} read"
        if found.read
        else ("none read, because nothing has changed since the last verification")
    )
    out.say(f"Files: {found.files:,}, {found.size / 1e9:,.2f} GB; {read}.")
    out.say(f"Fingerprint: {found.fingerprint}")
    if found.faults:
        out.say(
            "To train on these data anyway, add the override data.fingerprint=FINGERPRINT; the run is "
            "marked as a departure."
        )


@contextmanager
def _progress(what: str, verbosity: int) -> Iterator[Report]:
    """Shows a progress bar on a terminal; elsewhere prints one line when there is something to do.

    Args:
        what: the activity, such as `reading COCO 2017`.
        verbosity: below 0 nothing is shown.

    Yields:
        The callback that takes the progress.
    """
    if verbosity < 0:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        begun: list[int] = []

        def say_once(done: int, total: int) -> None:
            if not begun:
                print(f"{what}: {total:,} files", file=sys.stderr, flush=True)
                begun.append(done)

        yield say_once
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
