"""The chapters of a reproducibility report besides its tables: scope, what was easy, what was difficult.

The headings are those of the Machine Learning Reproducibility Challenge; every sentence is generated from the
published data and the judged rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from suite.published.addresses import on_github
from suite.published.claims import Claim, Paper
from suite.published.roles import find_role
from suite.report.addresses import claim_page
from suite.report.cells import Row, entries, many, task_cell
from suite.report.layout import Cell
from suite.report.site.blocks import Chapter
from suite.report.site.counts import by_role
from suite.report.site.links import ISSUES
from suite.report.site.world import PaperReport

CONTACT: Final = "Contact"


def scope(one: PaperReport) -> Chapter:
    """What the paper claims, and how much of it is judged."""
    claims = one.paper.claims
    judged = sum(claim.judged for claim in claims)
    kinds = [f"{_counted(role, len(ids))}" for role, ids in by_role(one.rows).items()]
    tasks = dict.fromkeys(f"{task_cell(claim.task)} on {claim.dataset}" for claim in claims)
    return Chapter(
        "Scope of the claims",
        paragraphs=(
            f"{many(len(claims), 'claim')}, each a number or a row of numbers that the paper or its README "
            f"prints: {', '.join(kinds)}. {judged} of them have a recipe and are judged; the others are "
            "quoted.",
            f"Tasks: {'; '.join(tasks)}.",
        ),
    )


def _counted(role: str, count: int) -> str:
    """How many claims have a role, in words."""
    found = find_role(role)
    return f"1 ({found.title})" if count == 1 else f"{count} {found.plural}"


def easy(one: PaperReport) -> Chapter:
    """What was easy: released settings, agreement between sources, finished claims."""
    return Chapter("What was easy", points=tuple(_easy(one)))


def _easy(one: PaperReport) -> Iterator[str]:
    distilled = _distilled(one.paper)
    released = [
        claim for claim in distilled if claim.upstream_config or "released_config" in claim.hyperparameters
    ]
    if released:
        yield f"Released configs state settings of {len(released)} of {len(distilled)} judged distilled rows."
    agreed = [claim for claim in distilled if len(claim.hyperparameters) > 1 and not claim.discrepancies]
    if agreed:
        yield f"Text and released config state settings of {many(len(agreed), 'row')}, without contradiction."
    finished = _claims(row for row in one.rows if row["status"] == "finished")
    if finished:
        yield f"Every run of {many(len(finished), 'claim')} finished at profile {one.profile}."


def difficult(one: PaperReport) -> Chapter:
    """What had to be chosen, was not run, or did not finish."""
    return Chapter("What was difficult", points=tuple(_difficult(one)))


def _difficult(one: PaperReport) -> Iterator[str]:
    distilled = _distilled(one.paper)
    unreleased = [claim for claim in distilled if claim.unreleased]
    if unreleased:
        yield (
            f"No release states all settings of {many(len(unreleased), 'judged row')}; the page of each says "
            "what is used."
        )
    chosen = [claim for claim in distilled if claim.follows]
    if chosen:
        yield (
            f"Text and released config both state settings of {many(len(chosen), 'row')}, "
            "and one of them had to be chosen."
        )
    foreign = [claim for claim in one.paper.claims if claim.claimed_by]
    if foreign:
        yield f"{many(len(foreign), 'number')} are known only from documents by others."
    for status in ("failed", "blocked"):
        if stopped := _claims(row for row in one.rows if row["status"] == status):
            yield f"Runs of {many(len(stopped), 'claim')} {status}: {', '.join(stopped)}."
    if waiting := _claims(row for row in one.rows if row["status"] == "not run"):
        yield f"Not run at profile {one.profile}: {many(len(waiting), 'claim')}."
    departures = dict.fromkeys(text for row in one.rows for text in entries(row["departures"]))
    if departures:
        yield f"Runs depart from the published protocols: {'; '.join(departures)}."


def contradicted(one: PaperReport) -> Chapter:
    """Published sources that contradict each other, each with the claims that it concerns."""
    points: list[str] = []
    for found in one.paper.discrepancies:
        claims = one.paper.claims_with(found.id)
        about = f" Concerns {', '.join(claim.id for claim in claims)}." if claims else ""
        text = f"{found.title}. {found.text} Sources: {'; '.join(found.sources)}.{about}"
        points.append(Cell(text, link=claim_page(claims[0].id)) if len(claims) == 1 else text)
    nothing = () if points else ("No contradiction between its sources is known.",)
    return Chapter("What is contradicted", nothing, tuple(points))


def contact(one: PaperReport) -> Chapter:
    """Where to ask, and where to correct what is shown."""
    threads = sum(source.provenance == "thread" for claim in one.paper.claims for source in claim.sources)
    answered = (
        f" {many(threads, 'number')} come from threads there that the author answered." if threads else ""
    )
    return Chapter(
        CONTACT,
        paragraphs=(
            f"The authors' code has a tracker of its own: {on_github(one.paper.code, 'issues')}.{answered}",
            "For a published number that is wrong here, a missing source, or a result of your own: "
            f"{ISSUES}.",
        ),
    )


def _distilled(paper: Paper) -> list[Claim]:
    return [claim for claim in paper.claims if claim.judged and claim.kind.distilled]


def _claims(rows: Iterator[Row] | Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["claim"] for row in rows if row["origin"] == "claim"))
