"""``nightly``: measure again every night, keep a history, and report what changed.

The order is: run, append to the history, publish the page, update the issue (`suite.cli.night`). If a step
fails, the next one is executed nevertheless; with a wrong command line nothing is done at all.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.cli.night import NightRequest
    from suite.cli.tiers import Selection

_DURATION = re.compile(r"(?:(?P<hours>\d+(?:\.\d+)?)h)?(?:(?P<minutes>\d+(?:\.\d+)?)m)?")
_LONGEST = 24.0
"""Most hours of a night."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_verbosity
    from suite.cli.selection import add_jobs, whole_number
    from suite.cli.tiers import TIERS
    from suite.planning.plan import MOST_SEEDS

    tiers = "; ".join(f"{name}: {text}" for name, text in TIERS.items())
    parser.add_argument("--tier", nargs="+", action="extend", choices=list(TIERS), required=True, help=tiers)
    parser.add_argument(
        "--budget",
        metavar="TIME",
        type=_hours,
        default=3.0,
        help="time for the whole night, such as 90m (default: 3h)",
    )
    parser.add_argument(
        "--device", metavar="D", default="cuda", help="cuda (default) or cpu; neither replaces the other"
    )
    parser.add_argument("--paper", metavar="P", help="one paper (default: all)")
    parser.add_argument(
        "--claim", metavar="ID", nargs="+", action="extend", default=[], help="only these claims"
    )
    parser.add_argument("--profile", metavar="NAME", default="paper", help="paper (default) or mini")
    seeds = whole_number(MOST_SEEDS, "each seed is one training per arm, and five decide small gains")
    parser.add_argument("--seeds", metavar="N", type=seeds, default=3, help="runs per arm (default: 3)")
    add_jobs(parser, "runs side by side (default: one per core, or one on a GPU)")
    parser.add_argument(
        "--write-trajectories",
        action="store_true",
        help="tier loss: replace the stored trajectories with the measured ones, without comparing",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be run and sent, then stop")
    add_verbosity(parser)
    parser.set_defaults(takes_overrides=True)


def _hours(text: str) -> float:
    """Parses a duration, in hours.

    Raises:
        ArgumentTypeError: it is not valid; argparse adds the name of the option.
    """
    found = _DURATION.fullmatch(text)
    hours = float(found["hours"] or 0) + float(found["minutes"] or 0) / 60 if found else 0.0
    if not 0 < hours <= _LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time up to {_LONGEST:.0f}h; write it like 3h, 90m or 2h30m"
        )
    return hours


def run(args: argparse.Namespace) -> int:
    """Runs the tiers, appends to the history, publishes the page and updates the issue.

    Returns:
        0; 1 if a run failed or is blocked; 130 if interrupted.

    Raises:
        SuiteError: the command line is wrong, and nothing was done; or a step failed, such as a tier without
            a GPU, after all other steps. Its exit status is 1 if only the issue could not be updated.
    """
    from suite.cli.night import NightRequest, run_night
    from suite.errors import SuiteError
    from suite.evidence.points import LOSS
    from suite.published.changes import read_changes

    tiers = tuple(dict.fromkeys(args.tier))
    if args.write_trajectories and tiers != (LOSS,):
        raise SuiteError(
            "--write-trajectories needs '--tier loss' alone: leave out either it or the other tiers"
        )
    chosen, writes = _selection(args), args.write_trajectories
    request = NightRequest(
        tiers, chosen, args.budget, args.device, args.jobs, _command(args), writes, args.verbosity
    )
    # Check the file now, so that an error in it does not stop the night half way.
    read_changes()
    if args.dry_run:
        _dry_run(request)
        return 0
    try:
        state = run_night(request)
    except KeyboardInterrupt:
        print("suite: interrupted; the next night resumes where this one stopped", file=sys.stderr)
        return 130
    if state.faults:
        for other in state.faults[1:]:
            print(f"suite: {other}", file=sys.stderr)
        raise state.faults[0]
    return 1 if state.failed else 0


def _selection(args: argparse.Namespace) -> Selection:
    """The selection of claims for the night.

    Raises:
        SuiteError: a claim, the device, the profile or an override is wrong.
    """
    from suite.cli.tiers import Selection
    from suite.errors import SuiteError
    from suite.evidence.points import SMOKE
    from suite.planning.overrides import parse_overrides
    from suite.published.finding import select
    from suite.published.recipes import check_profile

    claims = [claim for _, claim in select(args.paper, None, args.claim)]
    if args.device not in ("cuda", "cpu"):
        raise SuiteError(f"--device is {args.device!r}: a night names its device, cuda or cpu")
    if check_profile(args.profile) == SMOKE:
        raise SuiteError("--profile smoke belongs to the tier smoke: name that tier, or another profile")
    parse_overrides(args.overrides)
    return Selection(claims, args.profile, args.seeds, args.overrides)


def _dry_run(request: NightRequest) -> None:
    """Prints what would be run, and what would be sent if nothing were measured; writes nothing."""
    from suite.cli.night import NightState, history_file, judged, steps, stored_records
    from suite.cli.plan_ import print_plan
    from suite.cli.screen import Screen
    from suite.cli.selection import recorded_states
    from suite.cli.standing_issue import TITLE, body_of
    from suite.cli.tiers import TIERS
    from suite.evidence.history import read_history
    from suite.evidence.points import LOSS, points_of
    from suite.report.nightly import to_feed

    out = Screen()
    state = NightState.of(request)
    records = stored_records()
    for tier in request.tiers:
        out.say(f"Tier {tier}: {TIERS[tier]}.\n")
        if tier == LOSS:
            _say_what_is_stored(request)
            continue
        for step in steps(tier, request, state):
            print_plan(step.plan, recorded_states(step.plan, records))
            out.say()
    history = read_history(history_file())
    fresh = points_of(records, history)
    state.fresh = len(fresh)
    night = judged(request, state, [*history, *fresh])
    out.say("If nothing were measured, this would be sent.\n\nSummary of the job:\n")
    out.say(night.summary)
    if night.flags:
        out.say(f"Issue '{TITLE}':\n\n{body_of(night.flags)}\n")
    else:
        out.say("Issue: none; an open one would be closed.\n")
    out.say(f"Feed:\n\n{to_feed(night).removesuffix(chr(10))}")


def _say_what_is_stored(request: NightRequest) -> None:
    from suite.cli.loss_tier import is_stored, requests, stored
    from suite.evidence.trajectories import STEPS
    from suite.report.cells import many

    runs = [asked.run for asked in requests(request.chosen, request.device)]
    trajectories = stored(request.device)
    known = sum(is_stored(run, trajectories) for run in runs)
    print(f"The first {STEPS[-1]} steps of {many(len(runs), 'training')}; {known} have a trajectory.\n")


def _command(args: argparse.Namespace) -> str:
    """The command line, for the records."""
    words = ["nightly"]
    for folder in args.papers or ():
        words += ["--papers", folder]
    words += ["--tier", *args.tier, "--budget", f"{args.budget:g}h", "--device", args.device]
    words += ["--paper", args.paper] if args.paper else []
    words += ["--claim", *args.claim] if args.claim else []
    words += ["--profile", args.profile, "--seeds", str(args.seeds)]
    words += ["--jobs", str(args.jobs)] if args.jobs else []
    words += ["--write-trajectories"] if args.write_trajectories else []
    return f"python -m suite {shlex.join([*words, *args.overrides])}"
