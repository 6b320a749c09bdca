"""Writing reports: same records, same bytes; whole files; the verb's exit status; and how the work grows."""

from __future__ import annotations

import os
import sys

import pytest

from suite.cli import main
from suite.report import make_report, recorded_profiles, write_reports

STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]
FORMATS = ("markdown", "csv", "html")


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_same_records_give_the_same_bytes_in_any_order(paper, pair_records, format_name):
    records = pair_records(STUDENT, DISTILLED, departures=["two", "one"])
    first = make_report(paper, records).text(format_name)
    assert first == make_report(paper, records[::-1]).text(format_name)
    assert first.endswith("\n")
    assert "\r" not in first


def test_a_new_record_changes_the_report(paper, pair_records, record):
    records = pair_records(STUDENT, DISTILLED)
    more = [*records, record("tiny-kd", "distilled", 7, top1=50.0)]
    for format_name in FORMATS:
        assert make_report(paper, records).text(format_name) != make_report(paper, more).text(format_name)


def test_write_reports_reads_the_store_and_writes_markdown_and_csv(store, pair_records):
    folder = store(pair_records(STUDENT, DISTILLED))
    paths = write_reports("tiny")
    assert paths == [folder / "tiny.md", folder / "tiny.csv"]
    assert "71.17 ± 0.21 (n = 3)" in paths[0].read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["records", "tiny.csv", "tiny.md"]


def test_each_profile_has_files_of_its_own(store, pair_records, tmp_path):
    store(pair_records(STUDENT, DISTILLED))
    names = [path.name for path in write_reports("tiny", "smoke", tmp_path, formats=FORMATS)]
    assert names == ["tiny-smoke.md", "tiny-smoke.csv", "tiny-smoke.html"]


def test_records_at_hand_are_not_read_again(store, pair_records, tmp_path):
    folder = store([])
    (folder / "records").mkdir(parents=True)
    (folder / "records" / "0123456789abcdef-01.json").write_text("damaged", encoding="utf-8")
    paths = write_reports("tiny", "mini", tmp_path, pair_records(STUDENT, DISTILLED))
    assert all(path.is_file() for path in paths)


def test_an_unchanged_file_is_left_alone_and_a_changed_one_is_replaced_whole(store, pair_records, record):
    folder = store(pair_records(STUDENT, DISTILLED))
    markdown, _ = write_reports("tiny")
    os.utime(markdown, ns=(1, 1))
    open_before = markdown.open(encoding="utf-8")
    write_reports("tiny")
    assert markdown.stat().st_mtime_ns == 1
    old = markdown.read_text(encoding="utf-8")
    store([record("tiny-kd", "distilled", 3, top1=60.0)])
    write_reports("tiny")
    # A reader that had the file open still sees the old report to its end, not a mixture.
    assert open_before.read() == old
    assert markdown.read_text(encoding="utf-8") != old
    open_before.close()
    assert not list(folder.glob(".*.tmp"))


def test_report_prints_the_paths_of_every_recorded_profile(store, pair_records, capsys):
    folder = store(pair_records(STUDENT, DISTILLED) + pair_records(STUDENT, DISTILLED, profile="paper"))
    assert main(["report"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        str(folder / name) for name in ("tiny.md", "tiny.csv", "tiny-paper.md", "tiny-paper.csv")
    ]


def test_report_without_records_is_that_of_the_default_profile(store, capsys, paper):
    folder = store([])
    assert recorded_profiles(paper, []) == []
    assert (
        main(["report", "--paper", "tiny", "--format", "html", "--output", str(folder / "deep" / "er")]) == 0
    )
    written = [str(folder / "deep" / "er" / name) for name in ("index.html", "tiny.html")]
    assert capsys.readouterr().out.splitlines() == written


@pytest.mark.parametrize(
    ("distilled", "profile", "status"),
    [
        ([71.9, 71.95, 72.0], "paper", 0),
        ([71.0, 71.1, 71.2], "paper", 3),
        ([71.0, 71.1, 71.2], "mini", 0),
        ([69.0, 69.3, 69.1], "mini", 0),
        ([65.0, 65.3, 65.1], "mini", 3),
    ],
)
def test_strict_turns_a_verdict_against_the_claim_into_status_three(
    store, pair_records, distilled, profile, status
):
    store(pair_records(STUDENT, distilled, profile=profile))
    assert main(["report", "--paper", "tiny", "--strict"]) == status
    assert main(["report", "--paper", "tiny"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--paper", "tinny"], "did you mean 'tiny'"),
        (["--profile", "minni"], "did you mean 'mini'"),
        (["--output", "{file}"], "name another folder with --output"),
    ],
)
def test_wrong_use_is_one_line_and_status_two(store, tmp_path, capsys, arguments, says):
    store([])
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["report", *(word.format(file=tmp_path / "file") for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def calls_to_report(paper, records) -> int:
    """How many Python functions are called to make the report: a measure that no load disturbs."""
    count = 0

    def counter(frame, event, argument):
        nonlocal count
        count += event == "call"

    make_report(paper, records)
    sys.setprofile(counter)
    try:
        report = make_report(paper, records)
        report.text("markdown")
        report.text("csv")
    finally:
        sys.setprofile(None)
    return count


def test_the_work_grows_with_the_records_no_faster_than_they_do(paper, record):
    def store_of(count):
        return [
            record(["tiny-base", "tiny-kd"], arm, seed, top1=70.0 + seed % 7, recipe_version=version)
            for version in range(count // 100)
            for arm in ("student", "distilled")
            for seed in range(50)
        ]

    small, large = calls_to_report(paper, store_of(1000)), calls_to_report(paper, store_of(4000))
    # A few calls for each further record, however many there are: ten thousand stay far below a second.
    assert (large - small) / 3000 < 25


def test_several_metrics_results_by_class_and_skips_do_not_change_that(dense_paper, record):
    more = {
        "per_class": {"IoU": {f"class {number}": 50.0 for number in range(19)}},
        "skipped": {"empty boxes": 1, "annotations without area": 2},
    }

    def store_of(count):
        return [
            record(
                "dense-box", arm, seed, box_AP=30.0, box_AP_S=1.0, box_AR=2.0, recipe_version=version, **more
            )
            for version in range(count // 100)
            for arm in ("student", "distilled")
            for seed in range(50)
        ]

    small, large = calls_to_report(dense_paper, store_of(1000)), calls_to_report(dense_paper, store_of(4000))
    assert (large - small) / 3000 < 25


def test_reporting_needs_neither_torch_nor_any_mm_package():
    import subprocess

    code = (
        "import sys, suite.report, suite.report.html, suite.report.markdown, suite.cli.report_\n"
        "heavy = {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'matplotlib', 'scipy.stats'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
