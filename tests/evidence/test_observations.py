"""The long frame: every measured number once for each arm it speaks for, and which of them count."""

from __future__ import annotations

import itertools
import math
import statistics
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest

import suite
from suite.errors import SuiteError
from suite.evidence import documented
from suite.evidence.columns import dtypes
from suite.evidence.frame import build_frame, rows_of
from suite.evidence.observations import COLUMNS, build_observations
from suite.paths import BASELINES, REFERENCE
from suite.published.checks import read_papers
from suite.store.records import write_record
from suite.store.summaries import read_summaries


def rows(papers: Any, records: Any, **wanted: Any) -> list[dict[str, Any]]:
    frame = build_observations(papers, records, "mini")
    return [row for row in rows_of(frame) if all(row[name] == value for name, value in wanted.items())]


def test_a_row_is_one_number_of_one_run_for_one_arm_of_one_claim(paper, record):
    shared = record(
        ["tiny-base", "tiny-kd"],
        "student",
        3,
        top1=70.1,
        top5=89.0,
        repetition=0,
        timings={"wall": 12.5},
        provenance={"commit": "abc", "gpu": "a GPU", "host": {"cpu": "a CPU"}},
    )
    found = rows([paper], [shared])
    assert [(row["claim"], row["metric"], row["value"]) for row in found] == [
        ("tiny-base", "top1", 70.1),
        ("tiny-base", "top5", 89.0),
        ("tiny-kd", "top1", 70.1),
        ("tiny-kd", "top5", 89.0),
    ]
    first = found[0]
    told: dict[str, Any] = {
        "paper": "tiny",
        "method": "student alone",
        "student": "resnet18",
        "teacher": None,
    }
    told |= {"arm": "student", "variant": None, "profile": "mini", "seed": 3, "repetition": 0, "counts": True}
    told |= {"standing": "current", "status": "finished", "error": None, "run_id": shared.run_id}
    told |= {"series": shared.series, "commit": "abc", "cpu": "a CPU", "gpu": "a GPU", "seconds": 12.5}
    told |= {"comparable": False, "dataset": "imagenet-1k"}
    assert told == {name: first[name] for name in told}
    assert first["finished_at"].isoformat() == "2026-11-01T10:03:00+00:00"


def test_repetitions_and_earlier_series_are_there_and_do_not_count(paper, record):
    old = record("tiny-kd", "distilled", 0, top1=60.0, recipe_version=1)
    later = {"recipe_version": 2, "finished_at": "2026-11-02T00:00:00+00:00"}
    new = record("tiny-kd", "distilled", 0, top1=71.0, **later)
    again = record("tiny-kd", "distilled", 0, top1=79.0, repetition=1, run_id="0" * 16, **later)
    for records in itertools.permutations([old, new, again]):
        found = rows([paper], records)
        assert [(row["value"], row["standing"], row["counts"]) for row in found] == [
            (71.0, "current", True),
            (79.0, "repeated", False),
            (60.0, "older", False),
        ]


def test_what_did_not_finish_has_a_row_for_each_claimed_metric_and_no_value(paper, record):
    failed = record("tiny-kd", "distilled", 1, status="failed", error="out of memory", top1=99.0)
    found = rows([paper], [failed])
    assert [(row["metric"], row["value"], row["counts"]) for row in found] == [
        ("top1", None, False),
        ("top5", None, False),
    ]
    assert {(row["status"], row["error"]) for row in found} == {("failed", "out of memory")}


def test_a_value_that_is_no_finite_number_is_missing_and_does_not_count(paper, record):
    (row,) = rows([paper], [record("tiny-kd", "distilled", 0, top1=math.inf)])
    assert (row["value"], row["counts"], row["status"]) == (None, False, "finished")


def test_a_time_that_is_no_date_is_missing(paper, record):
    (row,) = rows([paper], [record("tiny-kd", "distilled", 0, top1=71.0, finished_at="2026-13-41T10:00:00")])
    assert row["finished_at"] is None


def test_a_variant_stands_behind_the_claims_own_runs(paper, record):
    override = "method.losses.kd.arguments.alpha=9"
    entry = {"claim": "tiny-kd", "arm": "distilled", "variant": (override,)}
    tried = record("tiny-kd", "distilled", 0, top1=60.0, claims=[entry], recipe_version=2)
    own = record("tiny-kd", "distilled", 0, top1=71.0)
    assert [(row["variant"], row["value"]) for row in rows([paper], [tried, own])] == [
        (None, 71.0),
        (override, 60.0),
    ]


def test_claims_that_are_quoted_and_other_profiles_have_no_rows(paper, record):
    records = [
        record("tiny-rival", "distilled", 0, top1=71.0),
        record("tiny-kd", "distilled", 0, top1=71.0, profile="smoke"),
    ]
    assert rows([paper], records) == []


def test_an_empty_frame_has_all_columns_with_their_types(paper):
    frame = build_observations([paper], [], "mini")
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dtypes(COLUMNS)


def test_what_counts_has_the_means_and_counts_of_the_judged_frame():
    papers = list(read_papers(BASELINES).values())
    records = read_summaries(REFERENCE / "records")
    long = build_observations(papers, records, "mini")
    assert not long.duplicated(["claim", "metric", "arm", "variant", "run_id"]).any()
    counted: dict[tuple[Any, ...], dict[int, float]] = {}
    for row in rows_of(long):
        if row["counts"]:
            key = (row["claim"], row["metric"], row["arm"], row["variant"])
            counted.setdefault(key, {})[row["seed"]] = row["value"]
    arms = {claim.id: claim.kind.arm for paper in papers for claim in paper.claims}
    measured = [
        row
        for row in rows_of(build_frame(papers, records, "mini"))
        if row["origin"] == "claim" and row["reproduced"] is not None
    ]
    assert len(measured) > 100
    for row in measured:
        values = counted[row["claim"], row["metric"], arms[row["claim"]], None]
        assert statistics.fmean(values.values()) == pytest.approx(row["reproduced"])
        assert len(values) == row["n"]
        if row["student_mean"] is not None:
            alone = counted[row["claim"], row["metric"], "student", None]
            shared = [alone[seed] for seed in values if seed in alone]
            assert statistics.fmean(shared) == pytest.approx(row["student_mean"])
            assert len(shared) == row["student_n"]


# --- as a notebook asks for it --------------------------------------------------------------------------


def test_a_notebook_asks_for_both_frames(tmp_path, monkeypatch, paper, record):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    monkeypatch.setattr("suite.evidence.notebooks.load_papers", lambda: {"tiny": paper})
    records = [record("tiny-kd", "distilled", seed, top1=71.0 + seed) for seed in range(3)]
    for one in records:
        write_record(tmp_path / "records", one)
    pd.testing.assert_frame_equal(suite.evidence(), build_observations([paper], records, "mini"))
    pd.testing.assert_frame_equal(suite.frame(), build_frame([paper], records, "mini"))
    assert len(suite.evidence(profile="paper")) == 0
    assert list(suite.evidence(records=tmp_path / "records")["seed"]) == [0, 1, 2]


def test_a_paper_a_profile_or_a_folder_that_is_not_there_is_told(tmp_path):
    for ask in (suite.evidence, suite.frame):
        with pytest.raises(SuiteError, match="unknown paper 'mgt'"):
            ask(paper="mgt")
        with pytest.raises(SuiteError, match="unknown profile 'tiny'"):
            ask(profile="tiny")
        with pytest.raises(SuiteError, match="no folder of records at "):
            ask(records=tmp_path / "none")


def test_the_package_is_light_and_its_frames_need_no_pytorch(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    program = (
        "import sys, suite\n"
        "assert 'pandas' not in sys.modules and 'suite.evidence' not in sys.modules\n"
        "assert {'evidence', 'frame'} <= set(dir(suite))\n"
        "from suite import evidence, frame\n"
        "import suite.evidence.frame\n"
        "assert callable(evidence) and callable(frame) and frame is not suite.evidence.frame\n"
        "assert len(suite.evidence(paper='mgd')) == 0 and len(frame(paper='mgd')) > 50\n"
        "assert 'torch' not in sys.modules and 'mmengine' not in sys.modules\n"
        "assert not hasattr(suite, 'frames')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_columns_in_the_documents_are_those_of_the_frames():
    text = documented.DOCUMENT.read_text(encoding="utf-8")
    assert documented.documented(text) == text, "run python -m suite.evidence.documented"


@pytest.mark.parametrize("name", documented.FRAMES)
def test_every_column_says_what_stands_in_it(name: str):
    for column, (_, about) in documented.FRAMES[name].items():
        assert len(about) > 8, column
        assert not about.endswith((".", " ")), column
