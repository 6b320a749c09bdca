"""The answer at the end of a terminal: which rows it has, and what stands in them."""

from __future__ import annotations

import pytest

from suite.report import make_report
from suite.report.answer import answer_lines, asked_rows, count_not_run, in_one_sentence


@pytest.fixture
def answered(paper, pair_records):
    """The rows of ``tiny-kd`` and its student at a profile."""

    def rows(profile: str, **fields):
        records = pair_records([69.8, 69.9, 70.0], [71.9, 71.8, 72.0], profile=profile, **fields)
        return make_report(paper, records, profile).rows

    return rows


def test_on_published_data_number_and_gain_are_judged_each_with_its_interval(answered):
    rows = answered("paper")
    lines = answer_lines(asked_rows(rows, {("tiny-kd", None)}))
    number, gain = (line for line in lines if "top1" in line.what)
    assert (number.claim, number.what, number.claimed, number.measured) == (
        "tiny-kd",
        "top1",
        "71.96",
        "71.90",
    )
    (row,) = (row for row in rows if (row["claim"], row["metric"]) == ("tiny-kd", "top1"))
    assert number.bounds == f"{row['lower']:.2f} to {row['upper']:.2f}"
    assert (number.difference, number.word, number.n) == ("-0.06", "REPRODUCED", "3")
    # The claim is named once.
    assert (gain.claim, gain.what, gain.claimed, gain.measured) == ("", "gain in top1", "+2.06", "+2.00")
    assert gain.bounds == f"{row['gain_lower']:+.2f} to {row['gain_upper']:+.2f}"
    assert (gain.difference, gain.word) == ("", row["gain_verdict"])


def test_on_embedded_data_a_gain_is_all_there_is_and_a_student_has_its_number(answered):
    lines = answer_lines(asked_rows(answered("mini"), None))
    assert [(line.claim, line.what, line.word) for line in lines] == [
        ("tiny-base", "top1", "NOT_COMPARABLE"),
        ("tiny-kd", "gain in top1", "GAIN"),
    ]
    assert [line.difference for line in lines] == ["", ""]


def test_what_was_not_run_is_shown_where_it_was_asked_for_and_counted_elsewhere(answered):
    rows = answered("mini")
    shown = asked_rows(rows, None)
    assert {row["claim"] for row in shown} == {"tiny-base", "tiny-kd"}
    assert count_not_run(rows) == 3
    assert in_one_sentence(shown, count_not_run(rows)) == "2 claims: 1 NOT_COMPARABLE, 1 GAIN; 3 not run."
    asked = asked_rows(rows, {("tiny-plus", None)})
    assert [(line.measured, line.verdict) for line in answer_lines(asked)] == [("not run", "")]
    assert in_one_sentence(asked) == "1 claim: 1 not run."
    assert in_one_sentence([]) == "None of its claims was run."


def test_what_blocks_a_number_blocks_its_gain_and_is_told_once(paper, pair_records, record):
    records = pair_records([69.8, 69.9], [71.9])
    records.append(record("tiny-kd", "distilled", 1, status="failed", error="loss is nan"))
    lines = answer_lines(asked_rows(make_report(paper, records).rows, {("tiny-kd", None)}))
    assert [(line.what, line.word) for line in lines] == [("top1", "BLOCKED")]


def test_a_variant_that_was_asked_for_stands_in_for_its_claim(paper, pair_records, record):
    variant = ("student.embedded.epochs=4",)
    records = pair_records([69.8, 69.9, 70.0], [71.9, 71.8, 72.0])
    records.append(
        record(
            "tiny-kd",
            "distilled",
            0,
            top1=65.0,
            recipe_version=2,
            claims=[{"claim": "tiny-kd", "arm": "distilled", "variant": variant}],
        )
    )
    rows = make_report(paper, records).rows
    (line,) = answer_lines(asked_rows(rows, {("tiny-kd", variant[0])}))
    assert (line.claim, line.variant, line.measured) == ("tiny-kd", variant[0], "65.00")
    # With nothing named, both are there, each under its own name.
    lines = answer_lines(asked_rows(rows, None))
    assert [(line.claim, line.variant) for line in lines if line.claim == "tiny-kd"] == [
        ("tiny-kd", ""),
        ("tiny-kd", variant[0]),
    ]
