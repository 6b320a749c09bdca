"""The table of the README: one line a pair, made from the committed reference records.

``python -m suite.report.summary`` writes it anew; a test fails when it is stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from suite.claims import load_papers
from suite.paths import REFERENCE, ROOT
from suite.records import read_all
from suite.report.frame import build_frame, rows_of
from suite.report.page import Row, gain_cell, pair_cell, pair_gains, percent, signed
from suite.verdicts import sign_test

README = ROOT / "README.md"
BEGIN = "<!-- reference table: begin -->"
END = "<!-- reference table: end -->"

_HEADINGS = (
    "method",
    "teacher → student",
    "teacher",
    "student",
    "distilled",
    "gain claimed",
    "our gain",
    "verdict",
)


def reference_rows(profile: str = "mini") -> list[Row]:
    """Rows of the methods' own claims that the reference records measured, in the order of the papers."""
    records = read_all(REFERENCE / "records")
    rows = rows_of(build_frame(load_papers().values(), records, profile))
    return [
        row for row in rows if row["role"] == "ours" and row["gain"] is not None and row["metric"] == "top1"
    ]


def summary(rows: Iterable[Row]) -> str:
    """The table and its caption, as Markdown."""
    rows = list(rows)
    test = sign_test(pair_gains(rows))
    lines = [f"| {' | '.join(_HEADINGS)} |", "|" + " --- |" * len(_HEADINGS)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    caption = (
        f"Top-1 in percent on the embedded test images, mean of {_seeds(rows)} seeds; the gain with its "
        "90 % interval, paired by seed. Sign test over the pairs: "
        f"{test.positive} gains above zero, {test.negative} below, {test.ties} equal "
        f"(exact, two-sided p = {test.p_value:.2g})."
    )
    return "\n".join([*lines, "", caption])


def _cells(row: Row) -> Iterator[str]:
    yield from (row["method"], pair_cell(row))
    yield from (percent(row[name]) for name in ("teacher_measured", "student_mean", "reproduced"))
    yield from (signed(row["claimed_gain"], row["decimals"]), gain_cell(row), row["gain_verdict"])


def _seeds(rows: Iterable[Row]) -> str:
    counts = sorted({row["n"] for row in rows})
    return " or ".join(map(str, counts))


def with_summary(readme: str, table: str) -> str:
    """The text of the README with `table` between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(readme: Path = README) -> None:
    """Writes the table of the README anew."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(with_summary(text, summary(reference_rows())), encoding="utf-8")


if __name__ == "__main__":
    main()
