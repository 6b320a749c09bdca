"""What a page of embedded data says of its own trustworthiness."""

from __future__ import annotations

import pytest

from suite.cli import main
from suite.evidence.control import PlantedEffect, StudentAlone
from suite.evidence.frame import build_frame, rows_of
from suite.published.recipes import load_recipes
from suite.report import make_report
from suite.report.control import (
    CONTROL_HEADINGS,
    PLANTED_HEADINGS,
    ROW_HEADINGS,
    STUDENT_HEADINGS,
    TITLE,
    study_sections,
)
from suite.verdicts import judge_gains_together

ALONE = [50.0, 50.5, 51.0]


@pytest.fixture
def rows(paper, record):
    runs = [record(["tiny-base", "tiny-kd"], "student", seed, top1=x) for seed, x in enumerate(ALONE)]
    runs += [record(["tiny-teacher", "tiny-kd"], "teacher", 0, top1=60.0)]
    runs += [record("tiny-kd", "distilled", seed, top1=x + 9.0 + seed / 9) for seed, x in enumerate(ALONE)]
    return rows_of(build_frame([paper], runs, "mini"))


def student(name: str, *values: float) -> StudentAlone:
    return StudentAlone(name, "classification", "top1", name, dict(enumerate(values)))


def grids(students, rows):
    (section,) = study_sections(students, rows)
    return {grid.headings: grid for grid in section.grids}, section.remark


def test_students_rows_and_teachers_are_told(rows):
    found, _ = grids([student("resnet18", *ALONE), student("swin-tiny", 20.0, 30.0, 40.0)], rows)
    (line,) = found[STUDENT_HEADINGS].lines
    assert line.cells == (
        "classification",
        "2",
        "5.25",
        "10.00 (swin-tiny)",
        "30.00 (swin-tiny)",
    )
    (line,) = found[ROW_HEADINGS].lines
    assert line.cells[:7] == ("top1", "1", "1", "0", "0", "0", "100%")
    assert "1 of 1 pair; the smallest lead is +9.50 points (resnet34 → resnet18)" in found[ROW_HEADINGS].note


def test_rows_of_several_metrics_are_counted_apart_and_together(rows):
    lost = [row | {"metric": "box_AP", "series": "of boxes", "gain_verdict": "GAIN_UNCLEAR"} for row in rows]
    found, _ = grids([student("resnet18", *ALONE)], [*rows, *lost])
    assert [line.cells[:7] for line in found[ROW_HEADINGS].lines] == [
        ("top1", "1", "1", "0", "0", "0", "100%"),
        ("box_AP", "1", "0", "0", "0", "1", "0%"),
        ("all", "2", "1", "0", "0", "1", "50%"),
    ]


def test_the_control_is_told_with_its_interval(rows):
    calm = student("calm", 50.0, 51.0, 52.0, 50.0, 51.0, 52.5)
    found, remark = grids([calm], rows)
    (line,) = found[CONTROL_HEADINGS].lines
    assert line.cells[:4] == ("calm", "classification", "3 4 5 over 0 1 2", "top1")
    assert line.cells[4].startswith("+0.17 (")
    assert "0 of 1 interval exclude zero, 0% (95 % interval 0% to 98%)" in remark


def test_planted_effects_are_told_with_what_they_had_to_be(rows):
    longer = student("longer", 55.0, 55.6, 56.1)
    judged = judge_gains_together({"longer": [5.0, 5.1, 5.1], "flat": [0.1, -0.1, 0.0]}, 0.5)
    planted = [
        PlantedEffect(longer, times, (0, 1, 2), gain)
        for times, gain in zip((2.0, 0.5), judged.values(), strict=True)
    ]
    (section,) = study_sections([student("longer", *ALONE)], rows, planted)
    (grid,) = (grid for grid in section.grids if grid.headings == PLANTED_HEADINGS)
    gain, flat = (line.cells for line in grid.lines)
    assert gain[:5] == ("longer", "classification", "x 2", "0 1 2", "top1")
    assert (gain[5].startswith("+5.07 ("), str(gain[6]), str(flat[6])) == (True, "GAIN", "NO_CHANGE")
    assert "half as many a LOSS: 1 of 2 came out so." in grid.note


def test_without_planted_effects_the_page_says_how_to_make_them(rows):
    _, remark = grids([student("young", *ALONE)], rows)
    assert "'reproduce --claim ID student.embedded.epochs=N --seeds 3'" in remark


def test_without_six_seeds_the_page_says_what_is_missing(rows):
    found, remark = grids([student("young", *ALONE)], rows)
    assert CONTROL_HEADINGS not in found
    assert "It needs 6 seeds per student, which no student has yet." in remark


def test_the_verb_prints_the_control_of_all_papers_and_writes_nothing(
    store, paper, pair_records, monkeypatch, capsys
):
    known = load_recipes()
    tiny = dict.fromkeys((claim.id for claim in paper.claims), known["resnet18-kd-resnet34"])
    monkeypatch.setattr("suite.planning.plan.load_recipes", lambda: known | tiny)
    folder = store(pair_records([50.0, 51.0, 52.0, 50.0, 51.0, 52.5], [60.0, 61.0, 62.0]))
    assert main(["report", "--control"]) == 0
    printed = capsys.readouterr().out
    assert "Gains of all papers, with three or more seeds:" in printed
    assert "0 of 1 interval exclude zero" in printed
    assert "Time of one seed:" in printed
    assert list(folder.glob("*.md")) == []


def test_the_control_says_what_is_missing_and_takes_no_selection(store, capsys):
    store([])
    assert main(["report", "--control"]) == 0
    assert "No student was trained alone" in capsys.readouterr().out
    assert main(["report", "--control", "--paper", "tiny"]) == 2
    assert "its only option is --profile" in capsys.readouterr().err


def test_only_pages_of_embedded_data_have_the_section(paper, pair_records):
    assert TITLE not in make_report(paper, pair_records(ALONE, ALONE, profile="paper"), "paper").text("html")
    assert list(study_sections([], [])) == []
