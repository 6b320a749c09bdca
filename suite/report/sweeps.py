"""Sweeps: the settings that a paper varies on one pair, in the claimed and in the measured order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from suite.published.roles import find_role
from suite.report.cells import Row, agreement_sentence, measured_values
from suite.verdicts import rank_agreement

LEAST = 2
"""Fewest settings of a sweep; a single one has no order."""


def sweeps_of(rows: Iterable[Row]) -> list[list[Row]]:
    """The sweeps of one published table, each in the order of the paper.

    A sweep is the distilled students of one table on one teacher, student and data set, with at least one
    ablation, which is ranked nowhere else; each metric is a separate sweep.

    Args:
        rows: the rows of the frame for one published table.
    """
    groups: dict[tuple[str | None, str, str, str], list[Row]] = {}
    for row in rows:
        if find_role(row["role"]).distilled:
            pair = (row["teacher"], row["student"], row["dataset"])
            groups.setdefault((*pair, row["metric"]), []).append(row)
    return [group for group in groups.values() if _is_sweep(group)]


def sweep_note(rows: Iterable[Row]) -> str:
    """The note below a published table that varies settings or parts of a method.

    Args:
        rows: as for `sweeps_of`.

    Returns:
        Kendall's tau between the claimed and the measured order for each metric, with its p value; empty if
        the table has no sweep.
    """
    said = [f"{sweep[0]['metric']}: {sweep_agreement(sweep)}" for sweep in sweeps_of(rows)]
    return f"As a sweep, claimed versus measured order: {'; '.join(said)}." if said else ""


def sweep_agreement(sweep: Sequence[Row]) -> str:
    """How far the measured order of a sweep agrees with the claimed one, in words."""
    claimed = {row["claim"]: row["claimed"] for row in sweep}
    agreement = rank_agreement(claimed, measured_values(sweep))
    return agreement_sentence(agreement, len(sweep), "settings")


def _is_sweep(rows: Sequence[Row]) -> bool:
    return len(rows) >= LEAST and not all(find_role(row["role"]).ranked for row in rows)
