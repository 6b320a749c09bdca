"""Networks that start from a backbone that the suite has trained, from the command line to the site."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.train, pytest.mark.slow]

CLAIM = ("--claim", "fgd-retinanet-r50-student", "--profile", "smoke")
NARROW = (
    "student.embedded.overrides.backbone.base_channels=8",
    "student.embedded.overrides.neck.in_channels=[32,64,128,256]",
)


def test_a_detector_starts_from_a_classifier_that_the_plan_has_trained(suite):
    done = suite("reproduce", *CLAIM, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    by_arm = {record.arm: record for record in suite.records.values()}
    assert by_arm.keys() == {"backbone", "student"}
    backbone, student = by_arm["backbone"], by_arm["student"]
    assert (backbone.task, student.task) == ("classification", "detection")
    assert {record.status for record in by_arm.values()} == {"finished"}
    assert backbone.provenance.start is None
    start = student.provenance.start
    assert start is not None
    assert (start.run_id, start.weights_sha256) == (backbone.run_id, backbone.weights_sha256)
    assert student.identity["start"]["run"] == backbone.run_id
    told = student.protocol["initial_weights"]["backbone"]
    assert (told["from"], told["sha256"]) == ("classification/resnet50", backbone.weights_sha256)
    assert (told["loaded"], told["left_out"]) == (318, {"head": 2})
    # What is printed is about the detector alone.
    rows = [line for line in done.stdout.splitlines() if line.startswith("| fgd-retinanet-r50-student |")]
    assert rows
    assert not any("top1" in row for row in rows)

    # Measured again, it starts from the same weights, which are trained again where they are gone.
    suite.run_folder(backbone.run_id).weights.unlink()
    done = suite("reproduce", *CLAIM, "--device", "cpu", "--again")
    assert done.returncode == 0, done.stderr
    (again,) = [record for record in suite.records.values() if record not in by_arm.values()]
    assert (again.arm, again.repetition) == ("student", 1)
    assert again.provenance.start == start
    assert again.metrics == student.metrics

    # The page of the run leads to that of the backbone.
    assert suite("report", "--paper", "fgd", "--profile", "smoke", "--format", "html").returncode == 0
    runs = suite.folder / "results" / "runs"
    page = (runs / f"{student.run_id}-01.html").read_text(encoding="utf-8")
    assert "starts from the backbone of" in page
    assert f'href="../runs/{backbone.run_id}-01.html"' in page
    assert (runs / f"{backbone.run_id}-01.html").is_file()


def test_a_network_of_another_width_is_blocked_with_the_tensors_that_do_not_fit(suite):
    done = suite("reproduce", *CLAIM, "--device", "cpu", *NARROW)
    assert done.returncode == 1
    by_arm = {record.arm: record for record in suite.records.values()}
    assert by_arm["backbone"].status == "finished"
    assert by_arm["student"].status == "blocked"
    assert "does not fit the backbone, which starts from classification/resnet50" in str(
        by_arm["student"].error
    )
