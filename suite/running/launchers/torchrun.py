"""Runs on several devices of this machine: one run after the other, a process a device, by torchrun."""

from __future__ import annotations

import sys

from suite.planning.plan import Run
from suite.running.order import Order


def processes_for(run: Run) -> int:
    """How many processes execute a run: one a device that it trains on; scoring alone takes one."""
    return run.recipe.devices_used if run.trains else 1


def command_for(order: Order) -> list[str]:
    """The command line that executes an ordered run on this machine, on as many devices as its recipe has.

    For several devices ``work`` runs the agent of torchrun, which starts a process each, and ends as it does
    for one: 0, 1, 2, or 75 when all were told to stop.
    """
    return [sys.executable, "-m", "suite", "work", order.run_id]
