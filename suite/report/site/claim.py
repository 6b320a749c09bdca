"""The page of a claim: what was printed, what was measured, and everything that connects the two."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from suite.contract import ComposedRecipe, EffectiveProtocol
from suite.errors import SuiteError
from suite.evidence.gathered import Measured
from suite.evidence.served import ClaimArm
from suite.published.claims import Claim, Paper, Source
from suite.published.literature import load_literature
from suite.published.recipes import load_recipes
from suite.report.addresses import INDEX, SOURCES, claim_page, paper_page, run_page, runs_anchor
from suite.report.cells import (
    NOTHING,
    Row,
    arm_in_words,
    claim_cell,
    claimed_cell,
    gain_cell,
    gain_verdict_cell,
    interval,
    many,
    percent,
    reproduced_cell,
    signed,
    task_cell,
    verdict_cell,
)
from suite.report.figures.chapters import SAMPLES
from suite.report.figures.style import slug
from suite.report.layout import NOTES, Cell, Figure, Grid, Line
from suite.report.page import seeds_of
from suite.report.site.blocks import Chapter, Listing, Sheet
from suite.report.site.counts import verdict_cells
from suite.report.site.links import config_cell, papers_of, source_cell
from suite.report.site.published import without_empty_columns
from suite.report.site.world import PaperReport, World
from suite.report.tables import PublishedTables
from suite.store.summaries import Evidence

RESULT_HEADINGS: Final = (
    *("metric", "verdict", "gain verdict", "claimed", "measured", "difference", "95 % interval"),
    *("gain claimed", "gain measured (90 % interval)", "teacher measured", "student alone"),
)
_SETTING_HEADINGS: Final = ("verdict", "setting", "published", "in the run", "stated by, and why it differs")
_SOURCE_HEADINGS: Final = ("document", "place", "kind", "version", "numbers", "gains")
_QUOTED_HEADINGS: Final = ("kind", "method", "numbers", "gains", "source", "note")


def claim_sheet(world: World, paper: Paper, claim: Claim) -> Sheet:
    """The page of one claim, with all profiles that it was run at.

    Raises:
        SuiteError: a file of the published data is wrong.
    """
    reports = [one for one in world.reports if one.paper.id == paper.id]
    measured = [one for one in reports if world.arms_of(claim, one.profile)]
    shown = measured or reports[:1]
    notes = PublishedTables(paper, [])
    chapters: list[Chapter] = []
    for one in shown:
        chapters += _of_profile(world, one, claim, notes, several=len(shown) > 1)
    chapters += _published(paper, claim)
    rows = [row for one in shown for row in one.by_claim.get(claim.id, []) if not row["variant"]]
    return Sheet(
        path=claim_page(claim.id),
        title=claim.id,
        trail=(
            Cell("All papers", link=INDEX),
            *(Cell(_name(one, len(shown) > 1), link=paper_page(one.report.name)) for one in shown),
        ),
        verdicts=verdict_cells([row for row in rows if row["main"]]),
        facts=_facts(paper, claim),
        chapters=tuple(chapters),
        footnotes=notes.footnotes(),
    )


def _name(one: PaperReport, several: bool) -> str:
    return f"{one.paper.id.upper()}, {one.profile}" if several else one.paper.id.upper()


def _facts(paper: Paper, claim: Claim) -> tuple[tuple[str, tuple[str, ...]], ...]:
    facts: dict[str, tuple[str | None, ...]] = {
        "paper": (f"{paper.title} ({paper.venue})", *papers_of(paper)),
        "what": (f"{claim.label}; {claim.kind.title}",),
        "task": (f"{task_cell(claim.task)} on {claim.dataset}",),
        "teacher": (claim.teacher, *_as_claim(claim.teacher_claim)),
        "student": (claim.student, *_as_claim(claim.baseline)),
        "official config": (config_cell(paper, claim.upstream_config),) if claim.upstream_config else (),
        "settings": (_whose_settings(claim),),
        "unreleased": (claim.unreleased,),
        "recipe": (claim.recipe or "none: the number is quoted, not judged",),
        "note": (claim.note,),
    }
    kept = {name: tuple(value for value in values if value) for name, values in facts.items()}
    return tuple((name, values) for name, values in kept.items() if values)


def _as_claim(claim: str | None) -> tuple[Cell, ...]:
    return (claim_cell(claim),) if claim else ()


def _whose_settings(claim: Claim) -> str | None:
    if claim.settings_of:
        return f"those of {claim.settings_of}, but for what this row varies"
    return f"those of the {claim.follows.replace('_', ' ')}" if claim.follows else None


def _of_profile(
    world: World, one: PaperReport, claim: Claim, notes: PublishedTables, several: bool
) -> Iterator[Chapter]:
    """What was measured at one profile."""
    at = f", profile {one.profile}" if several else ""
    rows = one.by_claim.get(claim.id, [])
    arms = world.arms_of(claim, one.profile)
    yield Chapter(f"Result{at}", _opening(one, claim), grids=tuple(_results(rows, notes)))
    runs = tuple(_run_grids(world, claim, arms))
    if runs:
        curves = tuple(_drawn(one, "curves", claim))
        yield Chapter(f"Runs{at}", grids=runs, figures=curves, anchor=runs_anchor(one.profile))
    if samples := tuple(_drawn(one, "samples", claim)):
        yield Chapter(f"{SAMPLES}{at}", figures=samples)
    if claim.judged:
        yield Chapter(f"Command{at}", listings=(Listing("", command(one, claim)),))
    yield from _audit(world, claim, arms, at)


def _drawn(one: PaperReport, kind: str, claim: Claim) -> Iterator[Figure]:
    """The figure of a kind for a claim, if there is one."""
    figure = one.of_claims.get(slug(kind, claim.id))
    if figure is not None:
        yield figure


def _opening(one: PaperReport, claim: Claim) -> tuple[str, ...]:
    if not claim.judged:
        return ("It is quoted: no recipe here reproduces it, and no run is compared with it.",)
    return (f"Profile `{one.profile}`.",)


def _results(rows: Sequence[Row], notes: PublishedTables) -> Iterator[Grid]:
    """The judged rows of the claim, then those of each variant."""
    by_variant: dict[str | None, list[Row]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], []).append(row)
    for variant, own in by_variant.items():
        lines = tuple(Line(tuple(_result_cells(row)), notes.notes_of(row)) for row in own)
        title = f"With {variant}:" if variant else ""
        yield without_empty_columns(Grid((*RESULT_HEADINGS, NOTES), lines, title))


def _result_cells(row: Row) -> Iterator[str]:
    yield from (row["metric"], verdict_cell(row), gain_verdict_cell(row), claimed_cell(row))
    yield from (reproduced_cell(row), signed(row["difference"]), interval(row["lower"], row["upper"]))
    yield from (signed(row["claimed_gain"], row["decimals"]), gain_cell(row))
    yield from (percent(row["teacher_measured"]), percent(row["student_mean"]))


def _run_grids(world: World, claim: Claim, arms: Mapping[ClaimArm, Measured]) -> Iterator[Grid]:
    for (_, arm, variant), measured in arms.items():
        if not measured.runs:
            continue
        title = f"{arm_in_words(arm).capitalize()}{' with ' + ' '.join(variant) if variant else ''}"
        metrics = [name for name in claim.metrics if any(name in run.metrics for run in measured.finished)]
        yield Grid(
            headings=(
                "seed",
                *metrics,
                "status",
                "finished",
                "seconds",
                "commit",
                "machine",
                "record",
                "config",
            ),
            lines=tuple(
                _run_line(world, run, metrics, counts)
                for runs, counts in ((measured.runs, True), (measured.repeated, False))
                for run in runs
            ),
            title=title,
            note=_left_out(measured),
        )


def _left_out(measured: Measured) -> str:
    if not measured.older:
        return ""
    return f"Not counted: {many(len(measured.older), 'finished run')} of an earlier recipe, data or version."


def _run_line(world: World, run: Evidence, metrics: Sequence[str], counts: bool) -> Line:
    page = run_page(run.run_id, run.attempt)
    document = world.document(run)
    seconds = (document.get("timings") or {}).get("wall")
    config = world.config(run)
    facts = run.environment
    return Line(
        (
            f"{run.seed}" if counts else f"{run.seed}, again ({run.repetition}), not in the mean",
            *(Cell(_number(run.metrics.get(name)), link=page) for name in metrics),
            run.status if run.status == "finished" else f"{run.status}: {run.error or 'no error recorded'}",
            run.finished_at[:10],
            NOTHING if seconds is None else f"{float(seconds):.0f}",
            facts.get("commit", NOTHING)[:10],
            facts.get("gpu") or facts.get("cpu") or NOTHING,
            Cell(run.run_id, link=page),
            Cell("as composed", link=config.page) if config else NOTHING,
        )
    )


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}" if math.isfinite(value) else str(value)


def command(one: PaperReport, claim: Claim) -> str:
    """The command that executes the runs of a claim."""
    seeds = seeds_of(one.by_claim.get(claim.id, []))
    return (
        f"python -m suite reproduce --claim {shlex.quote(claim.id)} --profile {one.profile} --seeds {seeds}"
    )


def _audit(world: World, claim: Claim, arms: Mapping[ClaimArm, Measured], at: str) -> Iterator[Chapter]:
    """Compares the record of a run with the published protocol, setting by setting."""
    if not claim.judged:
        return
    own = arms.get((claim.id, claim.kind.arm, ()))
    run = next(iter(own.finished), None) if own else None
    if own is None or run is None:
        return
    departures = tuple(own.departures)
    try:
        lines = tuple(_settings(claim, world.document(run)))
    except (SuiteError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        # Recipe and protocol were written by some version of the suite: this one may be unable to read them.
        lines = ()
    grids = (
        (Grid(_SETTING_HEADINGS, lines, f"Seed {run.seed}, read back from what was built"),) if lines else ()
    )
    if departures or grids:
        said = ("Listed departures from the published protocol:",) if departures else ()
        yield Chapter(f"Protocol{at}", said, departures, grids=grids)


def _settings(claim: Claim, document: Mapping[str, Any]) -> Iterator[Line]:
    from suite.audit.compare import audit, shown

    if claim.recipe not in load_recipes() or not document.get("recipe") or not document.get("protocol"):
        return
    recipe = ComposedRecipe.model_validate(document["recipe"])
    compared = audit(claim, claim.kind.arm, recipe, EffectiveProtocol(document["protocol"]))
    for one in sorted(compared, key=lambda one: (one.verdict == "match", one.setting)):
        verdict = Cell(one.verdict, "bad" if one.verdict == "mismatch" else None)
        yield Line((verdict, one.setting, shown(one.published), shown(one.effective), one.source))


def _published(paper: Paper, claim: Claim) -> Iterator[Chapter]:
    """What was printed about the claim, by the paper and by others."""
    lines = tuple(_source_line(paper, source) for source in claim.sources)
    yield Chapter("Printed in", grids=(Grid(_SOURCE_HEADINGS, lines),), anchor=SOURCES)
    contradictions = [paper.discrepancy(name) for name in claim.discrepancies]
    if contradictions:
        said = tuple(f"{one.title}. {one.text} Sources: {'; '.join(one.sources)}." for one in contradictions)
        yield Chapter("Contradictions", points=said)
    settings = tuple(_hyperparameters(paper, claim))
    if settings:
        yield Chapter("Published settings", grids=(Grid(("stated in", "settings", "note"), settings),))
    quoted = tuple(
        Line(
            (
                row.kind,
                row.method or "model alone",
                _pairs(row.metrics),
                _pairs(row.gains),
                source_cell(paper.document(row)),
                row.note or NOTHING,
            )
        )
        for row in paper.quoted_about(claim.id)
    )
    if quoted:
        grid = Grid(_QUOTED_HEADINGS, quoted)
        yield Chapter("Measured or quoted by others", ("Shown, not judged.",), grids=(grid,))


def _source_line(paper: Paper, source: Source) -> Line:
    document = document_of(paper, source)
    version = paper.versions.get(source.version or "", "")
    return Line(
        (
            source_cell(document, version, source.where),
            source.where,
            source.provenance,
            version or NOTHING,
            _pairs(source.printed),
            _pairs(source.gains),
        )
    )


def document_of(paper: Paper, source: Source) -> str:
    """The document of a source: that of its table, or of the literature."""
    for table in paper.tables:
        if table.id == source.table:
            return table.source
    literature = load_literature().documents.get(source.table)
    return literature.document if literature else source.table


def _hyperparameters(paper: Paper, claim: Claim) -> Iterator[Line]:
    for where, settings in claim.hyperparameters.items():
        yield Line((where.replace("_", " "), _pairs(settings), NOTHING))
    for row in paper.protocols_of(claim.id):
        config = f", {row.upstream_config}" if row.upstream_config else ""
        document = source_cell(f"{row.provenance}, {paper.document(row)}{config}")
        yield Line((document, _pairs(row.hyperparameters), row.note or NOTHING))


def _pairs(values: Mapping[str, object] | Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in dict(values).items()) or NOTHING
