"""Re-runs of a paper's rows by others, compared with its claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from suite.evidence.frame import main_metric
from suite.published.claims import Claim, Paper, Quoted
from suite.published.literature import Literature, Row
from suite.published.metrics import find_metric
from suite.published.names import MetricName
from suite.published.pairs import Pair, pair_of
from suite.published.priors import practical_margin

Standing = Literal["within", "above", "below"]


@dataclass(frozen=True)
class Rerun:
    """A number that somebody other than the authors measured for a row of a paper.

    Attributes:
        claim: the row.
        method: as its source names it.
        metric: its name.
        printed: the number.
        source: the document.
        note: what a reader must know about it.
    """

    claim: Claim
    method: str
    metric: MetricName
    printed: str
    source: str
    note: str | None = None

    @property
    def difference(self) -> str:
        """How much better it is than the claim, in points, with the digits that were printed."""
        return find_metric(self.metric).printed_gain(self.printed, str(self.claim.metrics[self.metric]))

    @property
    def standing(self) -> Standing:
        """Whether it is within the practical margin of the claim, above it or below."""
        difference = float(self.difference)
        if abs(difference) <= practical_margin(self.claim.dataset, self.metric):
            return "within"
        return "above" if difference > 0 else "below"


def reruns(paper: Paper, literature: Literature) -> tuple[Rerun, ...]:
    """Re-runs of a paper's rows by others: those that its folder quotes, and those in the literature.

    Of several metrics, the main metric of the claim counts, or else the first that both print.
    """
    quoted = (_quoted_rerun(paper, row) for row in _reproductions(paper))
    own = {_subject(claim): claim for claim in paper.claims if claim.kind.own}
    found = [rerun for rerun in quoted if rerun is not None]
    for subject, document, row in _rerun_rows(literature):
        claim = own.get(subject)
        metric = _held(claim, row.metrics) if claim else None
        if claim and metric:
            found.append(Rerun(claim, claim.label, metric, row.metrics[metric], document, row.note))
    return tuple(found)


def silent_reports(paper: Paper) -> list[Quoted]:
    """The reproductions that its folder quotes without a number for one of its rows."""
    return [row for row in _reproductions(paper) if _quoted_rerun(paper, row) is None]


def elsewhere(paper: Paper, literature: Literature) -> list[Row]:
    """The re-runs of its own methods in the literature on pairs other than those of its own results."""
    own = [claim for claim in paper.claims if claim.kind.own]
    subjects, methods = set(map(_subject, own)), {claim.method for claim in own}
    return [
        row
        for subject, _, row in _rerun_rows(literature)
        if row.method in methods and subject not in subjects
    ]


def _reproductions(paper: Paper) -> list[Quoted]:
    return [row for row in paper.quoted if row.kind == "reproduction"]


def _quoted_rerun(paper: Paper, row: Quoted) -> Rerun | None:
    """A reproduction with the claim that it is about; None if it has no claim or none of its metrics."""
    claim = next((claim for claim in paper.claims if claim.id == row.about), None)
    metric = _held(claim, row.metrics) if claim else None
    if claim is None or metric is None:
        return None
    return Rerun(claim, row.method or claim.label, metric, row.metrics[metric], paper.document(row), row.note)


def _subject(claim: Claim) -> tuple[str | None, Pair]:
    """What another number must be about to be compared with a claim: its method on its pair."""
    return claim.method, pair_of(claim)


def _rerun_rows(
    literature: Literature,
) -> Iterator[tuple[tuple[str | None, Pair], str, Row]]:
    """The re-runs in the literature: the subject of each, the document, and the row."""
    for key, block, row in literature.rows():
        document = literature.documents[key]
        if document.whose(row) == "re-run":
            pair = Pair(block.student or "", block.teacher or "", document.dataset)
            yield (row.method, pair), document.document, row


def _held(claim: Claim, printed: Iterable[MetricName]) -> MetricName | None:
    """The metric by which a printed row is compared with a claim; None if they share none."""
    printed = set(printed)
    return next((name for name in (main_metric(claim), *claim.metrics) if name in printed), None)
