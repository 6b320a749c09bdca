"""What is known about a paper: what is published, what others measured, what our runs show.

Pure functions of the published data and of judged rows (`suite.evidence.frame.rows_of`). README, page and
terminal show what they return.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from suite.published.claims import Claim, Paper
from suite.published.literature import Literature
from suite.published.roles import find_role, load_roles
from suite.report.caption import is_own_result
from suite.report.cells import NOTHING, Row, claim_cell, main_rows, many, signed
from suite.report.layout import Grid, Line, Section
from suite.report.reruns import Rerun, elsewhere, reruns, silent_reports
from suite.verdicts import (
    BLOCKED,
    DEVIATES_HIGH,
    DEVIATES_LOW,
    DEVIATIONS,
    GAIN,
    GAIN_LARGER,
    GAIN_REPRODUCED,
    GAIN_SMALLER,
    GAIN_UNCLEAR,
    INCONCLUSIVE,
    LOSS,
    NO_CHANGE,
    REPRODUCED,
)

TITLE: Final = "What is known"
HEADINGS: Final = ("about", "what is known")

CONTRADICTION_HEADINGS: Final = ("contradiction", "what it concerns", "sources")
RERUN_HEADINGS: Final = ("method", "teacher → student", "measured", "source", "note")
UNRELEASED_HEADINGS: Final = (
    "claim",
    "method",
    "teacher → student",
    "what no release states, and what is taken",
)

_DECIDED: Final = frozenset({REPRODUCED, *DEVIATIONS})

_NUMBER_WORDS: Final = {
    REPRODUCED: "reproduced",
    DEVIATES_LOW: "too low",
    DEVIATES_HIGH: "too high",
    INCONCLUSIVE: "undecided",
    BLOCKED: "blocked",
}
"""Verdict on a number -> in words; in the order in which counts are listed."""

_GAIN_WORDS: Final = {
    GAIN_REPRODUCED: ("gain of the claimed size", "gains of the claimed size"),
    GAIN_SMALLER: ("smaller gain", "smaller gains"),
    GAIN_LARGER: ("larger gain", "larger gains"),
    GAIN: ("gain", "gains"),
    LOSS: ("loss", "losses"),
    NO_CHANGE: ("unchanged", "unchanged"),
    GAIN_UNCLEAR: ("undecided", "undecided"),
    BLOCKED: ("blocked", "blocked"),
}
"""Verdict on a gain -> in words, singular and plural; in the order in which counts are listed."""

_ALWAYS_COUNTED: Final = frozenset({GAIN, LOSS, GAIN_UNCLEAR})
"""Verdicts on embedded data that are listed even with a count of 0."""


@dataclass(frozen=True)
class Fact:
    """One thing that is known about a paper.

    Attributes:
        topic: what it is about.
        sentence: what is known.
        grid: the items that the sentence counts, one per line; None if there is nothing to list.
    """

    topic: str
    sentence: str
    grid: Grid | None = None


def answer(
    others: Sequence[Rerun],
    embedded: Iterable[Row] | None = None,
    published: Iterable[Row] | None = None,
) -> str:
    """Says in a few sentences whether a paper can be reproduced, as far as anybody knows.

    Args:
        others: re-runs of it by others.
        embedded: its rows on embedded data; if None, they are not mentioned.
        published: its rows under the published protocol, likewise.
    """
    sentences = [_others_answer(others)]
    if published is not None:
        sentences.insert(0, _published_answer(_own(published)))
    if embedded is not None:
        sentences.append(_embedded_answer(_own(embedded)))
    return " ".join(sentences)


def facts(paper: Paper, literature: Literature) -> tuple[Fact, ...]:
    """What the published data say about a paper, from what it prints to what is missing."""
    return (
        _printed(paper),
        _contradictions(paper),
        _by_others(paper, literature),
        _unreleased(paper),
        _gaps(paper),
    )


def trained(rows: Iterable[Row], *, embedded: bool, whose: str = "Our runs") -> Fact:
    """What the records say about a paper.

    Args:
        rows: those of the paper at one profile.
        embedded: whether that profile trains on embedded data.
        whose: which runs the records come from, in words.
    """
    judged = [row for row in main_rows(rows) if row["status"] != "quoted"]
    done = [row for row in judged if row["reproduced"] is not None]
    topic = f"{whose}, {'embedded' if embedded else 'published'} data"
    if not done:
        return Fact(topic, f"None of the {many(len(judged), 'judged row')} has been trained.")
    how = f"profile {done[0]['profile']}, {_seeds(done)}"
    words = [f"{len(done)} of {many(len(judged), 'judged row')} trained ({how})."]
    if not embedded:
        words.append(f"Numbers: {_numbers(done)}.")
    for name, role in load_roles().items():
        gains = [row["gain_verdict"] for row in done if row["role"] == name and row["gain_verdict"]]
        if gains:
            words.append(f"{role.plural.capitalize()}: {_gains(gains, embedded)}.")
    if embedded:
        words.append("None of them is a reproduction: data, networks and schedules are not the paper's.")
    return Fact(topic, " ".join(words))


def section(answered: str, known: Iterable[Fact]) -> Section:
    """What is known as a section of the paper's page."""
    known = list(known)
    summary = Grid(HEADINGS, tuple(Line((fact.topic, fact.sentence)) for fact in known))
    # Unreleased settings have a chapter of their own further down.
    folded = (fact.grid for fact in known if fact.grid and fact.grid.headings != UNRELEASED_HEADINGS)
    return Section(TITLE, (summary, *folded), answered)


def in_brief(
    paper: Paper, literature: Literature, embedded: Iterable[Row], published: Iterable[Row]
) -> dict[str, str]:
    """The answer and its evidence in a few words each, by topic.

    Args:
        paper: the paper with its claims.
        literature: what else is published.
        embedded: its rows on embedded data.
        published: its rows under the published protocol.
    """
    own = _printed_claims(paper)
    others = reruns(paper, literature)
    results = _own(published)
    done = [row for row in results if row["reproduced"] is not None]
    gains = [row["gain_verdict"] for row in _own(embedded) if row["gain_verdict"]]
    unstated = sum(claim.unreleased is not None for claim in paper.claims)
    return {
        "can it be reproduced?": f"{_reached(results)}, {len(done)} of {len(results)} results trained",
        "re-runs by others, versus the claims": f"{len(others)}: {_standings(others)}" if others else "none",
        "the paper's results on embedded data": _gains(gains, embedded=True),
        "printed in the paper and README": f"{many(len(own), 'row')}, {many(_numbers_of(own), 'number')}",
        "contradictions between published sources": str(len(paper.discrepancies)),
        "rows with unreleased settings": f"{unstated} of {sum(claim.judged for claim in paper.claims)}",
    }


def unreleased_lines(claims: Iterable[Claim]) -> Iterator[Line]:
    """One line for each claim whose recipe has to choose settings that no release states."""
    for claim in claims:
        if claim.unreleased:
            yield Line((claim_cell(claim.id), claim.method or NOTHING, _pair(claim), claim.unreleased))


def _own(rows: Iterable[Row]) -> list[Row]:
    """The main rows of the results that the paper presents as its own."""
    return [row for row in main_rows(rows) if is_own_result(row)]


def _published_answer(own: Sequence[Row]) -> str:
    done = [row for row in own if row["reproduced"] is not None]
    if not done:
        return "Open: none of its results has been trained here under the published protocol."
    return (
        f"{_reached(own).capitalize()}. Trained here under the published protocol: {len(done)} of "
        f"its {many(len(own), 'result')}, {_numbers(done)}."
    )


def _reached(own: Iterable[Row]) -> str:
    """How many of the decided numbers were reproduced, or `open` if none is decided."""
    decided = [row for row in own if row["verdict"] in _DECIDED]
    reached = sum(row["verdict"] == REPRODUCED for row in decided)
    return f"{reached} of {many(len(decided), 'decided number')} reproduced" if decided else "open"


def _others_answer(others: Sequence[Rerun]) -> str:
    if not others:
        return "No re-run by others was found."
    rows = len({rerun.claim.id for rerun in others})
    margin = "within the practical margin of the claim"
    return f"Others report {many(len(others), 're-run')} of {rows} of its rows: {_standings(others, margin)}."


def _embedded_answer(own: Sequence[Row]) -> str:
    done = [row["gain_verdict"] for row in own if row["gain_verdict"]]
    if not done:
        return "None of its results has been trained here on embedded data."
    return (
        "Trained here on embedded data, which can neither reproduce nor refute a published number: "
        f"{len(done)} of its {many(len(own), 'result')}, {_gains(done, embedded=True)}."
    )


def _printed(paper: Paper) -> Fact:
    own = _printed_claims(paper)
    foreign = len(paper.claims) - len(own)
    words = [f"{many(len(own), 'row')} with {many(_numbers_of(own), 'number')}: {_roles(own)}."]
    if foreign:
        words.append(f"For comparison, {many(foreign, 'row')} from other documents.")
    quoted = sum(not claim.judged for claim in paper.claims)
    words.append(
        "All are judged."
        if not quoted
        else f"{len(paper.claims) - quoted} of the {len(paper.claims)} are judged, the others quoted."
    )
    return Fact("Printed by paper and README", " ".join(words))


def _printed_claims(paper: Paper) -> list[Claim]:
    """The rows that the paper or its README prints; the others come from other documents."""
    return [claim for claim in paper.claims if claim.claimed_by is None]


def _numbers_of(claims: Iterable[Claim]) -> int:
    return sum(len(claim.metrics) for claim in claims)


def _contradictions(paper: Paper) -> Fact:
    topic = "Contradictions"
    if not paper.discrepancies:
        return Fact(topic, "None was found among the published sources.")
    own = [claim for claim in paper.claims if claim.kind.own]
    touched = sum(bool(claim.discrepancies) for claim in own)
    lines = tuple(
        Line((found.title, _concerned(paper, found.id), "; ".join(found.sources)))
        for found in paper.discrepancies
    )
    return Fact(
        topic,
        f"Published sources contradict each other on {many(len(lines), 'point')}; this affects "
        f"{touched} of its {many(len(own), 'result')}.",
        Grid(CONTRADICTION_HEADINGS, lines, many(len(lines), "contradiction"), folded=True),
    )


def _by_others(paper: Paper, literature: Literature) -> Fact:
    others = reruns(paper, literature)
    words = [_others_answer(others)]
    if silent := silent_reports(paper):
        words.append(f"{many(len(silent), 'further report')} without a number for one of its rows.")
    if further := elsewhere(paper, literature):
        words.append(f"The literature has {many(len(further), 're-run')} of its methods on other pairs.")
    quotations = sum(row.kind == "quotation" for row in paper.quoted)
    if quotations:
        words.append(f"{many(quotations, 'quotation')} of its numbers without a new run.")
    lines = tuple(map(_rerun_line, others))
    grid = Grid(RERUN_HEADINGS, lines, many(len(lines), "re-run"), folded=True)
    return Fact("Measured by others", " ".join(words), grid if lines else None)


def _unreleased(paper: Paper) -> Fact:
    topic = "Settings in no release"
    rows = [claim for claim in paper.claims if claim.unreleased]
    if not rows:
        return Fact(topic, "None: the settings of the method are stated for every judged row.")
    return Fact(
        topic,
        f"Needed by {many(len(rows), 'judged row')}: {_roles(rows)}.",
        Grid(UNRELEASED_HEADINGS, tuple(unreleased_lines(rows))),
    )


def _gaps(paper: Paper) -> Fact:
    topic = "Not transcribed"
    if not paper.gaps:
        return Fact(topic, "No number is known to be missing here.")
    lines = tuple(Line((gap.table or NOTHING, gap.text)) for gap in paper.gaps)
    counted = many(len(lines), "gap")
    grid = Grid(("table", "what is missing"), lines, counted, folded=True)
    return Fact(topic, f"{counted} in the transcribed numbers.", grid)


def _rerun_line(rerun: Rerun) -> Line:
    claimed, digits = rerun.claim.metrics[rerun.metric], len(rerun.difference.partition(".")[2])
    difference = signed(float(rerun.difference), digits)
    number = f"{rerun.metric} {rerun.printed}, claimed {claimed} ({difference})"
    return Line((rerun.method, _pair(rerun.claim), number, rerun.source, rerun.note or NOTHING))


def _pair(claim: Claim) -> str:
    return " → ".join(filter(None, (claim.teacher, claim.student)))


def _concerned(paper: Paper, discrepancy: str) -> str:
    """The rows that a contradiction concerns, by role, then settings and numbers of others."""
    parts = [_roles(paper.claims_with(discrepancy))]
    settings = sum(discrepancy in row.discrepancies for row in paper.protocols)
    quoted = sum(discrepancy in row.discrepancies for row in paper.quoted)
    parts += [many(settings, "statement") + " of settings"] if settings else []
    parts += [many(quoted, "number") + " by others"] if quoted else []
    return ", ".join(filter(None, parts))


def _roles(claims: Iterable[Claim]) -> str:
    """How many claims there are of each role: ``results of the paper (18), ablations (14)``."""
    counts = Counter(claim.role for claim in claims)
    return ", ".join(f"{find_role(name).plural} ({count})" for name, count in counts.most_common())


def _standings(others: Iterable[Rerun], within: str = "within the margin") -> str:
    counts = Counter(rerun.standing for rerun in others)
    return f"{counts['within']} {within}, {counts['above']} above, {counts['below']} below"


def _numbers(rows: Iterable[Row]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    told = [f"{counts[name]} {word}" for name, word in _NUMBER_WORDS.items() if counts[name]]
    unjudged = sum(count for name, count in counts.items() if name not in _NUMBER_WORDS)
    return ", ".join([*told, f"{unjudged} not judged"] if unjudged else told)


def _gains(verdicts: Iterable[str], embedded: bool) -> str:
    """Counts of the verdicts on gains; on embedded data, the usual ones even with a count of 0."""
    counts = Counter(verdicts)
    always = _ALWAYS_COUNTED if embedded else frozenset()
    return ", ".join(
        f"{counts[name]} {one if counts[name] == 1 else several}"
        for name, (one, several) in _GAIN_WORDS.items()
        if counts[name] or name in always
    )


def _seeds(rows: Iterable[Row]) -> str:
    """The number of seeds per row: ``1 to 3 seeds each``."""
    counts = {row["n"] or 0 for row in rows}
    low, high = min(counts), max(counts)
    return f"{many(high, 'seed') if low == high else f'{low} to {high} seeds'} each"
