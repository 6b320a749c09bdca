"""A paper's own results beside its rivals on the same teacher and student: both orders, and Kendall's tau."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from suite.published.metrics import find_metric
from suite.published.priors import find_prior
from suite.published.roles import find_role
from suite.report.cells import (
    NOTHING,
    Row,
    agreement_sentence,
    claim_cell,
    claimed_cell,
    interval,
    measured_cell,
    measured_values,
    pair_cell,
    percent,
    runs_cell,
    tone_of,
)
from suite.report.layout import Cell, Grid, Line, Section
from suite.verdicts import BLOCKED, rank_agreement, ranks

TITLE: Final = "The paper's methods and rivals on the same pair"
HEADINGS: Final = (
    "metric",
    "method",
    "role",
    "claimed",
    "claimed rank",
    "measured",
    "90 % interval",
    "measured rank",
    "runs",
    "claim",
)
REFERENCE: Final = "reference"
"""Role of the lines for the teacher and the student alone, which have no rank."""

_REMARK: Final = (
    "The paper's own methods and its rivals on one teacher and student, in the order of their claims. "
    "Measured is the mean over our seeds with the 90 % interval of the mean. Tied values share a rank; ranks "
    "are shown but not judged. Kendall's tau compares the claimed with the measured order of the methods "
    "that have both numbers: 1 is the same order, -1 the reverse. p is the probability that a random order "
    "agrees or disagrees at least as much; with fewer than five methods it cannot fall below 0.05."
)
_FURTHER: Final = "further metrics"

Pair = tuple[str | None, str, str]
"""Teacher, student and data set; methods without a teacher form a pair of their own."""


@dataclass(frozen=True)
class Contest:
    """The methods of a paper on one pair, ranked by one metric.

    Attributes:
        metric: name of the metric.
        rows: a row of the frame for each method, the best claim first; ties in the order of the file.
    """

    metric: str
    rows: tuple[Row, ...]

    @property
    def claimed(self) -> dict[str, float]:
        """Claim -> claimed value."""
        return {row["claim"]: row["claimed"] for row in self.rows}

    @property
    def measured(self) -> dict[str, float]:
        """Claim -> mean over the seeds, for the methods that were measured and not blocked."""
        return measured_values(self.rows)

    @property
    def headline(self) -> bool:
        """Whether the metric is shown first: it has a noise prior, or is the main metric of a claim."""
        return any(row["main"] or find_prior(row["dataset"], self.metric) for row in self.rows)


def rival_sections(rows: Iterable[Row]) -> Iterator[Section]:
    """The section of own results beside their rivals, if the paper has both on a pair.

    Args:
        rows: the judged rows of one paper.
    """
    grids = tuple(grid for found in contests(rows).values() for grid in _grids(found))
    if grids:
        yield Section(TITLE, grids, _REMARK)


def contests(rows: Iterable[Row]) -> dict[Pair, list[Contest]]:
    """Finds the pairs with both an own result and a rival.

    Args:
        rows: of the frame, in its order.

    Returns:
        Pair -> one contest for each metric that claims of both kinds have, in the order of the frame.
    """
    found: dict[Pair, dict[str, list[Row]]] = {}
    for row in rows:
        if row["origin"] == "claim" and find_role(row["role"]).ranked:
            pair = (row["teacher"], row["student"], row["dataset"])
            found.setdefault(pair, {}).setdefault(row["metric"], []).append(row)
    both = {
        pair: [_contest(metric, group) for metric, group in by_metric.items() if _has_both(group)]
        for pair, by_metric in found.items()
    }
    return {pair: group for pair, group in both.items() if group}


def _has_both(rows: Sequence[Row]) -> bool:
    return {find_role(row["role"]).own for row in rows} == {True, False}


def _contest(metric: str, rows: Sequence[Row]) -> Contest:
    sign = find_metric(metric).sign
    return Contest(metric, tuple(sorted(rows, key=lambda row: -sign * row["claimed"])))


def _grids(found: Sequence[Contest]) -> Iterator[Grid]:
    """A table with the headline metrics of a pair, and a folded one with the others."""
    pair = pair_cell(found[0].rows[0])
    for headline in (True, False):
        shown = [contest for contest in found if contest.headline == headline]
        if shown:
            yield Grid(
                HEADINGS,
                tuple(line for contest in shown for line in _lines(contest)),
                f"{pair}: {', '.join(contest.metric for contest in shown) if headline else _FURTHER}",
                folded=not headline,
                note=_outcomes(shown),
            )


def _outcomes(shown: Iterable[Contest]) -> str:
    """The note below a table: each outcome once, with the metrics that have it."""
    metrics: dict[str, list[str]] = {}
    for contest in shown:
        metrics.setdefault(_outcome(contest), []).append(contest.metric)
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in metrics.items()) + "."


def _outcome(contest: Contest) -> str:
    """The outcome for one metric: the tau, and a remark if no rival was measured."""
    measured = contest.measured
    said = agreement_sentence(rank_agreement(contest.claimed, measured), len(contest.rows), "methods")
    ours = [find_role(row["role"]).own for row in contest.rows if row["claim"] in measured]
    if len(ours) > 1 and all(ours):
        return f"{said}, no rival among them"
    return said


def _lines(contest: Contest) -> Iterator[Line]:
    """The teacher, the methods from the best claim on, and the student alone."""
    higher = find_metric(contest.metric).better == "higher"
    claimed = ranks(contest.claimed, higher)
    # A single measured method cannot be ranked.
    measured = ranks(contest.measured, higher) if len(contest.measured) > 1 else {}
    yield from _reference(contest, "teacher", "teacher_measured")
    for row in contest.rows:
        yield Line(
            (
                row["metric"],
                row["method"],
                row["role"],
                claimed_cell(row),
                _rank(row["claim"], claimed),
                measured_cell(row, percent(row["reproduced"])),
                interval(row["mean_lower"], row["mean_upper"]),
                Cell(BLOCKED, tone_of(BLOCKED))
                if row["verdict"] == BLOCKED
                else _rank(row["claim"], measured),
                runs_cell(row),
                claim_cell(row["claim"]),
            )
        )
    yield from _reference(contest, "student", "student_mean", "student_n")


def _rank(claim: str, ranked: Mapping[str, int]) -> str:
    return f"{ranked[claim]} of {len(ranked)}" if claim in ranked else NOTHING


def _reference(contest: Contest, part: str, measured: str, count: str | None = None) -> Iterator[Line]:
    """The line of the teacher or the student alone; with several values if they differ between methods."""
    rows = [row for row in contest.rows if row[measured] is not None]
    published = _distinct(
        f"{row[f'{part}_claimed']:.{row['decimals']}f}"
        for row in contest.rows
        if row[f"{part}_claimed"] is not None
    )
    ours = _distinct(percent(row[measured]) for row in rows)
    if published == ours == NOTHING:
        return
    runs = _distinct(f"n = {row[count]}" for row in rows) if count else NOTHING
    who = (contest.metric, f"{part} alone", REFERENCE)
    measured_here = measured_cell(rows[0], ours) if rows else ours
    yield Line((*who, published, NOTHING, measured_here, NOTHING, NOTHING, runs, NOTHING))


def _distinct(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts)) or NOTHING
