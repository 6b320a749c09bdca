"""Gains on embedded data borrow from the rows of their task, whichever of them a report shows."""

from __future__ import annotations

from typing import Any

import pytest

from suite.evidence.embedded_noise import embedded_noise
from suite.evidence.frame import build_frame, rows_of
from suite.evidence.gathered import measured_arms
from suite.published.finding import load_papers
from suite.verdicts import judge_gains_together

ALONE = [50.0, 60.0, 55.0]
METHODS = {"tiny-kd": [56.0, 65.0, 61.5], "tiny-plus": [62.0, 71.0, 66.0], "tiny-less": [49.0, 61.0, 56.0]}


@pytest.fixture
def measured(record):
    """Three seeds of the student alone and of three methods on it."""

    def make(methods=None, **fields):
        methods = METHODS if methods is None else methods
        runs = [
            record(["tiny-base", *METHODS], "student", seed, top1=value) for seed, value in enumerate(ALONE)
        ]
        return runs + [
            record(claim, "distilled", seed, top1=value, **fields)
            for claim, values in methods.items()
            for seed, value in enumerate(values)
        ]

    return make


def gains(claim: str) -> list[float]:
    return [distilled - alone for distilled, alone in zip(METHODS[claim], ALONE, strict=True)]


def judged(frame) -> dict[str, dict[str, Any]]:
    return {row["claim"]: row for row in rows_of(frame) if row["gain"] is not None}


def test_rows_of_a_task_are_judged_together(paper, measured):
    expected = judge_gains_together({claim: gains(claim) for claim in METHODS}, margin=2.0)
    rows = judged(build_frame([paper], measured(), "mini"))
    assert rows.keys() == METHODS.keys()
    for claim, row in rows.items():
        for column in ("verdict", "lower", "upper", "sd", "prior_sd", "prior_df", "df"):
            assert row[f"gain_{column}"] == getattr(expected[claim], column)
    assert rows["tiny-kd"]["gain_df"] > 2


def test_a_failed_run_blocks_its_row_and_lends_no_spread(paper, measured, record):
    failed = record("tiny-plus", "distilled", 7, status="failed", error="out of memory")
    rows = judged(build_frame([paper], [*measured(), failed], "mini"))
    two = judge_gains_together({claim: gains(claim) for claim in ("tiny-kd", "tiny-less")}, 2.0)
    assert rows["tiny-kd"]["gain_lower"] == two["tiny-kd"].lower


def test_two_seeds_lend_their_spread_and_get_no_verdict(paper, measured):
    methods = METHODS | {"tiny-less": METHODS["tiny-less"][:2]}
    rows = judged(build_frame([paper], measured(methods), "mini"))
    assert rows["tiny-less"]["gain_verdict"] == "GAIN_UNCLEAR"
    assert rows["tiny-less"]["gain_lower"] is None
    lent = {claim: gains(claim) for claim in METHODS} | {"tiny-less": gains("tiny-less")[:2]}
    assert rows["tiny-kd"]["gain_lower"] == judge_gains_together(lent, 2.0)["tiny-kd"].lower


def test_claims_of_the_same_runs_are_one_row(paper, measured, record):
    runs = [run for run in measured() if run.arm == "student"]
    runs += [
        record(["tiny-kd", "tiny-plus"], "distilled", seed, top1=value)
        for seed, value in enumerate(METHODS["tiny-kd"])
    ]
    noise = embedded_noise(paper.claims, measured_arms(runs, "mini"))
    assert noise["classification", "top1"].shared.rows == 1


def test_published_data_have_no_shared_noise(paper, measured, record):
    runs = [
        record(["tiny-base", "tiny-kd"], "student", seed, top1=value, profile="paper")
        for seed, value in enumerate(ALONE)
    ]
    runs += [
        record("tiny-kd", "distilled", seed, top1=value, profile="paper")
        for seed, value in enumerate(METHODS["tiny-kd"])
    ]
    assert embedded_noise(paper.claims, measured_arms(runs, "paper")) == {}


def test_a_row_has_one_verdict_whichever_papers_are_reported(record):
    papers = load_papers()
    shown, other = papers["fgd"], papers["mgd"]
    box = next(claim for claim in shown.claims if claim.id == "fgd-retinanet-r50-r101")
    far = [claim for claim in other.claims if claim.task == "detection" and claim.kind.distilled]
    runs = []
    for number, claim in enumerate([box, *[claim for claim in far if claim.judged][:3]]):
        for seed in range(3):
            base = [str(claim.baseline), claim.id]
            runs.append(record(base, "student", seed, task="detection", box_AP=30.0 + seed))
            gain = 5.0 + number * seed
            fields = {"task": "detection", "box_AP": 30.0 + seed + gain}
            runs.append(record(claim.id, "distilled", seed, **fields))
    alone = judged(build_frame([shown], runs, "mini"))[box.id]
    beside = judged(build_frame([shown, other], runs, "mini"))[box.id]
    assert alone == beside
    assert alone["gain_df"] > 2
