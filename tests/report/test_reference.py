"""The committed tables are what the code makes of the committed records."""

import re
import statistics

import pytest

from suite.evidence.frame import build_frame, rows_of
from suite.evidence.served import claims_served, known_trainings
from suite.generated import with_block
from suite.paths import BASELINES, REFERENCE, ROOT
from suite.published.checks import read_papers
from suite.published.roles import find_role
from suite.report import DEFAULT_FORMATS, DEFAULT_PROFILE, FORMATS
from suite.report.caption import teacher_leads
from suite.report.summary import (
    FIGURE,
    KNOWN,
    README,
    TABLE,
    gains_of_all,
    known_papers,
    main,
    reference_reports,
    reference_rows,
    summary,
)
from suite.store.records import read_all
from suite.store.summaries import read_summaries

RECORDS = read_all(REFERENCE / "records")
REPORTS = {report.name: report for report in reference_reports()}

LEARNED = {"top1": 20.0, "box_AP": 15.0, "mask_AP": 10.0, "mIoU": 40.0}
"""Percent that no student reaches by chance, which is 1 % of the classes and next to none of the boxes."""


def test_there_is_a_table_of_every_paper_that_the_records_serve_and_no_other():
    served = {claim for record in RECORDS for claim, _, _ in claims_served(record)}
    papers = {
        paper.id
        for paper in read_papers(BASELINES).values()
        if any(claim.id in served for claim in paper.claims)
    }
    assert set(REPORTS) == papers >= {"mgd", "nkd"}
    committed = {path.name for path in REFERENCE.iterdir() if path.is_file()}
    tables = {f"{name}.{FORMATS[format_name]}" for name in papers for format_name in DEFAULT_FORMATS}
    assert committed == {README, FIGURE, *tables}


@pytest.mark.parametrize("format_name", DEFAULT_FORMATS)
@pytest.mark.parametrize("name", sorted(REPORTS))
def test_committed_table_is_what_the_records_give(name, format_name):
    committed = (REFERENCE / f"{name}.{FORMATS[format_name]}").read_text(encoding="utf-8")
    assert committed == REPORTS[name].text(format_name), "stale: run python -m suite.report.summary"


def test_committed_figure_is_what_the_records_give():
    committed = (REFERENCE / FIGURE).read_text(encoding="utf-8")
    assert committed == gains_of_all(), "stale: run python -m suite.report.summary"


def test_what_the_front_page_and_the_page_of_the_reference_say_is_what_the_records_give():
    for folder, name, block in (
        (ROOT, KNOWN, known_papers()),
        (REFERENCE, TABLE, summary(reference_rows())),
    ):
        page = (folder / README).read_text(encoding="utf-8")
        assert with_block(page, name, block) == page, "stale: run python -m suite.report.summary"


def test_what_is_known_of_every_paper_is_the_first_table_of_the_front_page_with_links_that_lead_somewhere():
    text = (ROOT / README).read_text(encoding="utf-8")
    first, *lines = known_papers().splitlines()
    assert text[text.index("| ") :].startswith(first)
    papers = read_papers(BASELINES).values()
    assert first == f"| | {' | '.join(paper.id.upper() for paper in papers)} |"
    links = re.findall(r"\]\(([^)]*)\)", "\n".join(lines))
    for paper in papers:
        assert {f"https://arxiv.org/abs/{number}" for number in paper.arxiv} <= set(links)
        assert f"https://github.com/{paper.code}" in links
    pages = [link for link in links if not link.startswith("https://")]
    assert len(pages) == len(papers)
    assert all((ROOT / page).is_file() for page in pages)


def test_one_command_writes_every_table_and_the_readme(tmp_path, monkeypatch):
    monkeypatch.setattr("suite.report.summary.REFERENCE", tmp_path)
    (tmp_path / "records").symlink_to(REFERENCE / "records")
    front = tmp_path / "front.md"
    for page, stale, name in ((ROOT, front, KNOWN), (REFERENCE, tmp_path / README, TABLE)):
        text = (page / README).read_text(encoding="utf-8")
        stale.write_text(with_block(text, name, "old"), encoding="utf-8")
    main(front)
    assert front.read_bytes() == (ROOT / README).read_bytes()
    front.unlink()
    for path in (path for path in REFERENCE.iterdir() if path.is_file()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_every_reference_run_finished_with_three_seeds_and_clean_code():
    assert {record.status for record in RECORDS} == {"finished"}
    assert not any(record.provenance.dirty for record in RECORDS)
    # A student alone has six where the A/A control compares three of them with the other three.
    assert {row["n"] for row in reference_rows()} == {3}
    assert {row["student_n"] for row in reference_rows()} <= {3, 6}


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_what_was_not_run_yet_is_in_the_table_and_says_so(name):
    measured = {entry for record in RECORDS for entry in claims_served(record)}
    text, _, _ = REPORTS[name].text("markdown").partition("## Numbers reported by others")
    for row in rows_of(REPORTS[name].frame):
        if row["origin"] == "claim" and row["role"] != "rival":
            waits = (row["claim"], find_role(row["role"]).arm, ()) not in measured
            assert row["status"] == ("not run" if waits else "finished")
            shown = [line for line in text.splitlines() if line.startswith(f"| {row['claim']} |")]
            assert shown
            assert all(("| not run |" in line) == waits for line in shown)


def test_claims_that_came_after_the_records_have_their_student_and_teacher_and_wait_for_the_rest():
    recorded = {entry.claim for record in RECORDS for entry in record.claims if entry.arm == "distilled"}
    rows = {row["claim"]: row for row in rows_of(REPORTS["mgd"].frame)}
    before, alone = rows["mgd-resnet18"], rows["mgd-resnet18-student"]
    # A student that waits for its distilled runs has all its seeds, otherwise those of the gain.
    seeds = {
        True: (before["student_mean"], before["student_n"]),
        False: (alone["reproduced"], alone["n"]),
    }
    for claim in ("mgd-resnet18-spatial-r0p5", "mgd-resnet18-spatial-r0"):
        row = rows[claim]
        assert row["teacher_measured"] == before["teacher_measured"] is not None
        assert (row["student_mean"], row["student_n"]) == seeds[claim in recorded]
        assert (row["status"] == "not run") == (claim not in recorded)


def test_the_reference_shows_learning_and_not_noise():
    rows = reference_rows()
    assert all(row["student_mean"] > LEARNED[row["metric"]] for row in rows)
    assert all(row["reproduced"] > LEARNED[row["metric"]] / 2 for row in rows)


def test_every_rival_that_is_trained_for_no_own_result_is_measured_and_learns():
    papers = read_papers(BASELINES).values()
    roles = {claim.id: claim.role for paper in papers for claim in paper.claims}
    trainings = known_trainings()
    rivals = {
        claim
        for (claim, arm, _), recipe in trainings.recipes.items()
        if arm == "distilled" and {roles[entry[0]] for entry in trainings.arms[recipe]} == {"rival"}
    }
    frame = build_frame(papers, read_summaries(REFERENCE / "records"), DEFAULT_PROFILE)
    rows = [row for row in rows_of(frame) if row["main"] and row["claim"] in rivals]
    assert len({row["claim"] for row in rows}) > 40
    assert all(row["reproduced"] > LEARNED[row["metric"]] / 2 for row in rows)


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_teachers_beat_their_students_on_the_mean_over_pairs(name):
    leads = teacher_leads(rows_of(REPORTS[name].frame))
    assert statistics.fmean(leads.values()) > 0


def test_nearly_every_teacher_of_nkd_leaves_something_to_learn():
    leads = teacher_leads(row for row in reference_rows() if row["paper"] == "nkd")
    assert leads
    assert sum(lead >= 2 for lead in leads.values()) >= 0.8 * len(leads)
