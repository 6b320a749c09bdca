"""``archive``: check, upgrade or archive the whole record store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.store.record import Record

ACTIONS = ("check", "upgrade", "crate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="check: read every record and check its scalars and samples against their digests; upgrade: "
        "rewrite records of older layouts in the current layout; crate: archive records, scalars, "
        "recipes and reports as a Process Run Crate, for a research data repository",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="crate: a new folder (default: crate in the results folder)",
    )
    parser.add_argument(
        "--license",
        metavar="URL",
        help="crate: the license of its contents, such as https://spdx.org/licenses/CC-BY-4.0",
    )
    parser.add_argument(
        "--records", metavar="DIR", type=Path, help="a record store (default: records in the results folder)"
    )


def run(args: argparse.Namespace) -> int:
    """Checks a store, upgrades it to the current layout, or archives it.

    Raises:
        SuiteError: a record cannot be read, scalars are missing or altered, or a file is in the way.
    """
    from suite.errors import SuiteError
    from suite.paths import records_dir, results_dir

    folder = args.records or records_dir()
    if args.action == "crate":
        return _crate(folder, args.output or results_dir() / "crate", args.license)
    for option in ("output", "license"):
        if getattr(args, option):
            raise SuiteError(f"archive {args.action} writes no new folder; leave out --{option}")
    return _check(folder) if args.action == "check" else _upgrade(folder)


def _check(folder: Path) -> int:
    """Reads every record of a store, and the scalars and samples that belong to it."""
    from suite.cli.screen import Screen
    from suite.errors import SuiteError
    from suite.store.companions import faults_of
    from suite.store.records import read_files
    from suite.store.samples import SAMPLES
    from suite.store.scalars import SCALARS

    records = with_scalars = with_samples = 0

    def one_by_one() -> Iterator[Record]:
        nonlocal records, with_scalars, with_samples
        for _, record in read_files(sorted(folder.glob("*.json"))):
            records += 1
            with_scalars += record.scalars_sha256 is not None
            with_samples += record.samples_sha256 is not None
            yield record

    if fault := faults_of(folder, one_by_one(), SCALARS, SAMPLES):
        raise SuiteError(fault)
    kept = f"{with_scalars} of them with scalars"
    if with_samples:
        kept += f", {with_samples} with sample predictions"
    Screen().say(f"{folder}: {records} records, {kept}: all are readable and unaltered.")
    return 0


def _upgrade(folder: Path) -> int:
    """Rewrites every record of an older layout, and renames the folders of runs whose ids change.

    The original files are moved to ``former/`` beside the records.
    """
    from suite.cli.screen import Screen
    from suite.paths import work_dir
    from suite.store.records import rewrite_older
    from suite.store.run_folders import RunFolder

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
        out.say(f"{folder}: every record is in the current layout.")
        return 0
    out.say(
        f"{folder}: {len(written)} records rewritten in the current layout, {moved} run folders renamed; "
        f"the original files are in {folder / 'former'}."
    )
    return 0


def _crate(folder: Path, output: Path, license_of_contents: str | None) -> int:
    """Archives a store; scalars and samples that are missing or altered are left out, and reported."""
    from suite.cli.screen import Screen
    from suite.report.exports.run_crate import write_crate

    written = write_crate(folder, output, license_of_contents)
    for fault in written.left_out:
        print(f"suite: {fault}", file=sys.stderr)
    Screen().say(
        f"{output}: a Process Run Crate of {written.records} records and {written.reports} report files."
    )
    return 0
