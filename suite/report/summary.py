"""The committed files about our own results: tables and a figure of the reference records, and pages on them.

``python -m suite.report.summary`` regenerates them, for every paper that the records serve; a test fails if
one is stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from suite.evidence.frame import build_frame, rows_of
from suite.evidence.gathered import measured_arms
from suite.generated import with_block
from suite.paths import BASELINES, REFERENCE, ROOT
from suite.published.addresses import on_arxiv, on_github
from suite.published.checks import read_papers
from suite.published.claims import Paper
from suite.published.literature import read_literature
from suite.report import DEFAULT_PROFILE, Report, make_report, recorded_profiles
from suite.report.caption import is_own_result, pair_gains, signs
from suite.report.cells import NOTHING, Row, gain_cell, p_value, pair_cell, percent, signed
from suite.report.figures.gains import gains_figure
from suite.report.figures.svg import standalone
from suite.report.known import in_brief
from suite.store.files import write
from suite.store.summaries import read_summaries
from suite.verdicts import sign_test

README = "README.md"
"""File name of the front page, and of the page beside the tables of the reference records."""

KNOWN = "what is known"
TABLE = "reference table"
"""Names of the marks between which the generated blocks are written, in the front page and that page."""

FIGURE = "gains.svg"
"""File name of the figure of all gains, beside the tables."""

PUBLISHED_PROFILE = "paper"
"""The profile of the published protocol; embedded runs are those of the default profile of `make_report`."""

_HEADINGS = (
    "method",
    "teacher → student",
    "metric",
    "teacher",
    "student",
    "distilled",
    "gain claimed",
    "our gain",
    "verdict",
)


def reference_reports() -> list[Report]:
    """The report of each paper and profile that the reference records serve."""
    store = REFERENCE / "records"
    records = read_summaries(store)
    return [
        make_report(paper, records, profile, store=store)
        for paper in read_papers(BASELINES).values()
        for profile in recorded_profiles(paper, records)
    ]


def reference_rows(profile: str = DEFAULT_PROFILE) -> list[Row]:
    """Main rows of the papers' own results whose gain the reference records measured.

    Claims that were not run yet are missing here; the tables of the papers show them.
    """
    records = read_summaries(REFERENCE / "records")
    rows = rows_of(build_frame(read_papers(BASELINES).values(), records, profile))
    return [row for row in rows if is_own_result(row) and row["main"] and row["gain"] is not None]


def known_papers() -> str:
    """A Markdown table of whether each paper can be reproduced, as far as known: one column per paper."""
    records = read_summaries(REFERENCE / "records")
    literature = read_literature(BASELINES)
    columns: dict[str, dict[str, str]] = {}
    for paper in read_papers(BASELINES).values():
        embedded, published = (
            rows_of(build_frame([paper], records, profile))
            for profile in (DEFAULT_PROFILE, PUBLISHED_PROFILE)
        )
        brief = in_brief(paper, literature, embedded, published)
        columns[paper.id.upper()] = {"": _links(paper), **brief, "full report": _page(paper, embedded)}
    topics = list(next(iter(columns.values())))
    lines = [f"| | {' | '.join(columns)} |", "|" + " --- |" * (len(columns) + 1)]
    lines += [f"| {topic} | {' | '.join(cells[topic] for cells in columns.values())} |" for topic in topics]
    return "\n".join(lines)


def _links(paper: Paper) -> str:
    links = [f"[arXiv {number}]({on_arxiv(number)})" for number in paper.arxiv]
    return ", ".join([paper.venue, *links, f"[code]({on_github(paper.code)})"])


def _page(paper: Paper, rows: Iterable[Row]) -> str:
    """A link to the page of the paper, if records serve it."""
    name = f"{paper.id}.md"
    return f"[{name}](results/reference/{name})" if any(row["n"] for row in rows) else NOTHING


def gains_of_all() -> str:
    """The gains of `reference_rows` as a self-contained SVG, for the front page."""
    arms = measured_arms(read_summaries(REFERENCE / "records"), DEFAULT_PROFILE)
    figure = gains_figure(reference_rows(), arms)
    assert figure is not None, "the reference records have gains"
    return standalone(figure)


def summary(rows: Iterable[Row]) -> str:
    """The table and its caption, as Markdown."""
    rows = list(rows)
    lines = [f"| {' | '.join(_HEADINGS)} |", "|" + " --- |" * len(_HEADINGS)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    caption = (
        f"Percent on the embedded test images, mean over {_seeds(rows)} seeds. Gains are paired by the seeds "
        "that both have, and have a 90 % interval. Sign tests over the pairs of each paper (exact, "
        f"two-sided): {'; '.join(_sign_tests(rows))}."
    )
    return "\n".join([*lines, "", caption])


def _cells(row: Row) -> Iterator[str]:
    yield from (row["method"], pair_cell(row), row["metric"])
    yield from (percent(row[name]) for name in ("teacher_measured", "student_mean", "reproduced"))
    yield from (signed(row["claimed_gain"], row["decimals"]), gain_cell(row), row["gain_verdict"])


def _seeds(rows: Iterable[Row]) -> str:
    counts, alone = (_numbers(row[name] for row in rows) for name in ("n", "student_n"))
    return counts if counts == alone else f"{counts} seeds, students alone {alone}"


def _numbers(found: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(set(found))))


def _sign_tests(rows: Iterable[Row]) -> Iterator[str]:
    """One test per paper: papers share students, so their pairs are not independent of each other."""
    by_paper: dict[str, list[Row]] = {}
    for row in rows:
        by_paper.setdefault(row["paper"], []).append(row)
    for paper, own in by_paper.items():
        test = sign_test(pair_gains(own))
        yield f"{paper.upper()} {signs(test)} (p = {p_value(test.p_value)})"


def main(front: Path = ROOT / README) -> None:
    """Regenerates reference tables and figure, and the blocks in the front page and the page beside them."""
    for report in reference_reports():
        report.write(REFERENCE)
    write(REFERENCE / FIGURE, gains_of_all().encode("utf-8"))
    for page, name, block in (
        (front, KNOWN, known_papers()),
        (REFERENCE / README, TABLE, summary(reference_rows())),
    ):
        page.write_text(with_block(page.read_text(encoding="utf-8"), name, block), encoding="utf-8")


if __name__ == "__main__":
    main()
