"""What is committed of our own results: tables and a figure of the reference records, and pages on them.

``python -m suite.report.summary`` writes them anew, for every paper that the records serve; a test fails when
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
"""Name of the front page, and of the page beside the tables of the reference records."""

KNOWN = "what is known"
TABLE = "reference table"
"""What is written into the two: names of the marks that it stands between."""

FIGURE = "gains.svg"
"""Name of the figure of all gains, beside the tables."""

PUBLISHED_PROFILE = "paper"
"""The profile of the published protocol; the answers tell embedded runs of the profile of `make_report`."""

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
    """Rows of the methods' own claims that the reference records measured, by their main metrics.

    What was not run yet is missing here; the tables of the papers show it.
    """
    records = read_summaries(REFERENCE / "records")
    rows = rows_of(build_frame(read_papers(BASELINES).values(), records, profile))
    return [row for row in rows if is_own_result(row) and row["main"] and row["gain"] is not None]


def known_papers() -> str:
    """Whether each paper can be reproduced, as far as anybody knows: a column each, as Markdown."""
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
    """A link to the page of the paper, where records serve it."""
    name = f"{paper.id}.md"
    return f"[{name}](results/reference/{name})" if any(row["n"] for row in rows) else NOTHING


def gains_of_all() -> str:
    """The gains of `reference_rows` as an SVG that stands by itself, for the front page."""
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
        f"Percent on the embedded test images, mean over {_seeds(rows)} seeds. Gains are paired by seed and "
        "have a 90 % interval. Sign tests over the pairs of each paper (exact, two-sided): "
        f"{'; '.join(_sign_tests(rows))}."
    )
    return "\n".join([*lines, "", caption])


def _cells(row: Row) -> Iterator[str]:
    yield from (row["method"], pair_cell(row), row["metric"])
    yield from (percent(row[name]) for name in ("teacher_measured", "student_mean", "reproduced"))
    yield from (signed(row["claimed_gain"], row["decimals"]), gain_cell(row), row["gain_verdict"])


def _seeds(rows: Iterable[Row]) -> str:
    counts = sorted({row["n"] for row in rows})
    return " or ".join(map(str, counts))


def _sign_tests(rows: Iterable[Row]) -> Iterator[str]:
    """One test a paper: papers share students, so that their pairs are not independent of each other."""
    by_paper: dict[str, list[Row]] = {}
    for row in rows:
        by_paper.setdefault(row["paper"], []).append(row)
    for paper, own in by_paper.items():
        test = sign_test(pair_gains(own))
        yield f"{paper.upper()} {signs(test)} (p = {p_value(test.p_value)})"


def main(front: Path = ROOT / README) -> None:
    """Writes reference tables and figure anew, and what the front page and the page beside them say."""
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
