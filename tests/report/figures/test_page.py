"""Where figures stand on a page, and that nobody pays for them who asks for none."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from suite.contract import Scalars
from suite.paths import REFERENCE, ROOT
from suite.report import make_report
from suite.report.summary import reference_reports
from suite.store.scalars import scalars_file, write_scalars
from suite.store.summaries import read_summaries

RUN = "0123456789abcdef"

PAIR = {"The same pairs in the literature": ["pair-resnet34-resnet18-imagenet-1k-top1"]}
"""What needs no run: the small paper's pair has published numbers."""


@pytest.fixture
def world(monkeypatch, paper):
    monkeypatch.setattr("suite.published.finding.load_papers", lambda: {"tiny": paper})
    return paper


def figures(page) -> dict[str, list[str]]:
    """Section -> its figures."""
    return {
        section.title: [figure.name for figure in section.figures]
        for section in page.sections
        if section.figures
    }


def test_figures_come_with_html_alone_and_change_no_word(world, pair_records):
    report = make_report(world, pair_records([70.0, 70.1], [72.0, 72.1]))
    drawn = report.illustrate()
    assert figures(report.page) == {}
    assert figures(drawn) == {"At a glance": ["gains"], **PAIR}
    titles = {section.title for section in report.page.sections}
    words = [replace(section, figures=()) for section in drawn.sections if section.title in titles]
    assert words == list(report.page.sections)
    html = report.text("html")
    assert html.count("<svg ") == 2
    assert '<figure id="gains">' in html
    assert "<summary>The numbers</summary>" in html
    assert "<svg" not in report.text("markdown")


def test_published_data_have_numbers_against_claims_and_shares_kept(world, pair_records):
    records = pair_records([69.9, 69.9], [71.9, 72.0], profile="paper")
    drawn = make_report(world, records, "paper").illustrate()
    assert figures(drawn)["At a glance"] == ["gains", "claimed-against-measured", "gain-kept"]


def test_a_sweep_stands_above_the_table_that_prints_it(world, pair_records, record):
    records = [
        *pair_records([70.0, 70.1], [72.0, 72.1]),
        *(record("tiny-less", "distilled", seed, top1=71.0 + seed / 10) for seed in range(2)),
    ]
    drawn = make_report(world, records).illustrate()
    assert figures(drawn)["Table 1: Students of ResNet-34"] == ["sweep-tab-1-resnet34-resnet18-top1"]


def test_curves_come_from_the_files_beside_the_records_and_are_left_out_without(
    tmp_path: Path, monkeypatch, world, record
):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    (tmp_path / "records").mkdir()
    lines = [
        Scalars(
            iteration=number,
            learning_rate=0.1,
            loss=3.0,
            losses={"loss_task": 2.0, "loss_kd": 1.0},
            seconds_per_step=0.1,
            memory_mib=1.0,
        )
        for number in range(1, 9)
    ]
    sha256 = write_scalars(tmp_path / "records", RUN, lines)
    report = make_report(world, [record("tiny-kd", "distilled", 0, run_id=RUN, scalars_sha256=sha256)])
    assert figures(report.illustrate()) == {**PAIR, "Training curves": ["curves-tiny-kd"]}
    scalars_file(tmp_path / "records", RUN, sha256).unlink()
    assert figures(report.illustrate()) == PAIR


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    return {report.name: report.text("html") for report in reference_reports()}


def test_the_pages_of_the_reference_are_small_and_no_name_is_there_twice(reference):
    for name, html in reference.items():
        assert len(html.encode()) < 1_000_000
        ids = re.findall(r' id="([^"]+)"', html)
        assert len(ids) == len(set(ids)), name
        assert html.count("<svg ") == html.count('role="img"') > 10
        for link in re.findall(r'href="#([^"]+)"', html):
            assert link in ids


def test_the_order_of_the_records_changes_no_byte_of_a_page(reference):
    from suite.published.finding import load_papers

    store = REFERENCE / "records"
    report = make_report(load_papers()["mgd"], read_summaries(store)[::-1], store=store)
    assert report.text("html") == reference["mgd"]


NO_FIGURE = """
import sys
from suite.published.finding import find_paper
from suite.report import make_report
report = make_report(find_paper("mgd"), [])
report.text("markdown"), report.text("csv")
print("matplotlib" in sys.modules)
report.text("html")
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""


def test_matplotlib_is_imported_when_a_figure_is_drawn_and_not_before():
    done = subprocess.run(
        [sys.executable, "-c", NO_FIGURE], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "True", "False"]
