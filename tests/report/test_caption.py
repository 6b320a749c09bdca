"""What the caption of a report says of all pairs: their sign test, ablations apart, and their teachers."""

from __future__ import annotations

import pytest

from suite.evidence.frame import build_frame, rows_of
from suite.report import make_report
from suite.report.caption import pair_gains, teacher_leads

STUDENT, DISTILLED = [69.9, 70.1, 70.0], [71.0, 71.4, 71.1]


@pytest.fixture
def all_tasks(seeds):
    """Records of all arms of the paper with three tasks.

    Gains by main metric: +1 and -2 (detection, one student), +3 (instances), -4 (streets); ablation +5.
    """
    box_students = ["dense-box-base", "dense-box", "dense-box-inherit", "dense-half"]
    return [
        *seeds(["dense-box-teacher", *box_students[1:]], "teacher", box_AP=[33.0]),
        *seeds(box_students, "student", box_AP=[30.0] * 3, box_AP_S=[10.0] * 3),
        *seeds("dense-box", "distilled", box_AP=[31.0] * 3, box_AP_S=[1.0] * 3),
        *seeds("dense-box-inherit", "distilled", box_AP=[28.0] * 3),
        *seeds("dense-half", "distilled", box_AP=[35.0] * 3),
        *seeds("dense-mask", "teacher", box_AP=[39.0], mask_AP=[5.0]),
        *seeds(["dense-mask-base", "dense-mask"], "student", box_AP=[40.0] * 3, mask_AP=[30.0] * 3),
        *seeds("dense-mask", "distilled", box_AP=[43.0] * 3, mask_AP=[20.0] * 3),
        *seeds("dense-seg", "teacher", mIoU=[70.0]),
        *seeds(["dense-seg-base", "dense-seg"], "student", mIoU=[66.0] * 3),
        *seeds("dense-seg", "distilled", mIoU=[62.0] * 3),
    ]


def test_a_pair_is_a_claim_of_any_task_by_its_main_metric_and_ablations_are_counted_apart(
    dense_paper, all_tasks
):
    report = make_report(dense_paper, all_tasks)
    rows = rows_of(report.frame)
    assert pair_gains(rows) == pytest.approx([1.0, -2.0, 3.0, -4.0])
    assert pair_gains(rows, "ablation") == pytest.approx([5.0])
    text = report.text("markdown")
    said = "Sign test over 4 pairs (one per claim of the paper's own methods, on its main metric): "
    assert f"- {said}2 above zero, 2 below, 0 equal (exact, two-sided p = 1.000).\n" in text
    assert "- Ablations, not in the sign test: 1 gain, 1 above zero, 0 below, 0 equal.\n" in text


def test_teachers_are_held_against_the_student_alone_once_a_pair(dense_paper, all_tasks):
    report = make_report(dense_paper, all_tasks)
    assert teacher_leads(rows_of(report.frame)) == {
        ("retinanet-r101", "retinanet-r50", "box_AP"): 3.0,
        ("cascade-mask-rcnn-x101-dcn", "mask-rcnn-r50", "box_AP"): -1.0,
        ("pspnet-r101", "pspnet-r18", "mIoU"): 4.0,
    }
    said = "The teacher beats the student alone in 2 of 3 teacher-student pairs, by +2.00 points on"
    by_metric = "average over pairs (box_AP +1.00 over 2, mIoU +4.00 over 1)."
    assert f"- {said} {by_metric}\n" in report.text("markdown")


def test_with_one_metric_the_mean_over_pairs_stands_alone(paper, pair_records, record):
    records = [*pair_records(STUDENT, DISTILLED), record("tiny-kd", "teacher", 0, top1=75.0)]
    text = make_report(paper, records).text("markdown")
    assert "in 1 of 1 teacher-student pair, by +5.00 points on average over pairs.\n" in text


def test_the_main_metric_is_the_first_that_has_a_noise_prior(dense_paper):
    def main(metrics):
        claim = next(claim for claim in dense_paper.claims if claim.id == "dense-box")
        numbers = dict.fromkeys(metrics, claim.metrics["box_AP"])
        other = dense_paper.model_copy(update={"claims": [claim.model_copy(update={"metrics": numbers})]})
        return [row["metric"] for row in rows_of(build_frame([other], [], "mini")) if row["main"]]

    assert main(["box_AR", "box_AP", "mask_AP"]) == ["box_AP"]
    assert main(["box_AR", "box_AP_S"]) == ["box_AR"]


def test_a_pair_whose_main_metric_was_not_measured_is_none(dense_paper, seeds):
    records = seeds(["dense-mask-base", "dense-mask"], "student", mask_AP=[30.0] * 3)
    records += seeds("dense-mask", "distilled", mask_AP=[31.0] * 3)
    report = make_report(dense_paper, records)
    assert pair_gains(rows_of(report.frame)) == []
    text = report.text("markdown")
    assert "No gain has been measured yet." in text
    assert "The teacher is above" not in text
    assert "Ablations" not in text


def test_the_sign_test_runs_over_the_pairs_of_the_papers_own_methods(paper, pair_records, record):
    records = pair_records(STUDENT, DISTILLED)
    for claim, gain in [("tiny-plus", -0.5), ("tiny-less", 0.3)]:
        records += [record(claim, "student", seed, top1=70.0) for seed in range(3)]
        records += [record(claim, "distilled", seed, top1=70.0 + gain) for seed in range(3)]
    # tiny-less is an ablation; the top-5 of tiny-kd is the same pair again.
    rows = rows_of(make_report(paper, records).frame)
    assert pair_gains(rows) == [pytest.approx(1.1667, abs=1e-4), -0.5]


def test_claims_that_one_series_serves_are_one_pair(paper, record):
    records = [record(["tiny-kd", "tiny-plus"], "student", seed, top1=70.0) for seed in range(3)]
    records += [record(["tiny-kd", "tiny-plus"], "distilled", seed, top1=71.0) for seed in range(3)]
    assert pair_gains(rows_of(build_frame([paper], records, "mini"))) == [1.0]
