"""``weights``: list published checkpoints with their state in the cache, and fetch them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.published.weights import Checkpoint
    from suite.store.downloads import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_output, add_quiet

    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list what is published and what is in the cache")
    listing.add_argument("--format", choices=["table", "json"], default="table", help="how to print it")
    add_output(listing)
    fetching = actions.add_parser("fetch", help="download and verify; prints where each file is")
    fetching.add_argument("id", metavar="ID", nargs="*", help="id of a checkpoint, see 'weights list'")
    fetching.add_argument(
        "--teachers", action="store_true", help="every published teacher of a claim, and all backbones"
    )
    add_quiet(fetching)


def run(args: argparse.Namespace) -> int:
    """Lists or fetches.

    Raises:
        SuiteError: an id is unknown or not published, or none is given.
        DownloadError: a file could not be fetched, or is refused.
    """
    if args.action == "fetch":
        _fetch([*args.id, *(_teachers() if args.teachers else ())], args.verbosity)
    elif args.format == "json":
        _print_json()
    else:
        _print_table()
    return 0


def _teachers() -> list[str]:
    """Ids of the published teachers of all claims, and of all published backbones."""
    from suite.published.weights import claims_taught, read_backbones, read_weights

    teachers = [entry.id for entry in read_weights().values() if entry.published and claims_taught(entry)]
    return [*teachers, *read_backbones()]


def _fetch(names: list[str], verbosity: int) -> None:
    from suite.errors import SuiteError
    from suite.published.weights import find_checkpoint
    from suite.store.downloads import fetch

    if not names:
        raise SuiteError("weights fetch: no checkpoint is named; give ids from 'weights list', or --teachers")
    for checkpoint in [find_checkpoint(name) for name in names]:
        with _progress(checkpoint.id, verbosity) as report:
            path = fetch(checkpoint, _check, report)
        print(f"{checkpoint.id}: {path}", flush=True)


def _check(path: Path) -> None:
    """Refuses a file that is not a checkpoint, or cannot be read without running code from it.

    Raises:
        DownloadError: it is such a file.
    """
    from suite.contract import BlockedError, load
    from suite.store.downloads import DownloadError

    try:
        # Loaded by name instead of imported, so that PyTorch is only needed for a new file.
        load("tasks.training.weights:read_checkpoint")(path)
    except BlockedError as error:
        raise DownloadError(f"{error}; nothing was kept") from None


@contextlib.contextmanager
def _progress(title: str, verbosity: int) -> Iterator[Report]:
    """Shows a progress bar on standard error, if that is a terminal and `verbosity` is not below 0."""
    if verbosity < 0 or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as bars:
        bar = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _state(weights: Checkpoint) -> str:
    from suite.store.downloads import cached

    if not weights.published:
        return "train it"
    return "fetched" if cached(weights) else "not fetched"


def _print_table() -> None:
    from suite.cli.screen import Screen, folded, plain_table
    from suite.paths import weights_dir

    out = Screen()
    rows = list(_rows())
    if out.is_narrow:
        headings = ("id", "trained for", "published accuracy", "teacher in", "state")
        table = plain_table(*headings, widths=(26, 21, 12, 9, 8))
        table.padding = (0, 1, 0, 0)
        for name, dataset, schedule, accuracy, taught, state in rows:
            table.add_row(folded(name, 26), f"{dataset}, {schedule}", accuracy, taught, state)
    else:
        table = plain_table("id", "trained for", "schedule", "published accuracy", "teacher in", "state")
        for row in rows:
            table.add_row(*row)
    out.print(table)
    out.say(f"\nFetched files are kept in {out.path(weights_dir())}.")


def _rows() -> Iterator[tuple[str, str, str, str, str, str]]:
    """Id, data, schedule, accuracy, number of claims that it teaches, and state of every checkpoint."""
    from suite.published.weights import claims_taught, read_backbones, read_weights

    for weights in read_weights().values():
        taught = len(claims_taught(weights))
        accuracy = ", ".join(f"{metric} {number}" for metric, number in weights.accuracy.items())
        count = f"{taught} claims" if taught > 1 else "1 claim" if taught else ""
        yield weights.id, weights.dataset, weights.schedule, accuracy or "none", count, _state(weights)
    for backbone in read_backbones().values():
        yield backbone.id, "imagenet-1k", "a backbone to start from", "", "", _state(backbone)


def _print_json() -> None:
    import json

    from suite.published.weights import claims_taught, read_backbones, read_weights

    content = [
        {**weights.model_dump(), "teacher_in": claims_taught(weights), "state": _state(weights)}
        for weights in read_weights().values()
    ]
    content += [
        {**backbone.model_dump(), "state": _state(backbone)} for backbone in read_backbones().values()
    ]
    print(json.dumps(content, indent=1))
