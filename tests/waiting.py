"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 600
"""Seconds until a test gives up waiting for what has to come. Only one that fails waits as long: a machine
under load takes ten times as long as an idle one."""


def wait_until(condition: Callable[[], Found | None], pause: float = 0.005) -> Found:
    """Waits until something holds.

    Args:
        condition: asked again and again.
        pause: seconds between two times.

    Returns:
        What the condition has found.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)
    return found
