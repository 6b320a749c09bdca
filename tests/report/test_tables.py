"""Published tables with several metrics, results by class, and what the data loading left out."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import pytest

from suite.evidence.frame import build_frame, rows_of
from suite.published.finding import load_papers
from suite.report import make_report

HALVES = {"box_AP": [30.0, 31.0, 32.0], "box_AP_S": [10.0, 12.0, 14.0], "box_AR": [50.0, 50.5, 51.0]}
ALONE = {"box_AP": [29.0, 29.5, 30.0], "box_AP_S": [11.0, 11.0, 11.0], "box_AR": [48.0, 48.0, 48.0]}


@dataclass
class Shown:
    """A table of a report in Markdown."""

    title: str
    folded: bool
    headings: list[str]
    rows: list[dict[str, str]] = field(default_factory=list)

    def row(self, claim: str) -> dict[str, str]:
        (found,) = (row for row in self.rows if row[self.headings[0]] == claim)
        return found


def tables(text: str, section: str) -> list[Shown]:
    """The tables below one heading."""
    found: list[Shown] = []
    before = ""
    for line in _section(text, section):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and not before.startswith("|"):
            summary = re.fullmatch(r"<details><summary>(.*)</summary>", before)
            found.append(Shown(summary[1] if summary else before, summary is not None, cells))
        elif cells and not line.startswith("| ---"):
            found[-1].rows.append(dict(zip(found[-1].headings, cells, strict=True)))
        before = line
    return found


def _section(text: str, section: str) -> list[str]:
    """The lines below one heading that say something."""
    (found,) = (part for part in text.split("\n## ") if part.startswith(section))
    return [line for line in found.splitlines() if line]


@pytest.fixture
def boxes(dense_paper, seeds):
    """The report of a detector with three seeds of every arm."""
    records = seeds(["dense-box-base", "dense-box"], "student", **ALONE)
    records += seeds("dense-box", "distilled", **HALVES)
    records += seeds(["dense-box-teacher", "dense-box"], "teacher", box_AP=[35.0])
    return make_report(dense_paper, records)


def test_a_table_with_several_metrics_has_them_in_columns_and_a_row_a_claim(boxes):
    printed = tables(boxes.text("markdown"), "Table 1")[0]
    assert printed.headings == [
        *("claim", "method", "teacher → student", "runs"),
        *("box_AP", "box_AP_S", "box_AR"),
    ]
    assert [row["claim"] for row in printed.rows] == [
        "dense-box-teacher",
        "dense-box-base",
        "dense-gid",
        "dense-box",
    ]
    assert list(printed.row("dense-box").values()) == [
        *("dense-box", "Ours", "retinanet-r101 → retinanet-r50", "n = 3"),
        *("39.6 / 31.00 ± 1.00", "22.9 / 12.00 ± 2.00", "55.7 / 50.50 ± 0.50"),
    ]
    assert list(printed.row("dense-box-teacher").values())[3:] == ["n = 1", "38.9 / 35.00", "—", "—"]


def test_a_rival_has_only_what_was_printed_and_what_was_not_run_says_so(dense_paper):
    printed = tables(make_report(dense_paper, []).text("markdown"), "Table 1")[0]
    assert list(printed.row("dense-gid").values())[3:] == ["quoted", "39.1", "22.8", "—"]
    assert list(printed.row("dense-box").values())[3:] == ["not run", "39.6 / —", "22.9 / —", "55.7 / —"]


def test_each_table_prints_its_own_digits_and_its_own_metrics(boxes):
    text = boxes.text("markdown")
    assert tables(text, "Table 1")[0].row("dense-box-base")["box_AP_S"] == "20.6 / 11.00 ± 0.00"
    parts = tables(text, "Table 2")[0]
    assert parts.row("dense-box-base")["box_AP_S"] == "20.0 / 11.00 ± 0.00"
    assert "box_AR" not in parts.headings
    assert "box_AR" not in text.split("## Table 2")[1].split("## Table 3")[0]


def test_judged_metrics_have_their_verdicts_and_the_others_theirs_folded(boxes):
    _, verdicts, further = tables(boxes.text("markdown"), "Table 1")
    assert {row["metric"] for row in verdicts.rows} == {"box_AP"}
    assert [table.folded for table in (verdicts, further)] == [False, True]
    own = verdicts.row("dense-box")
    assert (own["reproduced"], own["teacher measured"]) == ("31.00 ± 1.00 (n = 3)", "35.00")
    assert (own["gain verdict"], own["gain reproduced (90 % interval)"][:5]) == ("GAIN", "+1.50")
    gains = {row["metric"]: row["gain verdict"] for row in further.rows if row["claim"] == "dense-box"}
    assert gains == {"box_AP_S": "GAIN_UNCLEAR", "box_AR": "GAIN"}


def test_box_and_mask_ap_are_both_judged_and_seen_without_unfolding(dense_paper, seeds):
    own = {"box_AP": [42.0, 42.1, 42.2], "mask_AP": [36.0, 36.1, 36.2], "mask_AP_S": [19.0, 19.0, 19.0]}
    records = seeds("dense-mask", "distilled", profile="paper", **own)
    printed, verdicts, further = tables(
        make_report(dense_paper, records, "paper").text("markdown"), "Table 3"
    )
    assert printed.row("dense-mask")["mask_AP"] == "37.8 / 36.10 ± 0.10"
    judged = {row["metric"]: row["verdict"] for row in verdicts.rows if row["claim"] == "dense-mask"}
    assert judged == {"box_AP": "REPRODUCED (standard, equivalent)", "mask_AP": "DEVIATES_LOW (standard)"}
    assert [(row["metric"], row["verdict"]) for row in further.rows] == [("mask_AP_S", "not judged")]


def test_a_run_that_failed_is_told_from_those_that_count(dense_paper, seeds, record):
    records = seeds("dense-box", "distilled", **{name: values[:2] for name, values in HALVES.items()})
    records.append(record("dense-box", "distilled", 2, status="failed", error="out of memory"))
    printed = tables(make_report(dense_paper, records).text("markdown"), "Table 1")[0]
    assert printed.row("dense-box")["runs"] == "n = 2, failed"
    assert printed.row("dense-box")["box_AP"] == "39.6 / 30.50 ± 0.71"


@pytest.mark.parametrize("section", ["Table 4", "README"])
def test_a_table_with_one_metric_is_shown_once(dense_paper, section):
    (only,) = tables(make_report(dense_paper, []).text("markdown"), section)
    assert "verdict" in only.headings


def test_every_number_of_every_paper_stands_in_a_table():
    for paper in load_papers().values():
        report = make_report(paper, [])
        grids = [grid for section in report.page.sections for grid in section.grids]
        shown = {
            (line.cells[0], metric)
            for grid in grids
            if grid.headings[0] == "claim"
            for line in grid.lines
            for metric in (*grid.headings, *line.cells)
        }
        claimed = {(claim.id, metric) for claim in paper.claims for metric in claim.metrics}
        assert claimed <= shown


def test_the_csv_is_a_row_a_metric_with_one_main_metric_a_claim(dense_paper):
    rows = [row for row in rows_of(build_frame([dense_paper], [], "mini")) if row["origin"] == "claim"]
    assert [row["metric"] for row in rows if row["claim"] == "dense-box"] == ["box_AP", "box_AP_S", "box_AR"]
    main = [row["claim"] for row in rows if row["main"]]
    assert main == [claim.id for claim in dense_paper.claims]


# --- results by class ---------------------------------------------------------------------------------


@pytest.fixture
def streets(dense_paper, record):
    """The report of a segmenter, with the IoU of its classes by seed; nobody has seen a nine."""

    def arm(claim, name, paper_iou, one_iou):
        return [
            record(
                claim,
                name,
                seed,
                mIoU=(paper + one) / 2,
                per_class={
                    "IoU": {"paper": paper, "one": one, "nine": math.nan},
                    "Acc": {"paper": 1.0, "one": 2.0},
                },
            )
            for seed, (paper, one) in enumerate(zip(paper_iou, one_iou, strict=True))
        ]

    records = arm(["dense-seg-base", "dense-seg"], "student", [90.0, 92.0, 94.0], [40.0, 40.0, 40.0])
    records += arm("dense-seg", "distilled", [95.0, 95.5, 96.0], [50.0, 60.0, 70.0])
    records += arm("dense-seg", "teacher", [97.0], [80.0])
    return make_report(dense_paper, records)


def test_each_segmenter_has_the_iou_of_its_classes_folded_mean_over_seeds(streets):
    alone, distilled = tables(streets.text("markdown"), "Per-class IoU")
    assert (alone.title, distilled.title) == ("dense-seg-base: student alone", "dense-seg: Ours")
    assert alone.folded
    assert distilled.folded
    assert alone.rows == [
        {"class": "paper", "student alone": "92.00 ± 2.00"},
        {"class": "one", "student alone": "40.00 ± 0.00"},
    ]
    assert distilled.rows == [
        {
            "class": "paper",
            "teacher": "97.00",
            "student alone": "92.00 ± 2.00",
            "distilled": "95.50 ± 0.50",
        },
        {
            "class": "one",
            "teacher": "80.00",
            "student alone": "40.00 ± 0.00",
            "distilled": "60.00 ± 10.00",
        },
    ]


def test_the_html_page_has_the_tables_by_class_too(streets):
    text = streets.text("html")
    assert "<details><summary>dense-seg: Ours</summary>" in text
    assert "<td>60.00 ± 10.00</td>" in text


def test_without_results_by_class_there_is_no_chapter_of_them(boxes):
    assert "Per-class" not in boxes.text("markdown")


# --- what the data loading left out -------------------------------------------------------------------


def test_what_the_data_loading_left_out_is_a_note_of_its_row(dense_paper, record):
    def run(seed, **skipped):
        counts = {name.replace("_", " "): count for name, count in skipped.items()}
        return record("dense-half", "distilled", seed, box_AP=30.0, skipped=counts)

    runs = [run(0, images_that_cannot_be_decoded=2, empty_boxes=4), run(1, empty_boxes=4, other_things=0)]
    text = make_report(dense_paper, runs).text("markdown")
    notes = tables(text, "Table 2")[1].row("dense-half")["notes"].split()
    said = "Skipped when loading the data: empty boxes (4), images that cannot be decoded (0 to 2)."
    assert [note for note in notes if f"{note}: {said}" in text.splitlines()]
    assert "other things" not in text


def test_runs_that_left_nothing_out_say_nothing(boxes):
    assert "Skipped when" not in boxes.text("markdown")
