"""Addresses of the site's pages, relative to its folder.

Ids of runs are hexadecimal; those of claims and papers come from files that anybody may write, and become
file names only if they are safe as such.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

INDEX: Final = "index.html"
CLAIMS: Final = "claims"
RUNS: Final = "runs"
CONFIGS: Final = "configs"
ASSETS: Final = "assets"

SOURCES: Final = "printed-in"
"""Anchor of the sources on the page of a claim."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def file_stem(name: str) -> str:
    """The file stem for a name: the name itself if it is safe, else digits of its hash."""
    if _PLAIN.fullmatch(name):
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def paper_page(report: str) -> str:
    """The page of a report, by its name."""
    return f"{file_stem(report)}.html"


def claim_page(claim: str) -> str:
    """The page of a claim, by its id."""
    return f"{CLAIMS}/{file_stem(claim)}.html"


def runs_of(claim: str, profile: str) -> str:
    """The address of a claim's runs at a profile, on its page."""
    return f"{claim_page(claim)}#{runs_anchor(profile)}"


def runs_anchor(profile: str) -> str:
    """The anchor of the runs at a profile, on the page of a claim."""
    return f"runs-{file_stem(profile)}"


def sources_of(claim: str) -> str:
    """The address of a claim's sources, on its page."""
    return f"{claim_page(claim)}#{SOURCES}"


def run_page(run_id: str, attempt: int) -> str:
    """The page of an attempt at a run."""
    return f"{RUNS}/{run_id}-{attempt:02d}.html"
