"""Composes the text of a report, once for all formats: Markdown and HTML only render these strings.

Nothing here depends on the time or the machine of the report: the same records give the same page.
"""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pandas as pd

from suite.catalogue import current
from suite.contract import Arm
from suite.errors import printable
from suite.evidence.control import planted_effects, students_alone
from suite.evidence.embedded_noise import embedded_noise
from suite.evidence.frame import rows_of
from suite.evidence.gathered import Arms, Measured, counted_runs, measured_arms
from suite.published.claims import UNRELEASED, Claim, Paper
from suite.published.finding import claims_by_id
from suite.published.literature import load_literature
from suite.report.addresses import claim_page, run_page
from suite.report.caption import captions
from suite.report.cells import (
    ARM_WORDS,
    NOTHING,
    Row,
    best_of_k_cell,
    claim_cell,
    claimed_cell,
    p_value,
    pair_cell,
    runs_needed_cell,
    signed,
    spread,
    verdict_cell,
    yes_no,
)
from suite.report.control import study_sections
from suite.report.figures.chapters import SamplesOf, ScalarsOf, curves, literature, overview, samples
from suite.report.known import UNRELEASED_HEADINGS, answer, facts, section, trained, unreleased_lines
from suite.report.layout import Cell, Grid, Line, Page, Section
from suite.report.reruns import reruns
from suite.report.rivals import rival_sections
from suite.report.shared_noise import TITLE as NOISE_TITLE
from suite.report.shared_noise import noise_sections
from suite.report.tables import PublishedTables
from suite.report.variants import variant_sections
from suite.store.summaries import Evidence
from suite.verdicts import DEVIATIONS, INCONCLUSIVE, STANDARD_RUNS

EMBEDDED_OPENING: Final = (
    "These runs use embedded data (small sets that the code builds on first use; for the tasks of this "
    "repository from scikit-learn's handwritten digits), so published numbers are not comparable with them "
    "and only the sign of a gain is judged."
)
_HOW_TO_READ_EMBEDDED: Final = (
    "Claimed is what the paper or its README prints. Reproduced is the mean ± sample sd over the seeds of "
    "our runs of the same method with smaller models. The gain compares the distilled runs with our own "
    "student trained alone, paired by the seeds that both have; its 90 % interval borrows strength from all "
    f"rows of the task (see '{NOISE_TITLE}'). The verdict is `GAIN` when the interval is above zero, `LOSS` "
    "when it is below, `NO_CHANGE` when it is within the practical margin around zero, and `GAIN_UNCLEAR` "
    "when it is wider than that or fewer than three seeds have run."
)
_HOW_TO_READ_PUBLISHED: Final = (
    "Claimed is what the paper or its README prints; reproduced is the mean ± sample sd over our seeds. One "
    "more run of ours would fall within the interval in 95 of 100 cases. A claim deviates when it is outside "
    "the interval and further off than rounding and the practical margin explain. One or two runs are only a "
    "screen. The gain is over our own re-trained student, with its 90 % interval. A verdict with `*` comes "
    "from runs with listed departures."
)

DETAIL_HEADINGS: Final = (
    "claim",
    "metric",
    "verdict",
    "p",
    "survives Benjamini-Hochberg",
    "survives 1.5 sigma0",
    "best of k",
    "runs needed",
)
INERT_HEADINGS: Final = ("claim", "seed", "what shows that the method did not act")
OTHERS_HEADINGS: Final = ("about", "kind", "method", "teacher → student", "numbers", "gains", "source")

_UNRELEASED_REMARK: Final = (
    f"The tables mark these rows as '{UNRELEASED}'. If such a number is not reached, the settings chosen "
    "here may be the cause."
)

BY_CLASS: Final = "IoU"
"""The metric that is shown per class, by its name in `suite.store.record.Record.per_class`."""

_FACTS: Final = {
    "python": "Python",
    "torch": "torch",
    "torchvision": "torchvision",
    "mmengine": "mmengine",
    "mmcv": "mmcv",
    "mmpretrain": "mmpretrain",
    "mmdet": "mmdet",
    "mmseg": "mmseg",
    "gpu": "GPU",
    "driver": "driver",
    "cpu": "CPU",
    "os": "operating system",
    "commit": "commit",
}
"""Key in the environment of a record -> its printed name."""


def build_page(
    paper: Paper,
    frame: pd.DataFrame,
    records: Iterable[Evidence],
    profile: str,
    scalars: ScalarsOf | None = None,
    samples_of: SamplesOf | None = None,
    arms: Arms | None = None,
) -> Page:
    """Composes the report of one paper.

    Args:
        paper: the paper with its claims.
        frame: its rows, from `suite.evidence.frame.build_frame`.
        records: the store that the frame was built from; the environment is that of the records it used.
        profile: the profile of the frame.
        scalars: returns the series that a run has left. If given, the page has figures, which needs
            matplotlib and is slow; the text is the same.
        samples_of: returns the sample predictions that a run has kept. If given, they are shown.
        arms: the measured arms at that profile, if known already.
    """
    rows = rows_of(frame)
    arms = measured_arms(records, profile) if arms is None else arms
    used = _used(paper, arms)
    embedded = not all(record.comparable for record in used) if used else profile != "paper"
    tables = PublishedTables(paper, rows)
    return Page(
        title=f"{paper.id.upper()}: {paper.title} ({paper.venue})",
        paragraphs=(f"{EMBEDDED_OPENING} {_HOW_TO_READ_EMBEDDED}" if embedded else _HOW_TO_READ_PUBLISHED,),
        caption=captions(rows, profile),
        sections=(
            _known(paper, rows, embedded),
            *(overview(rows, arms) if scalars else ()),
            *tables.sections(illustrated=scalars is not None),
            *(literature(paper.claims, rows) if scalars else ()),
            *(curves(paper.claims, arms, scalars) if scalars else ()),
            *(samples(paper.claims, arms, samples_of) if samples_of else ()),
            *_chapters(paper, rows, arms, used, profile),
        ),
        shared_departures=tables.shared_departures,
        footnotes=tables.footnotes(),
        commands=_commands(paper.id, profile, rows),
    )


def _known(paper: Paper, rows: Sequence[Row], embedded: bool) -> Section:
    """The section on what is known about the paper, including the records of this profile."""
    literature = load_literature()
    others = reruns(paper, literature)
    answered = answer(others, embedded=rows) if embedded else answer(others, published=rows)
    return section(answered, (*facts(paper, literature), trained(rows, embedded=embedded)))


def _chapters(
    paper: Paper, rows: Sequence[Row], arms: Arms, used: Sequence[Evidence], profile: str
) -> Iterator[Section]:
    """The sections after the published tables; empty ones are left out."""
    yield from rival_sections(rows)
    published = claims_by_id().values()
    yield from noise_sections(paper.claims, embedded_noise(published, arms))
    yield from study_sections(
        students_alone(published, arms), rows, planted_effects(published, arms, profile)
    )
    unreleased = tuple(unreleased_lines(paper.claims))
    if unreleased:
        yield Section("Unreleased settings", (Grid(UNRELEASED_HEADINGS, unreleased),), _UNRELEASED_REMARK)
    judged = [row for row in rows if row["origin"] == "claim"]
    details = tuple(_detail(row) for row in judged if row["verdict"] in {*DEVIATIONS, INCONCLUSIVE})
    if details:
        yield Section("Deviations and undecided rows", (Grid(DETAIL_HEADINGS, details),))
    inert = tuple(_inert(paper.claims, arms))
    if inert:
        yield Section("Runs whose method did not act", (Grid(INERT_HEADINGS, inert),))
    yield from variant_sections(rows)
    classes = tuple(_class_grids(paper.claims, arms))
    if classes:
        yield Section(f"Per-class {BY_CLASS}", classes, "In percent, mean ± sample sd over the seeds.")
    others = tuple(_others(rows))
    if others:
        folded = Grid(OTHERS_HEADINGS, others, f"{len(others)} rows, quoted but not judged", folded=True)
        yield Section("Numbers reported by others", (folded,))
    facts = tuple(Line(fact) for fact in environment(used))
    if facts:
        yield Section("Environment of the runs", (Grid(("what", "values"), facts),))


def _inert(claims: Iterable[Claim], arms: Arms) -> Iterator[Line]:
    """One line for each distilled run of a claim, or of a variant of it, whose method did not act."""
    ids = {claim.id for claim in claims}
    for (claim, arm, variant), measured in sorted(arms.items(), key=lambda entry: entry[0]):
        if arm == "distilled" and claim in ids:
            for run in measured.finished:
                if run.inert:
                    what = Cell(" ".join((claim, *variant)), link=claim_page(claim))
                    why = "; ".join(run.inert)
                    yield Line((what, Cell(str(run.seed), link=run_page(run.run_id, run.attempt)), why))


def _class_grids(claims: Iterable[Claim], arms: Arms) -> Iterator[Grid]:
    """One folded table for each claim whose runs have results per class."""
    for claim in claims:
        columns = _class_columns(claim, arms)
        if columns:
            own = list(columns.values())[-1]
            yield Grid(
                headings=("class", *(ARM_WORDS[arm] for arm in columns)),
                lines=tuple(
                    Line((name, *(_class_cell(results.get(name, [])) for results in columns.values())))
                    for name in own
                ),
                title=Cell(f"{claim.id}: {claim.label}", link=claim_page(claim.id)),
                folded=True,
            )


def _class_columns(claim: Claim, arms: Arms) -> dict[Arm, dict[str, list[float]]]:
    """Arm -> class -> results; for a distilled student also those of its teacher and the student alone."""
    if not claim.judged:
        return {}
    own: Arm = claim.kind.arm
    shown: Iterable[Arm] = ARM_WORDS if own == "distilled" else (own,)
    columns = {arm: arms.get((claim.id, arm, ()), Measured()).by_class(BY_CLASS) for arm in shown}
    return {arm: results for arm, results in columns.items() if results} if columns[own] else {}


def _class_cell(values: list[float]) -> str:
    if not values:
        return NOTHING
    return spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def environment(records: Iterable[Evidence]) -> Iterator[tuple[str, str]]:
    """The environment of the records: each fact with its distinct values, the most frequent first.

    Args:
        records: in any order; facts that no record has are left out.
    """
    seen: dict[str, Counter[str]] = {key: Counter() for key in _FACTS}
    for record in records:
        for key in seen.keys() & record.environment.keys():
            seen[key][record.environment[key]] += 1
    for key, values in seen.items():
        if values:
            yield _FACTS[key], ", ".join(sorted(values, key=lambda value: (-values[value], value)))


def _used(paper: Paper, arms: Arms) -> list[Evidence]:
    """The finished records that the frame of a paper is based on, each once."""
    claims = {claim.id for claim in paper.claims}
    return [run for run in counted_runs(arms, claims) if run.status == "finished"]


def _commands(paper: str, profile: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """The commands that reproduce these numbers, with as many seeds as the row with the most."""
    seeds = seeds_of(rows)
    # A paper from outside the checkout has to be named with its folder.
    folders = [folder for folder in current().outside if folder.name == paper]
    outside = "".join(f" --papers {shlex.quote(printable(folder))}" for folder in folders)
    arguments = f" ARGS={shlex.quote(outside.strip())}" if outside else ""
    return (
        f"make reproduce PAPER={paper} PROFILE={profile} SEEDS={seeds}{arguments}",
        f"python -m suite reproduce --paper {paper} --profile {profile} --seeds {seeds}{outside}",
    )


def seeds_of(rows: Iterable[Row]) -> int:
    """The number of seeds that reproduces rows: that of the row with the most seeds."""
    counts = [row["n"] or 0 for row in rows if row["origin"] == "claim"]
    return max(counts, default=0) or STANDARD_RUNS


def _detail(row: Row) -> Line:
    """The details of a deviation, and what an undecided row would need."""
    deviates = row["verdict"] in DEVIATIONS
    return Line(
        (
            claim_cell(row["claim"]),
            row["metric"],
            verdict_cell(row),
            p_value(row["p_value"]),
            yes_no(row["survives_bh"]) if deviates else NOTHING,
            yes_no(row["survives_wider_prior"]),
            best_of_k_cell(row),
            runs_needed_cell(row),
        )
    )


def _others(rows: Sequence[Row]) -> Iterator[Line]:
    """One line for each number, or row of numbers, that somebody else printed."""
    quoted: dict[str, list[Row]] = {}
    for row in rows:
        if row["origin"] == "quoted":
            quoted.setdefault(row["claim"], []).append(row)
    for metrics in quoted.values():
        row = metrics[0]
        numbers = [
            f"{each['metric']} {claimed_cell(each)}" for each in metrics if each["claimed"] is not None
        ]
        gains = [
            f"{each['metric']} {signed(each['claimed_gain'], each['decimals'])}"
            for each in metrics
            if each["claimed_gain"] is not None
        ]
        yield Line(
            (
                claim_cell(row["about"]) if row["about"] else NOTHING,
                row["role"],
                row["method"] or NOTHING,
                pair_cell(row),
                ", ".join(numbers) or NOTHING,
                ", ".join(gains) or NOTHING,
                row["source"] + (f". {row['note']}" if row["note"] else ""),
            )
        )
