"""The chapters of figures on a paper's page; one with nothing to draw is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from suite.contract import Arm, Sample, Scalars
from suite.evidence.gathered import Arms
from suite.published.claims import Claim
from suite.published.metrics import load_metrics
from suite.published.pairs import pair_of, values_of
from suite.report.cells import ARM_WORDS, Row
from suite.report.figures.agreement import agreement_figure
from suite.report.figures.curves import Series, curves_figure
from suite.report.figures.gains import gains_figure
from suite.report.figures.literature import pair_figure
from suite.report.figures.retained import retained_figure
from suite.report.figures.samples import samples_figure
from suite.report.layout import Figure, Section
from suite.store.summaries import Evidence

CURVES: Final = "Training curves"
"""Heading of the chapter with a figure for every claim whose distilled students have logged scalars."""

SAMPLES: Final = "Sample predictions"
"""Heading of the chapter with a figure for every claim whose runs have kept predictions."""

ScalarsOf = Callable[[Evidence], Sequence[Scalars]]
"""Returns the scalar series of a run's training; empty if it has none."""

SamplesOf = Callable[[Evidence], Sequence[Sample]]
"""Returns the sample predictions that a run has kept; empty if it has none."""


def overview(rows: Sequence[Row], arms: Arms) -> Iterator[Section]:
    """All gains together, and the comparisons with the claims that published data allow."""
    found = (gains_figure(rows, arms), agreement_figure(rows), retained_figure(rows))
    yield from _section("At a glance", found)


def literature(claims: Iterable[Claim], rows: Sequence[Row]) -> Iterator[Section]:
    """Every published number of the pairs that the paper's judged claims are about."""
    pairs = dict.fromkeys(pair_of(claim) for claim in claims if claim.judged and claim.kind.own)
    metrics = [name for name, metric in load_metrics().items() if metric.headline]
    found = (
        pair_figure(pair, metric, values, rows)
        for pair in pairs
        for values in [values_of(pair)]
        for metric in metrics
    )
    yield from _section("The same pairs in the literature", found)


def curves(claims: Iterable[Claim], arms: Arms, scalars: ScalarsOf) -> Iterator[Section]:
    """The training curves of the claims."""
    judged = [claim for claim in claims if claim.judged and claim.kind.distilled]
    found = (
        curves_figure(claim.id, f"{claim.label}, {claim.id}", _series(claim.id, arms, scalars))
        for claim in judged
    )
    yield from _section(CURVES, found)


def samples(claims: Iterable[Claim], arms: Arms, samples_of: SamplesOf) -> Iterator[Section]:
    """The predictions of the claims' networks for the same images, if they were kept."""
    judged = [claim.id for claim in claims if claim.judged and claim.kind.distilled]
    found = (samples_figure(claim, _sampled(claim, arms, samples_of)) for claim in judged)
    yield from _section(SAMPLES, found)


def _sampled(claim: str, arms: Arms, samples_of: SamplesOf) -> dict[Arm, Sequence[Sample]]:
    """For each network, the samples of its first run that has any."""
    found = {arm: arms[claim, arm, ()] for arm in ARM_WORDS if (claim, arm, ()) in arms}
    gathered = {arm: (*measured.finished, *measured.repeated) for arm, measured in found.items()}
    return {arm: next(filter(None, map(samples_of, runs)), ()) for arm, runs in gathered.items()}


def _series(claim: str, arms: Arms, scalars: ScalarsOf) -> Series:
    gathered = {arm: arms[claim, arm, ()].finished for arm in ARM_WORDS if (claim, arm, ()) in arms}
    return {arm: [scalars(run) for run in runs] for arm, runs in gathered.items()}


def _section(title: str, figures: Iterable[Figure | None]) -> Iterator[Section]:
    drawn = tuple(figure for figure in figures if figure)
    if drawn:
        yield Section(title, (), figures=drawn)
