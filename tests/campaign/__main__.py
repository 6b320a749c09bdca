"""Entry point: ``python -m tests.campaign --minutes 30 --seed 0``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tests.campaign.campaign import (
    LANES,
    MODULES,
    Settings,
    known,
    lane_of,
    replay,
    run,
    run_lane,
    start_lane,
)
from tests.campaign.experiment import CHECKOUT
from tests.campaign.training import stop_all


def main() -> int:
    """Runs a campaign, or tries a finding again.

    Returns:
        0 when nothing was found, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="what is tried follows from it (default 0)")
    parser.add_argument("--only", metavar="NAMES", default=",".join(MODULES), help=f"of {', '.join(MODULES)}")
    parser.add_argument(
        "--first", metavar="N", type=int, default=0, help="number of the first attempt (default 0)"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, default=CHECKOUT / ".work" / "campaign")
    parser.add_argument("--replay", metavar="FOLDER", type=Path, help="try the case of a finding again")
    parser.add_argument("--lane", choices=LANES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    output = args.output.resolve()
    if args.replay and not args.lane:
        folder = args.replay.resolve()
        lane = lane_of(folder)
        words = ["--replay", str(folder), "--lane", lane, "--output", str(output)]
        return start_lane(lane, words, output, None).wait()
    if args.replay:
        tried = replay(args.replay, output)
        print(", ".join(f"{number} {what}" for what, number in tried.count.items()))
        for finding, _ in tried.found:
            print(f"{finding.oracle}: {ascii(finding.says)[1:-1]}")
        return int(bool(tried.found))
    try:
        settings = Settings(args.minutes, args.seed, known(args.only.split(",")), args.first, output)
    except ValueError as error:
        parser.error(str(error))
    if args.lane:
        try:
            run_lane(args.lane, settings)
        finally:
            stop_all()
        return 0
    return int(run(settings, Console(width=160, highlight=False, markup=False)) > 0)


if __name__ == "__main__":
    sys.exit(main())
