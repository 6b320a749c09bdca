"""What differs between two sets of records: which rows moved, and with which verdict."""

from __future__ import annotations

import csv
import io
import json

import pytest

from suite import cli
from suite.evidence.compared import Difference, compare, of_commit, of_series
from suite.report.differences import in_csv
from suite.store.records import write_record

CLAIM = "nkd-resnet18-nkd"


def found(first, second):
    return {(row.row.split(" ")[0], row.metric): row for row in compare(first, second)}


def test_on_published_data_a_row_moves_when_its_interval_leaves_zero(seeds):
    before = seeds(CLAIM, "distilled", profile="paper", top1=[71.9, 71.7, 71.8], top5=[90.4, 90.5, 90.6])
    worse = seeds(CLAIM, "distilled", profile="paper", top1=[70.9, 70.7, 70.8], top5=[90.5, 90.4, 90.6])
    rows = found(before, worse)
    top1 = rows[CLAIM, "top1"]
    assert (top1.verdict, top1.moved, top1.n_a, top1.n_b) == ("LOSS", True, 3, 3)
    assert top1.difference == pytest.approx(-1.0)
    assert top1.lower < -1.0 < top1.upper < 0
    top5 = rows[CLAIM, "top5"]
    assert not top5.moved
    assert found(worse, before)[CLAIM, "top1"].verdict == "GAIN"
    same = found(before, before)
    assert [row.moved for row in same.values()] == [False, False]


def test_embedded_data_are_paired_by_seed_and_judged_by_the_sign(seeds):
    before = seeds(CLAIM, "distilled", top1=[60.0, 70.0, 80.0])
    rows = found(before, seeds(CLAIM, "distilled", top1=[61.0, 71.1, 80.9]))
    assert rows[CLAIM, "top1"].verdict == "GAIN"
    assert rows[CLAIM, "top1"].difference == pytest.approx(1.0)
    few = found(before[:2], seeds(CLAIM, "distilled", top1=[61.0, 71.1]))
    assert (few[CLAIM, "top1"].verdict, few[CLAIM, "top1"].moved) == ("GAIN_UNCLEAR", False)
    assert few[CLAIM, "top1"].reason == "fewer than 3 seeds in common"


def test_a_row_of_one_set_alone_has_moved(seeds, record):
    before = seeds(CLAIM, "distilled", top1=[60.0])
    failed = record(CLAIM, "distilled", 0, status="failed", error="it broke")
    assert [(row.presence, row.moved) for row in compare(before, [failed])] == [("only A", True)]
    assert [row.presence for row in compare([failed], before)] == ["only B"]


def test_records_are_of_a_commit_or_a_series(record):
    one = record(CLAIM, "distilled", 0, top1=60.0, provenance={"commit": "a" * 40})
    other = record(CLAIM, "distilled", 0, top1=61.0, provenance={"commit": "b" * 40}, recipe_version=2)
    unknown = record(CLAIM, "distilled", 1, top1=62.0)
    assert of_commit([one, other, unknown], "aaaaaaa") == [one]
    assert of_series([one, other], other.series) == [other]


@pytest.fixture
def stores(seeds, tmp_path, monkeypatch):
    """Two stores of one row, and the results folder of neither."""
    for name, values in (("old", [71.9, 71.7, 71.8]), ("new", [70.9, 70.7, 70.8])):
        for run in seeds(CLAIM, "distilled", profile="paper", top1=values, top5=[90.0, 90.0, 90.0]):
            write_record(tmp_path / name / "records", run)
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    return str(tmp_path / "old"), str(tmp_path / "new")


def test_the_verb_prints_what_moved_in_every_format(stores, tmp_path, capsys):
    assert cli.main(["compare", *stores]) == 0
    out = capsys.readouterr().out
    assert "-1.00" in out
    assert "LOSS" in out
    assert "top5" not in out
    assert out.endswith("2 metrics of rows in both: 1 moved.\n")
    assert cli.main(["compare", *stores, "--all", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["metric"], row["moved"]) for row in rows] == [("top1", True), ("top5", False)]
    for form, begins in (("csv", "row,metric,presence,mean_a"), ("markdown", "| row | metric | A | B |")):
        path = tmp_path / "out" / form
        assert cli.main(["compare", *stores, "--format", form, "--output", str(path)]) == 0
        assert path.read_text().startswith(begins)
        assert capsys.readouterr().out == f"{path}\n"


def test_a_row_that_is_named_like_a_formula_is_text_in_csv():
    row = Difference("=cmd()", "top1", "both", 71.0, 3, 70.0, 3, difference=-1.0, reason="-x")
    (line,) = csv.DictReader(io.StringIO(in_csv([row])))
    assert (line["row"], line["reason"], line["difference"]) == ("'=cmd()", "'-x", "-1")


def test_what_names_no_records_is_refused_in_one_line(stores, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("0" * 16, "not a folder, and no record has this series or commit"),
        ("no-such-branch", "not a folder, and no record has this series or commit"),
        (str(tmp_path / "empty"), "no records here"),
    ):
        assert cli.main(["compare", stores[0], name]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
