"""A published table that varies settings: the claimed and the measured order of them."""

from __future__ import annotations

import pytest

from suite.evidence.frame import build_frame, rows_of
from suite.published.finding import load_papers
from suite.report import make_report
from suite.report.sweeps import sweep_note

TEMPERATURES = {"t0p3": 40.1, "": 40.4, "t0p8": 40.4, "t1p0": 40.2, "t1p2": 40.0}
"""FGD's table 7, box AP."""


def claim_of(setting: str) -> str:
    return "-".join(part for part in ("fgd-retinanet-r50-x101", setting) if part)


@pytest.fixture
def swept(record):
    def make(means: dict[str, float]):
        return [
            record(claim_of(setting), "distilled", seed, task="detection", box_AP=mean + seed)
            for setting, mean in means.items()
            for seed in range(3)
        ]

    return make


def note(records) -> str:
    wanted = {claim_of(setting) for setting in TEMPERATURES}
    frame = build_frame([load_papers()["fgd"]], records, "mini")
    rows = [row for row in rows_of(frame) if row["claim"] in wanted and row["metric"] == "box_AP"]
    return sweep_note(row for row in rows if row["origin"] == "claim")


def test_the_claimed_order_is_a_tau_of_one(swept):
    found = note(swept(TEMPERATURES))
    assert "box_AP: tau-b (for ties) +1.00 over 5 of 5 settings" in found


def test_the_reverse_order_of_four_settings_has_its_exact_p_value(swept):
    distinct = {name: -value for name, value in TEMPERATURES.items() if name != "t0p8"}
    assert "box_AP: tau -1.00 over 4 of 5 settings (exact p = 0.083)" in note(swept(distinct))


def test_what_was_not_run_has_no_order(swept):
    assert "box_AP: no tau, none of 5 settings measured" in note([])
    assert "box_AP: no tau, 1 of 5 settings measured" in note(swept({"t0p3": 1.0}))


def test_rivals_are_ranked_elsewhere_and_are_no_sweep(paper):
    rows = [row for row in rows_of(build_frame([paper], [], "mini")) if row["origin"] == "claim"]
    assert sweep_note(row for row in rows if row["role"] != "ablation") == ""
    assert sweep_note(row for row in rows if row["role"] in ("ablation", "baseline")) == ""


def test_the_note_stands_below_its_published_table():
    text = make_report(load_papers()["fgd"], []).text("markdown")
    below = text.split("Table 7: Temperature of the attention", 1)[1].split("\n## ", 1)[0]
    assert "As a sweep, claimed versus measured order: box_AP: no tau, none of 5 settings measured." in below
    ratios = make_report(load_papers()["mgd"], []).text("markdown")
    assert "top1: no tau, none of 2 settings measured" in ratios
