"""What is committed of our own results: the tables of the reference records, and the table of the README.

``python -m suite.report.summary`` writes them anew, for every paper that the records serve; a test fails when
one is stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from suite.evidence.frame import build_frame, rows_of
from suite.paths import BASELINES, REFERENCE, ROOT
from suite.published.checks import read_papers
from suite.report import Report, make_report, recorded_profiles
from suite.report.caption import is_own_result, pair_gains, signs
from suite.report.cells import Row, gain_cell, p_value, pair_cell, percent, signed
from suite.store.summaries import read_summaries
from suite.verdicts import sign_test

README = ROOT / "README.md"
BEGIN = "<!-- reference table: begin -->"
END = "<!-- reference table: end -->"

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
    records = read_summaries(REFERENCE / "records")
    return [
        make_report(paper, records, profile)
        for paper in read_papers(BASELINES).values()
        for profile in recorded_profiles(paper, records)
    ]


def reference_rows(profile: str = "mini") -> list[Row]:
    """Rows of the methods' own claims that the reference records measured, by their main metrics.

    What was not run yet is missing here; the tables of the papers show it.
    """
    records = read_summaries(REFERENCE / "records")
    rows = rows_of(build_frame(read_papers(BASELINES).values(), records, profile))
    return [row for row in rows if is_own_result(row) and row["main"] and row["gain"] is not None]


def summary(rows: Iterable[Row]) -> str:
    """The table and its caption, as Markdown."""
    rows = list(rows)
    lines = [f"| {' | '.join(_HEADINGS)} |", "|" + " --- |" * len(_HEADINGS)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    caption = (
        f"Percent on the embedded test images, mean of {_seeds(rows)} seeds; the gain with its 90 % "
        "interval, paired by seed. Sign tests over the pairs of each paper (exact, two-sided): "
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


def with_summary(readme: str, table: str) -> str:
    """The text of the README with `table` between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(readme: Path = README) -> None:
    """Writes the reference tables and the table of the README anew."""
    for report in reference_reports():
        report.write(REFERENCE)
    text = readme.read_text(encoding="utf-8")
    readme.write_text(with_summary(text, summary(reference_rows())), encoding="utf-8")


if __name__ == "__main__":
    main()
