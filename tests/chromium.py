"""The Chromium of this machine, for tests that look at pages as a reader does."""

from __future__ import annotations

import importlib.util
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""It runs as any user, draws without a GPU, and asks nobody for anything."""


def executable() -> str | None:
    """Where it is; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def lacks() -> str | None:
    """Why tests cannot look at pages here; None where they can."""
    if executable() is None:
        return f"needs Chromium, and none of {', '.join(NAMES)} is on the PATH: 'make browser' installs it"
    if importlib.util.find_spec("playwright") is None:
        return "needs the Python package playwright, which the extra dev has"
    return None
