"""``evaluate``: score a checkpoint that was trained elsewhere, for a claim."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.published.claims import Claim
    from suite.store.record import Record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_verbosity
    from suite.cli.selection import add_samples, claim_ids, completed

    stands_for = "the claim to compare the checkpoint with"
    completed(parser.add_argument("--claim", metavar="ID", required=True, help=stands_for), claim_ids)
    parser.add_argument(
        "--checkpoint", metavar="FILE", required=True, help="weights of its student; never executed as code"
    )
    parser.add_argument("--profile", metavar="NAME", default="paper", help="paper (default), mini or smoke")
    parser.add_argument("--device", metavar="D", default="auto", help="auto (default), cpu or cuda")
    add_samples(parser)
    add_verbosity(parser)
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """Scores the checkpoint, records the result, and prints its numbers beside the claimed ones.

    Returns:
        0; 1 if the checkpoint is refused, does not fit, or could not be scored; 130 if interrupted.

    Raises:
        SuiteError: the claim, file, profile, device or an override is wrong, a record is damaged, or the disk
            is full.
    """
    from suite.paths import records_dir, work_dir
    from suite.planning.plan import plan_released
    from suite.published.finding import find_claim
    from suite.report import write_reports
    from suite.running.engine import Engine
    from suite.running.launchers.local import LocalLauncher, check_device
    from suite.running.progress import Progress
    from suite.store.files import sha256_of
    from suite.store.record import standing_by_run
    from suite.store.records import read_for_run
    from suite.store.run_folders import RunFolder, lead_to

    checkpoint = Path(args.checkpoint)
    _check_file(checkpoint)
    paper, claim = find_claim(args.claim)
    check_device(args.device)
    sha256 = sha256_of(checkpoint)
    _check_name(checkpoint, sha256)
    plan = plan_released(claim, args.profile, sha256, args.overrides)
    (run_id,) = plan.runs
    lead_to(RunFolder(work_dir(), run_id), checkpoint)
    try:
        launcher, progress = LocalLauncher(args.device, jobs=1), Progress(verbosity=args.verbosity)
        engine = Engine(plan, _command(args), launcher, progress, lambda: None, samples=args.samples)
        outcome = engine.execute()
    except KeyboardInterrupt:
        print("suite: interrupted; nothing was recorded", file=sys.stderr)
        return 130
    if outcome.failed:
        return 1
    _print_numbers(claim, standing_by_run(read_for_run(records_dir(), run_id))[run_id])
    write_reports(paper.id, args.profile)
    return 0


def _check_file(path: Path) -> None:
    """Makes sure that the checkpoint is a regular file that is not empty.

    Raises:
        SuiteError: it does not exist, or is a folder, a pipe, empty, ...
    """
    from suite.errors import SuiteError
    from suite.store.plain_files import fault_of

    try:
        reason = fault_of(path)
    except FileNotFoundError:
        reason = "there is no such file"
    if reason is not None:
        raise SuiteError(
            f"--checkpoint {path}: {reason}; 'python -m suite weights fetch' downloads published ones"
        )


def _check_name(path: Path, sha256: str) -> None:
    """Makes sure that a file matches the hash at the end of its name, if it has one as in model zoos.

    Raises:
        SuiteError: it does not match.
    """
    from suite.errors import SuiteError
    from suite.published.weights import hash_in_name

    said = hash_in_name(path.name)
    # If there are only decimal digits, it may be a date.
    if said and not said.isdecimal() and not sha256.startswith(said):
        raise SuiteError(
            f"--checkpoint {path}: by its name its SHA-256 begins with {said}, but it begins with "
            f"{sha256[:8]}: it is damaged or a different file; get it again, or rename it without that "
            "suffix"
        )


def _command(args: argparse.Namespace) -> str:
    import shlex

    words = [
        "--claim",
        args.claim,
        "--checkpoint",
        args.checkpoint,
        "--profile",
        args.profile,
        *args.overrides,
    ]
    return f"python -m suite evaluate {shlex.join(words)}"


def _print_numbers(claim: Claim, record: Record) -> None:
    from suite.cli.screen import Screen, plain_table

    loaded = record.provenance.checkpoint or {}
    left_out = ", ".join(f"{count} of {part}" for part, count in loaded["left_out"].items())
    out = Screen()
    out.say(
        f"{loaded['file']} as {record.recipe['student']['name']}: {loaded['loaded']} keys loaded"
        + (f", left out {left_out}" if left_out else "")
    )
    if loaded.get("own_config") is False:
        out.say(
            "It has no config of its own: a different network whose weights have the same names and shapes "
            "would go unnoticed."
        )
    if not record.comparable:
        out.say("The data are embedded: the claimed numbers are not comparable.")
    table = plain_table("metric", "claimed", "checkpoint", right=("claimed", "checkpoint"))
    for name, value in record.metrics.items():
        claimed = next((str(metric) for key, metric in claim.metrics.items() if key == name), "")
        table.add_row(name, claimed, f"{value:.2f}")
    out.print(table)
