"""What a record says cannot become markup, a path or a command in a report."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path

import pytest

from suite.cli import main
from suite.report import make_report
from suite.store.records import write_record

EVIL = "<script>alert(1)</script> | \\| [a](javascript:x) `code` ![b](http://x) \x1b[31m\u202e\nsecond"


@pytest.fixture
def report(paper, record):
    own = [
        record(
            "tiny-kd",
            "distilled",
            seed,
            top1=79.0,
            skipped={EVIL: 1},
            provenance={"packages": {"torch": EVIL}, "host": {"cpu": EVIL}},
        )
        for seed in range(2)
    ]
    own[0] = own[0].model_copy(
        update={
            "departures": [
                departure.model_copy(update={"ours": EVIL})
                for departure in record("tiny-kd", "distilled", 0, departures=["x"]).departures
            ]
        }
    )
    failed = record("tiny-plus", "distilled", 0, status="failed", error=EVIL)
    return make_report(paper, [record("tiny-base", "student", 0, top1=70.0), *own, failed])


def test_free_text_of_a_record_is_text_in_markdown(report):
    text = report.text("markdown")
    assert "second" in text
    for evil in ("<script", "\x1b", "\u202e"):
        assert evil not in text
    # Every bracket, backtick and bar of it is escaped, and so is every backslash before one.
    (said,) = [line for line in text.splitlines() if line.startswith("[^") and "failed" in line]
    assert r"&lt;script>alert(1)&lt;/script> \| \\\| \[a\](javascript:x) \`code\` !\[b\](http://x)" in said
    for in_table, lines in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        if in_table:
            assert len({line.replace(r"\\", "").replace(r"\|", "").count("|") for line in lines}) == 1


def test_free_text_of_a_record_is_text_in_html(report):
    text = report.text("html")
    assert "&lt;script&gt;" in text
    for evil in ("<script", "\x1b", "\u202e"):
        assert evil not in text


def test_text_of_a_record_is_no_formula_in_csv_and_numbers_stay_numbers(paper, record):
    evil = [f"{sign}cmd()|' /C calc'!A0" for sign in "=+-@"]
    own = record("tiny-kd", "distilled", 0, top1=60.0, skipped=dict.fromkeys(evil, 1), profile="paper")
    failed = record("tiny-plus", "distilled", 0, status="failed", error=evil[0], profile="paper")
    report = make_report(paper, [own, failed], "paper")
    rows = list(csv.DictReader(io.StringIO(report.text("csv"))))
    cells = [cell for row in rows for cell in row.values() if cell]
    assert any(cell.startswith("'+cmd()") for cell in cells)
    assert not [cell for cell in cells if cell[0] in "=@" or (cell[0] in "+-" and not cell[1:2].isdigit())]
    (measured,) = [row for row in rows if row["claim"] == "tiny-kd" and row["metric"] == "top1"]
    assert float(measured["difference"]) == pytest.approx(-11.96)


def test_a_profile_that_is_a_path_writes_nothing_anywhere(tmp_path: Path, monkeypatch, capsys, paper, record):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "a" / "results"))
    written = write_record(tmp_path / "a" / "results" / "records", record("mgd-resnet18", "student", 0))
    (path,) = (tmp_path / "a" / "results" / "records").iterdir()
    content = json.loads(path.read_bytes()) | {"profile": "/../../escaped"}
    path.write_text(json.dumps(content), encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert main(["report"]) == 2
    said = capsys.readouterr().err
    assert f"{path}: not a record (profile: " in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert written.profile == "mini"
