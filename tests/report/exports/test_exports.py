"""What all exports have in common: the same bytes, names that are no paths, and what the verb says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from suite.cli import main
from suite.cli.report_ import FORMATS as OFFERED
from suite.report import FORMATS
from suite.report.exports import EXPORTS, export, write_export
from suite.report.exports.names import Unique, slug

STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]


def needs(format_name: str) -> None:
    if format_name == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow: pip install pyarrow")


def test_the_verb_offers_every_format_there_is():
    assert list(OFFERED) == [*FORMATS, *EXPORTS]


@pytest.mark.parametrize("format_name", EXPORTS)
def test_the_same_records_give_the_same_bytes_in_any_order(material, pair_records, format_name):
    needs(format_name)
    records = pair_records(STUDENT, DISTILLED, profile="paper", departures=["two", "one"])
    first = export(format_name, material(records, "paper"))
    assert first
    assert first == export(format_name, material(records[::-1], "paper"))
    assert all(first.values())


@pytest.mark.parametrize("format_name", EXPORTS)
def test_the_verb_writes_an_export_and_prints_its_files(store, pair_records, tmp_path, capsys, format_name):
    needs(format_name)
    store(pair_records(STUDENT, DISTILLED, profile="paper"))
    out = tmp_path / "out"
    assert main(["report", "--paper", "tiny", "--format", format_name, "--output", str(out)]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(printed) == sorted(path for path in out.rglob("*") if path.is_file())
    assert all("tiny-paper" in str(path) for path in printed)


def test_on_a_terminal_an_export_is_named_by_the_folder_that_holds_its_files(
    store, pair_records, tmp_path, capsys, monkeypatch
):
    store(pair_records(STUDENT, DISTILLED))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["report", "--format", "latex", "--output", "out"]) == 0
    assert "\nPage: out/tiny-latex\n" in capsys.readouterr().out


def test_an_export_with_nothing_to_write_is_told_in_one_line(store, pair_records, tmp_path, capsys):
    store(pair_records(STUDENT, DISTILLED))
    assert main(["report", "--format", "hugging-face", "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "nothing to write as hugging-face" in said
    assert "profile mini" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_parquet_without_pyarrow_is_told_in_one_line(store, pair_records, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    store(pair_records(STUDENT, DISTILLED))
    assert main(["report", "--format", "parquet", "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "suite: parquet needs pyarrow, which is not installed: pip install pyarrow\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_name_of_a_file_is_never_a_path_and_never_given_twice():
    assert slug("../../Table 1: 50 % | x") == "table-1-50-x"
    assert slug("") == slug("///") == "unnamed"
    assert len(slug("a" * 500)) == 60
    name = Unique()
    assert [name(text) for text in ("A b", "a  b", "a-b-2", "a b")] == ["a-b", "a-b-2", "a-b-2-2", "a-b-3"]


def test_a_paper_cannot_lead_an_export_elsewhere(paper, material, record, tmp_path):
    tables = [
        table.model_copy(update={"title": f"../../../{table.id}", "number": None}) for table in paper.tables
    ]
    runs = [record("tiny-kd", "distilled", 0, top1=71.0, profile="paper")]
    of = material(runs, "paper", paper.model_copy(update={"tables": tables}))
    paths = [
        path
        for format_name in ("latex", "hugging-face", "pytorch")
        for path in write_export(format_name, of, tmp_path / "a" / "b")
    ]
    assert "tab-1.tex" in [path.name for path in paths]
    assert all(path.resolve().is_relative_to(tmp_path / "a" / "b") for path in paths)


def test_what_is_exported_says_the_same_as_the_report(material, pair_records):
    of = material(pair_records(STUDENT, DISTILLED, profile="paper"), "paper")
    (content,) = export("pytorch", of).values()
    values = {
        (entry["benchmark"]["extra_info"]["claim"], entry["metric"]["name"]): entry
        for entry in json.loads(content)
    }
    (row,) = [row for row in of.report.rows if row["claim"] == "tiny-kd" and row["metric"] == "top1"]
    found = values["tiny-kd", "top1"]["metric"]
    assert sum(found["benchmark_values"]) / 3 == pytest.approx(row["reproduced"])
    assert found["extra_info"]["gain_verdict"] == row["gain_verdict"]
