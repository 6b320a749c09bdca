"""Counts the claims of a paper that hold, deviate, are undecided or were never run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suite.report.cells import Row, main_rows
from suite.report.site.published import lead_verdict


@dataclass(frozen=True)
class Counts:
    """The judged claims of one report, counted by the outcome on their main metric.

    Attributes:
        judged: claims with a recipe.
        holds: with a verdict that agrees with the claim; on embedded data, a gain.
        deviates: with a verdict against the claim.
        undecided: measured, but undecided.
        alone: measured without a gain to judge, on data whose numbers are not comparable: teachers and
            students alone.
        stopped: failed or blocked.
        not_run: without a record.
    """

    judged: int
    holds: int
    deviates: int
    undecided: int
    alone: int
    stopped: int
    not_run: int


def counts_of(rows: Iterable[Row]) -> Counts:
    """Counts the claims of a report."""
    judged = [row for row in main_rows(rows) if row["status"] != "quoted"]
    ran = [row for row in judged if row["status"] != "not run"]
    stopped = [row for row in ran if row["status"] in ("failed", "blocked")]
    tones = [lead_verdict(row).tone for row in ran if row not in stopped]
    return Counts(
        judged=len(judged),
        holds=tones.count("good"),
        deviates=tones.count("bad"),
        undecided=tones.count("open"),
        alone=tones.count(None),
        stopped=len(stopped),
        not_run=len(judged) - len(ran),
    )


def by_role(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Role -> ids of the claims that have it, in the order of the paper."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["origin"] == "claim":
            found.setdefault(row["role"], {})[row["claim"]] = None
    return {role: list(claims) for role, claims in found.items()}


def verdict_cells(rows: Sequence[Row]) -> tuple[str, ...]:
    """The leading verdicts of a claim's rows, each once."""
    return tuple(dict.fromkeys(lead_verdict(row) for row in rows))
