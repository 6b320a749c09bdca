"""``archive``: the record store as a whole."""

from __future__ import annotations

import argparse
from pathlib import Path

ACTIONS = ("upgrade",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "action", choices=ACTIONS, help="upgrade: write records of older layouts in the layout of today"
    )
    parser.add_argument(
        "--records", metavar="DIR", type=Path, help="a record store (default: records in the results folder)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes every record of an older layout anew, and moves the weights of its run along.

    The files of the older layout end in ``former/`` beside the records.

    Raises:
        SuiteError: a record cannot be read, or a file is in the way.
    """
    from suite.cli.screen import Screen
    from suite.paths import records_dir, work_dir
    from suite.store.records import rewrite_older
    from suite.store.run_folders import RunFolder

    folder = args.records or records_dir()
    written = rewrite_older(folder)
    moved = 0
    for record in written:
        new = RunFolder(work_dir(), record.run_id).path
        for former in record.former_ids:
            old = RunFolder(work_dir(), former).path
            if old.is_dir() and not new.exists():
                old.rename(new)
                moved += 1
    out = Screen()
    if not written:
        out.say(f"{folder}: every record is in the layout of today.")
        return 0
    out.say(
        f"{folder}: {len(written)} records written in the layout of today, {moved} run folders renamed; the "
        f"files as they were are in {folder / 'former'}."
    )
    return 0
