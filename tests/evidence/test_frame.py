"""The frame behind the reports: which records count, and what is said of each claim."""

from __future__ import annotations

import itertools
import math

import pytest

from suite.evidence.frame import COLUMNS, build_frame, rows_of
from suite.published.finding import load_papers
from suite.published.priors import find_margin, find_prior
from suite.verdicts import judge_absolute, judge_gain, judge_gains_together, mean_interval

STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]


def row_of(frame, claim, metric="top1"):
    found = [row for row in rows_of(frame) if (row["claim"], row["metric"]) == (claim, metric)]
    assert len(found) == 1
    return found[0]


def test_a_row_is_one_metric_of_one_claim_whether_it_was_run_or_not(paper):
    frame = build_frame([paper], [], "mini")
    assert list(frame.columns) == list(COLUMNS)
    assert [(row["claim"], row["metric"]) for row in rows_of(frame) if row["origin"] == "claim"] == [
        ("tiny-teacher", "top1"),
        ("tiny-base", "top1"),
        ("tiny-base", "top5"),
        ("tiny-kd", "top1"),
        ("tiny-kd", "top5"),
        ("tiny-plus", "top1"),
        ("tiny-less", "top1"),
        ("tiny-rival", "top1"),
        ("tiny-none", "top1"),
    ]
    assert row_of(frame, "tiny-kd")["status"] == "not run"
    assert row_of(frame, "tiny-kd")["verdict"] is None
    assert row_of(frame, "tiny-none")["status"] == "quoted"


def test_dtypes_do_not_depend_on_what_was_run(paper, pair_records):
    empty = build_frame([paper], [], "mini")
    full = build_frame([paper], pair_records(STUDENT, DISTILLED), "mini")
    assert dict(empty.dtypes) == dict(full.dtypes)


def test_the_claimed_gain_is_the_printed_one_or_the_difference_of_printed_numbers(paper):
    frame = build_frame([paper], [], "mini")
    assert row_of(frame, "tiny-kd")["claimed_gain"] == 2.06
    assert row_of(frame, "tiny-kd", "top5")["claimed_gain"] == 1.2
    assert row_of(frame, "tiny-plus")["claimed_gain"] == 2.6
    assert row_of(frame, "tiny-none")["claimed_gain"] is None


def test_what_is_claimed_of_teacher_and_student_stands_beside_every_claim_that_names_them(paper):
    frame = build_frame([paper], [], "mini")
    for claim in ("tiny-kd", "tiny-rival"):
        row = row_of(frame, claim)
        assert (row["teacher_claimed"], row["student_claimed"]) == (73.62, 69.9)
    # The teacher's top-5 accuracy is not claimed, and this claim names neither.
    assert row_of(frame, "tiny-kd", "top5")["teacher_claimed"] is None
    assert row_of(frame, "tiny-none")["student_claimed"] is None


def test_rivals_and_numbers_of_others_are_quoted_and_never_judged(paper, record):
    frame = build_frame([paper], [record("tiny-rival", "distilled", 0, top1=60.0, profile="paper")], "paper")
    assert row_of(frame, "tiny-rival")["status"] == "quoted"
    assert row_of(frame, "tiny-rival")["verdict"] is None
    other = row_of(frame, "tiny-issue")
    assert (other["origin"], other["role"], other["about"]) == ("quoted", "reproduction", "tiny-kd")
    assert (other["claimed"], other["decimals"], other["source"]) == (71.5, 2, "issue 7")
    words = row_of(frame, "tiny-words")
    assert (words["claimed"], words["claimed_gain"], words["source"]) == (None, 1.2, "the paper")


# --- embedded data ------------------------------------------------------------------------------------


def test_on_embedded_data_only_the_sign_of_the_paired_gain_is_judged(paper, pair_records):
    row = row_of(build_frame([paper], pair_records(STUDENT, DISTILLED), "mini"), "tiny-kd")
    assert (row["verdict"], row["difference"], row["lower"], row["p_value"]) == (
        "NOT_COMPARABLE",
        None,
        None,
        None,
    )
    assert row["reproduced"] == pytest.approx(71.1667, abs=1e-4)
    assert (row["n"], row["seeds"]) == (3, "0 1 2")
    gains = [distilled - alone for distilled, alone in zip(DISTILLED, STUDENT, strict=True)]
    expected = judge_gains_together({"alone": gains}, find_margin("top1"))["alone"]
    assert (row["gain_verdict"], row["gain_lower"], row["gain_upper"], row["gain_df"]) == (
        expected.verdict,
        expected.lower,
        expected.upper,
        2,
    )
    assert row["retained"] is None
    assert row["marked"] is None


def test_two_seeds_leave_the_gain_unclear_and_say_why(paper, pair_records):
    row = row_of(build_frame([paper], pair_records(STUDENT[:2], DISTILLED[:2]), "mini"), "tiny-kd")
    assert (row["gain_verdict"], row["gain_reason"]) == ("GAIN_UNCLEAR", "fewer than three seeds")
    assert row["gain"] == pytest.approx(1.2)


def test_on_embedded_data_the_student_beside_a_gain_has_the_seeds_of_the_gain(paper, pair_records):
    row = row_of(build_frame([paper], pair_records([*STUDENT, 40.0], DISTILLED), "mini"), "tiny-kd")
    assert (row["student_mean"], row["student_n"]) == (pytest.approx(70.0), 3)
    assert row["reproduced"] - row["student_mean"] == pytest.approx(row["gain"])
    alone = row_of(build_frame([paper], pair_records([*STUDENT, 40.0], []), "mini"), "tiny-kd")
    assert (alone["student_mean"], alone["student_n"]) == (pytest.approx(62.5), 4)


def test_on_published_data_the_student_beside_a_gain_has_all_its_seeds(paper, pair_records):
    row = row_of(
        build_frame([paper], pair_records([*STUDENT, 69.6], DISTILLED, profile="paper"), "paper"), "tiny-kd"
    )
    assert (row["student_mean"], row["student_n"]) == (pytest.approx(69.9), 4)
    assert row["reproduced"] - row["student_mean"] == pytest.approx(row["gain"])


def test_the_mean_has_the_interval_of_its_runs_and_on_published_data_of_the_prior_too(paper, pair_records):
    embedded = row_of(build_frame([paper], pair_records(STUDENT, DISTILLED), "mini"), "tiny-kd")
    assert (embedded["mean_lower"], embedded["mean_upper"]) == pytest.approx(mean_interval(DISTILLED))
    two = row_of(build_frame([paper], pair_records(STUDENT[:2], DISTILLED[:2]), "mini"), "tiny-kd")
    assert (two["mean_lower"], two["mean_upper"]) == (None, None)
    records = pair_records(STUDENT, DISTILLED, profile="paper")
    published = row_of(build_frame([paper], records, "paper"), "tiny-kd")
    prior = find_prior("imagenet-1k", "top1")
    assert prior is not None
    expected = mean_interval(DISTILLED, prior.sigma0)
    assert (published["mean_lower"], published["mean_upper"]) == pytest.approx(expected)


def test_records_of_another_profile_do_not_count(paper, pair_records):
    records = pair_records(STUDENT, DISTILLED, profile="smoke")
    assert row_of(build_frame([paper], records, "mini"), "tiny-kd")["status"] == "not run"
    assert row_of(build_frame([paper], records, "smoke"), "tiny-kd")["status"] == "finished"


def test_the_data_decide_what_is_comparable_not_the_name_of_the_profile(paper, pair_records):
    records = pair_records(STUDENT, DISTILLED, profile="paper", comparable=False)
    row = row_of(build_frame([paper], records, "paper"), "tiny-kd")
    assert (row["verdict"], row["gain_verdict"], row["retained"]) == ("NOT_COMPARABLE", "NO_CHANGE", None)


# --- published data -----------------------------------------------------------------------------------


def test_on_published_data_number_and_gain_are_judged_with_the_prior(paper, pair_records):
    frame = build_frame([paper], pair_records(STUDENT, DISTILLED, profile="paper"), "paper")
    row = row_of(frame, "tiny-kd")
    expected = judge_absolute(71.96, 2, DISTILLED, sigma0=0.12, delta=0.3)
    assert (row["verdict"], row["strength"]) == (expected.verdict, "standard") == ("DEVIATES_LOW", "standard")
    for column in ("lower", "upper", "p_value", "survives_wider_prior", "best_of_k", "equivalent"):
        assert row[column] == getattr(expected, column), column
    assert row["difference"] == pytest.approx(expected.mean - 71.96)
    gain = judge_gain(2.06, 2, DISTILLED, STUDENT, sigma0=0.12, delta=0.3)
    for column in ("gain", "gain_lower", "gain_upper", "retained", "retained_lower", "retained_upper"):
        name = column if column.startswith("retained") or column == "gain" else column.removeprefix("gain_")
        assert row[column] == getattr(gain, name), column
    assert row["gain_verdict"] == gain.verdict == "GAIN_SMALLER"
    assert (row["student_mean"], row["student_n"]) == (pytest.approx(70.0), 3)


def test_a_number_of_cifar_100_is_judged_with_its_own_prior_and_its_gain_without_a_claimed_one(seeds):
    claim, distilled, student = "nkd-resnet18-cifar-uskd", [79.3, 79.5, 79.4], [78.0, 78.3, 78.2]
    records = seeds(claim, "student", top1=student, profile="paper")
    records += seeds(claim, "distilled", top1=distilled, profile="paper")
    row = row_of(build_frame([load_papers()["nkd"]], records, "paper"), claim)
    prior, other = find_prior("cifar-100", "top1"), find_prior("imagenet-1k", "top1")
    assert prior is not None
    assert other is not None
    expected = judge_absolute(79.90, 2, distilled, prior.sigma0, prior.delta)
    assert (row["verdict"], row["lower"], row["upper"]) == ("REPRODUCED", expected.lower, expected.upper)
    # Half a point below the claim would be no reproduction on ImageNet.
    assert judge_absolute(79.90, 2, distilled, other.sigma0, other.delta).verdict != "REPRODUCED"
    gain = judge_gain(None, 2, distilled, student, prior.sigma0, prior.delta)
    assert (row["gain_verdict"], row["gain_lower"], row["gain_upper"]) == ("GAIN", gain.lower, gain.upper)
    assert (row["claimed_gain"], row["retained"], row["gain_reason"]) == (None, None, None)


def test_a_baseline_is_measured_by_the_shared_student_runs(paper, pair_records):
    row = row_of(build_frame([paper], pair_records(STUDENT, [], profile="paper"), "paper"), "tiny-base")
    assert (row["verdict"], row["n"], row["gain_verdict"]) == ("REPRODUCED", 3, None)


def test_a_metric_without_a_prior_is_shown_and_not_judged(paper, record):
    runs = [record("tiny-kd", "distilled", seed, top1=72.0, top5=90.5, profile="paper") for seed in range(3)]
    row = row_of(build_frame([paper], runs, "paper"), "tiny-kd", "top5")
    assert (row["verdict"], row["reproduced"], row["difference"]) == (None, 90.5, pytest.approx(-0.1))
    assert "top-5" in row["reason"]


def test_a_metric_that_the_runs_do_not_report_is_named(paper, record):
    row = row_of(
        build_frame([paper], [record("tiny-kd", "distilled", 0, top1=72.0, profile="paper")], "paper"),
        "tiny-kd",
        "top5",
    )
    assert (row["verdict"], row["n"], row["reason"]) == (None, None, "the runs do not report top5")


def test_listed_departures_mark_number_and_gain(paper, pair_records):
    records = pair_records(STUDENT, DISTILLED, profile="paper", departures=["four GPUs"])
    row = row_of(build_frame([paper], records, "paper"), "tiny-kd")
    assert (row["marked"], row["gain_marked"], row["departures"]) == (True, True, "four GPUs")


def test_one_run_is_a_screen_without_an_sd(paper, record):
    row = row_of(
        build_frame([paper], [record("tiny-kd", "distilled", 4, top1=72.0, profile="paper")], "paper"),
        "tiny-kd",
    )
    assert (row["strength"], row["sd"], row["seeds"]) == ("screen", None, "4")
    assert (row["gain"], row["gain_reason"]) == (None, "our own student was not run")


def test_false_discoveries_are_counted_over_all_judged_rows_of_a_paper(paper, record):
    # p values: 0.0007 (teacher), 0.031 (base), 0.057 (kd); thresholds 0.033, 0.067, 0.1.
    runs = [
        record("tiny-teacher", "teacher", 0, top1=74.6, profile="paper"),
        record("tiny-base", "student", 0, top1=70.345, profile="paper"),
        record("tiny-kd", "distilled", 0, top1=71.575, profile="paper"),
    ]
    frame = build_frame([paper], runs, "paper")
    judged = [row for row in rows_of(frame) if row["p_value"] is not None]
    assert [row["survives_bh"] for row in judged] == [True, True, True]
    alone = build_frame([paper], runs[2:], "paper")
    assert row_of(alone, "tiny-kd")["survives_bh"]
    crowd = [
        record("tiny-less", "distilled", 0, top1=70.9, profile="paper"),
        record("tiny-plus", "distilled", 0, top1=72.5, profile="paper"),
    ]
    diluted = build_frame([paper], [runs[2], *crowd], "paper")
    assert row_of(diluted, "tiny-kd")["survives_bh"] is False


# --- gates --------------------------------------------------------------------------------------------


def test_a_failed_run_blocks_its_row_and_names_seed_and_error(paper, pair_records, record):
    records = pair_records(STUDENT, DISTILLED[:2], profile="paper")
    records.append(record("tiny-kd", "distilled", 2, profile="paper", status="failed", error="out of memory"))
    row = row_of(build_frame([paper], records, "paper"), "tiny-kd")
    assert (row["status"], row["verdict"], row["gain_verdict"]) == ("failed", "BLOCKED", "BLOCKED")
    assert row["reason"] == "distilled run, seed 2: failed: out of memory"
    assert (row["reproduced"], row["n"]) == (pytest.approx(71.2), 2)
    assert row["p_value"] is None


def test_a_failed_run_blocks_on_embedded_data_too(paper, record):
    row = row_of(
        build_frame([paper], [record("tiny-kd", "distilled", 0, status="failed")], "mini"), "tiny-kd"
    )
    assert (row["verdict"], row["reason"]) == ("BLOCKED", "distilled run, seed 0: failed: no error recorded")


def test_a_blocked_audit_is_not_a_failure(paper, record):
    run = record("tiny-kd", "distilled", 0, status="blocked", error="learning rate 0.2, claimed 0.1")
    row = row_of(build_frame([paper], [run], "mini"), "tiny-kd")
    assert (row["status"], row["verdict"]) == ("blocked", "BLOCKED")
    assert "learning rate" in row["reason"]


def test_a_second_attempt_that_finished_heals_the_first(paper, record):
    failed = record("tiny-kd", "distilled", 0, status="failed", attempt=1)
    finished = record("tiny-kd", "distilled", 0, top1=71.0, attempt=2)
    for order in itertools.permutations([failed, finished]):
        assert row_of(build_frame([paper], order, "mini"), "tiny-kd")["status"] == "finished"


def test_a_failed_student_blocks_the_gain_but_not_the_number(paper, pair_records, record):
    records = pair_records([], DISTILLED, profile="paper")
    records.append(record("tiny-kd", "student", 0, profile="paper", status="failed", error="killed"))
    row = row_of(build_frame([paper], records, "paper"), "tiny-kd")
    assert (row["verdict"], row["gain_verdict"]) == ("DEVIATES_LOW", "BLOCKED")
    assert row["gain_reason"] == "student run, seed 0: failed: killed"


def test_a_teacher_that_is_not_the_published_one_blocks_its_students(paper, pair_records, record):
    students = pair_records(STUDENT, DISTILLED, profile="paper")
    for measured, verdict in [(73.62, "DEVIATES_LOW"), (73.72, "DEVIATES_LOW"), (73.75, "BLOCKED")]:
        teacher = record(["tiny-teacher", "tiny-kd"], "teacher", 0, top1=measured, profile="paper")
        row = row_of(build_frame([paper], [*students, teacher], "paper"), "tiny-kd")
        assert (row["verdict"], row["teacher_claimed"], row["teacher_measured"]) == (verdict, 73.62, measured)
    assert "73.75" in row["reason"]


def test_an_embedded_teacher_is_not_held_against_the_published_one(paper, pair_records, record):
    teacher = record("tiny-kd", "teacher", 0, top1=99.0)
    row = row_of(build_frame([paper], [*pair_records(STUDENT, DISTILLED), teacher], "mini"), "tiny-kd")
    assert (row["verdict"], row["teacher_measured"]) == ("NOT_COMPARABLE", 99.0)


def test_a_metric_that_is_not_finite_blocks_instead_of_breaking_the_report(paper, record):
    runs = [record("tiny-kd", "distilled", 0, top1=math.nan), record("tiny-kd", "distilled", 1, top1=71.0)]
    row = row_of(build_frame([paper], runs, "mini"), "tiny-kd")
    assert (row["verdict"], row["n"]) == ("BLOCKED", 1)
    assert "seed 0: top1 is not a finite number" in row["reason"]


# --- which records count ------------------------------------------------------------------------------


def test_the_series_with_the_latest_record_stands_and_older_ones_are_counted(paper, record):
    old = [record("tiny-kd", "distilled", seed, top1=60.0, recipe_version=1) for seed in range(5)]
    new = [
        record(
            "tiny-kd", "distilled", seed, top1=71.0, recipe_version=2, finished_at="2026-11-02T00:00:00+00:00"
        )
        for seed in range(2)
    ]
    for records in (old + new, new + old):
        row = row_of(build_frame([paper], records, "mini"), "tiny-kd")
        assert (row["reproduced"], row["n"], row["older_records"]) == (71.0, 2, 5)
        assert row["series"] == new[0].series
        assert row["older"] == "60.00 (5 runs, 2026-11-01)"


def test_a_variant_has_rows_of_its_own_and_leaves_all_others_as_they_were(paper, pair_records, record):
    own = pair_records(STUDENT, DISTILLED, profile="paper")
    override = "method.losses.kd.arguments.alpha=9"
    entry = {"claim": "tiny-kd", "arm": "distilled", "variant": (override,)}
    later = {"recipe_version": 2, "finished_at": "2026-11-03T00:00:00+00:00", "profile": "paper"}
    tried = [record("tiny-kd", "distilled", seed, top1=60.0, claims=[entry], **later) for seed in range(2)]
    tried.append(
        record("tiny-kd", "distilled", 2, status="failed", error="diverged", claims=[entry], **later)
    )
    rows = rows_of(build_frame([paper], own + tried, "paper"))
    assert [row for row in rows if row["origin"] != "variant"] == rows_of(build_frame([paper], own, "paper"))
    variant, _ = [row for row in rows if row["origin"] == "variant"]
    assert (variant["claim"], variant["variant"], variant["metric"]) == ("tiny-kd", override, "top1")
    assert (variant["status"], variant["verdict"], variant["main"]) == ("failed", "BLOCKED", False)
    assert (variant["reproduced"], variant["n"]) == (60.0, 2)
    # No override touches the student alone: it is the claim's own.
    assert (variant["student_mean"], variant["student_n"]) == (pytest.approx(70.0), 3)


def test_what_was_measured_again_is_counted_and_not_in_the_mean(paper, record):
    first = record("tiny-kd", "distilled", 0, top1=71.0)
    again = record("tiny-kd", "distilled", 0, top1=79.0, repetition=1, run_id="0" * 16)
    failed = record("tiny-kd", "distilled", 0, status="failed", repetition=2, run_id="1" * 16)
    for records in itertools.permutations([first, again, failed]):
        row = row_of(build_frame([paper], records, "mini"), "tiny-kd")
        assert (row["reproduced"], row["n"], row["repetitions"]) == (71.0, 1, 1)


def test_the_order_of_the_records_changes_nothing(paper, pair_records, record):
    records = pair_records(STUDENT, DISTILLED, profile="paper")
    records.append(record("tiny-less", "distilled", 0, top1=70.8, profile="paper"))
    texts = {
        build_frame([paper], order, "paper").to_csv()
        for order in (records, records[::-1], records[3:] + records[:3])
    }
    assert len(texts) == 1


FIRST, AGAIN, GONE = ("1" * 64, "2" * 64, "3" * 64)
"""SHA-256 of weights."""


def test_the_teacher_of_a_row_is_the_checkpoint_that_taught_it(paper, record, pair_records):
    first, again = (
        record("tiny-kd", "teacher", 0, top1=value, attempt=attempt, provenance={"weights_sha256": weights})
        for attempt, value, weights in ((1, 73.6, FIRST), (2, 73.0, AGAIN))
    )

    def taught_by(weights):
        return {"teacher": {"run_id": first.run_id, "weights_sha256": weights}}

    def measured(*weights):
        runs = [
            record("tiny-kd", "distilled", seed, top1=71.0, provenance=taught_by(name))
            for seed, name in enumerate(weights)
        ]
        return row_of(build_frame([paper], [first, again, *runs], "mini"), "tiny-kd")["teacher_measured"]

    assert measured() == 73.6
    assert measured(FIRST, FIRST) == 73.6
    assert measured(AGAIN, AGAIN) == 73.0
    assert measured(FIRST, AGAIN, AGAIN) == pytest.approx(73.3)
    # Of a checkpoint that nobody has measured, the run's own accuracy is all there is.
    assert measured(GONE) == 73.6


def test_a_metric_that_improves_by_falling_gains_by_falling(paper, seeds, tmp_path, monkeypatch):
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "claims.yaml").write_text(
        "{id: more, title: M, venue: V, arxiv: [], code: a/b, versions: {}, tables: [], claims: []}",
        encoding="utf-8",
    )
    error = "error: {title: error rate, unit: percent, better: lower}\n"
    (folder / "metrics.yaml").write_text(error, encoding="utf-8")
    monkeypatch.setenv("SUITE_PAPERS", str(folder))
    claims = {}
    for name, printed in (("tiny-base", "30.10"), ("tiny-kd", "28.04")):
        found = next(claim for claim in paper.claims if claim.id == name)
        source = found.sources[0].model_copy(update={"printed": {"error": printed}, "gains": {}})
        metric = type(found.metrics["top1"])(value=float(printed), decimals=2)
        claims[name] = found.model_copy(update={"metrics": {"error": metric}, "sources": [source]})
    falling = paper.model_copy(update={"claims": list(claims.values())})
    records = [
        *seeds(["tiny-base", "tiny-kd"], "student", error=[30.1, 29.9, 30.0]),
        *seeds("tiny-kd", "distilled", error=[29.0, 28.6, 28.9]),
    ]
    row = row_of(build_frame([falling], records, "mini"), "tiny-kd", "error")
    assert row["claimed_gain"] == 2.06
    assert row["gain"] == pytest.approx(1.1667, abs=1e-4)
    assert row["gain_verdict"] == "GAIN"
    assert row["reproduced"] == pytest.approx(28.8333, abs=1e-4)
