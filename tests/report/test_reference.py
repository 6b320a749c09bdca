"""The committed tables are what the code makes of the committed records."""

import pytest

from suite.claims import find_paper
from suite.paths import REFERENCE
from suite.records import read_all
from suite.report import DEFAULT_FORMATS, FORMATS, make_report
from suite.report.summary import README, reference_rows, summary, with_summary

RECORDS = read_all(REFERENCE / "records")


@pytest.mark.parametrize("form", DEFAULT_FORMATS)
@pytest.mark.parametrize("paper", ["mgd", "nkd"])
def test_committed_table_is_what_the_records_give(paper, form):
    report = make_report(find_paper(paper), RECORDS)
    assert (REFERENCE / f"{report.name}.{FORMATS[form]}").read_text(encoding="utf-8") == report.text(form)


def test_table_of_the_readme_is_what_the_records_give():
    readme = README.read_text(encoding="utf-8")
    assert with_summary(readme, summary(reference_rows())) == readme


def test_every_reference_run_finished_with_three_seeds_and_clean_code():
    assert {record.status for record in RECORDS} == {"finished"}
    assert not any(record.provenance["dirty"] for record in RECORDS)
    assert {row["n"] for row in reference_rows()} == {3}


def test_the_reference_shows_learning_and_not_noise():
    chance = 1.0
    rows = reference_rows()
    assert all(row["student_mean"] > 20 * chance for row in rows)
    assert all(row["reproduced"] > 10 * chance for row in rows)
    pairs = {
        (row["teacher"], row["student"]): row for row in rows if row["teacher"] and row["paper"] == "nkd"
    }
    clear = [pair for pair, row in pairs.items() if row["teacher_measured"] - row["student_mean"] >= 2]
    assert len(pairs) == 5
    assert len(clear) >= 4
