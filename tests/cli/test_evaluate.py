"""``evaluate``: a checkpoint trained elsewhere scores what it scored there, or is refused in one line."""

from __future__ import annotations

import copy
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from suite.store.record import Record
from tests.conftest import CommandLine, built_once

SMOKE = ("--profile", "smoke", "--device", "cpu", "data.test_loader.dataset.indices=null")
"""Scored on all 4,000 test images, where two networks hardly get the same accuracy by chance."""

CLAIM = "nkd-resnet18-nkd"


@pytest.fixture(scope="module")
def trained(make_command_line: Any, common_folder: Path) -> CommandLine:
    """ResNet-18 alone, trained for two iterations."""

    def train(folder: Path) -> None:
        done = make_command_line(folder)("reproduce", "--claim", "nkd-resnet18-student", *SMOKE)
        assert done.returncode == 0, done.stderr

    return CommandLine(built_once(common_folder / "trained-to-evaluate", train))


@pytest.fixture
def ours(trained: CommandLine, suite: CommandLine) -> CommandLine:
    """A command line with that run recorded."""
    for name in ("results", "work/runs"):
        shutil.copytree(trained.folder / name, suite.folder / name)
    return suite


def weights_of(suite: CommandLine) -> dict[str, torch.Tensor]:
    (record,) = suite.records.values()
    return suite.weights(record.run_id)


def evaluate(suite: CommandLine, path: Path, claim: str = CLAIM) -> Any:
    return suite("evaluate", "--claim", claim, "--checkpoint", str(path), *SMOKE)


def by_arm(suite: CommandLine) -> dict[str, Record]:
    return {record.arm: record for record in suite.records.values()}


@pytest.mark.slow
def test_a_released_distiller_scores_what_its_student_scored_where_it_was_trained(ours, tmp_path):
    weights = weights_of(ours)
    layout = {f"student.{key}": value for key, value in weights.items()} | {"teacher.fc": torch.zeros(3)}
    path = tmp_path / "authors.pth"
    torch.save({"meta": {"epoch": 100}, "state_dict": layout}, path)
    done = evaluate(ours, path)
    assert done.returncode == 0, done.stderr
    student, released = by_arm(ours)["student"], by_arm(ours)["released"]
    assert released.metrics == student.metrics
    assert [(entry.claim, entry.arm) for entry in released.claims] == [(CLAIM, "released")]
    assert released.provenance.checkpoint == {
        "file": "authors.pth",
        "loaded": len(weights),
        "left_out": {"teacher": 1},
        "faults": [],
        "own_config": False,
    }
    assert "It has no config of its own: a different network" in done.stdout
    assert f"authors.pth as resnet18: {len(weights)} keys loaded, left out 1 of teacher" in done.stdout
    assert f"{released.metrics['top1']:.2f}" in done.stdout
    assert "71.96" in done.stdout


@pytest.mark.slow
def test_the_report_shows_it_beside_the_trained_number_and_counts_it_as_no_run(ours, tmp_path):
    path = tmp_path / "authors.pth"
    torch.save(weights_of(ours), path)
    for claim in (CLAIM, "nkd-resnet18-student"):
        assert evaluate(ours, path, claim).returncode == 0
    report = (ours.folder / "results" / "nkd-smoke.md").read_text(encoding="utf-8")
    # An override beside the profile makes it a variant, and so is what was scored under it.
    variants = report.partition("\n## Variants")[2].partition("\n## ")[0]
    rows = {line.split()[1]: line for line in variants.splitlines() if line.startswith("| nkd-resnet18-")}
    top1 = by_arm(ours)["released"].metrics["top1"]
    assert f"| not run; released {top1:.2f} |" in rows[CLAIM]
    assert f"| {top1:.2f} (n = 1); released {top1:.2f} |" in rows["nkd-resnet18-student"]


@pytest.mark.slow
def test_the_second_time_nothing_is_scored_and_another_file_is_another_run(ours, tmp_path):
    weights = weights_of(ours)
    path = tmp_path / "authors.pth"
    torch.save(weights, path)
    first = evaluate(ours, path)
    before = ours.record_bytes
    again = evaluate(ours, path)
    assert again.stdout == first.stdout
    assert again.stderr.startswith("1 runs: 1 recorded already")
    assert ours.record_bytes == before
    torch.save(
        {key: value + 1 if value.is_floating_point() else value for key, value in weights.items()}, path
    )
    assert evaluate(ours, path).returncode == 0
    assert len(ours.records) == len(before) + 1
    scores = [record.metrics for record in ours.records.values() if record.arm == "released"]
    assert scores[0] != scores[1]


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.slow
def test_a_file_that_would_run_code_or_does_not_fit_is_blocked_in_one_line_and_recorded_so(ours, tmp_path):
    weights = weights_of(ours)
    layer = next(key for key in weights if "layer2" in key)
    caffe = "model = dict(backbone=dict(type='ResNet', depth=18, style='caffe'))"
    faulty = {
        "NaN or infinite values in backbone.conv1.weight": {
            key: value * torch.nan if key == "backbone.conv1.weight" else value
            for key, value in weights.items()
        },
        "is of a different network than resnet18, although its weights look the same: backbone.style is": {
            "state_dict": weights,
            "meta": {"cfg": caffe},
        },
        "would run exec, which weights have no use for": {
            "state_dict": weights,
            "x": RunsCode(tmp_path / "trace"),
        },
        f"does not fit the student resnet18: missing {layer}": {
            key: value for key, value in weights.items() if key != layer
        },
    }
    for text, content in faulty.items():
        path = tmp_path / "authors.pth"
        torch.save(content, path)
        done = evaluate(ours, path)
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("suite: ")]
        assert text in line
        assert done.stdout == ""
    assert not (tmp_path / "trace").exists()
    blocked = [record for record in ours.records.values() if record.arm == "released"]
    assert [record.status for record in blocked] == ["blocked"] * len(faulty)
    assert all(record.metrics == {} for record in blocked)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("--claim", "nkd-resnet18-nkk", "--checkpoint", __file__),
            "unknown claim 'nkd-resnet18-nkk'; did you mean",
        ),
        (("--claim", CLAIM, "--checkpoint", "gone.pth"), "--checkpoint gone.pth: there is no such file; "),
        (("--claim", CLAIM, "--checkpoint", "."), "--checkpoint .: is a folder, not a regular file; "),
        (
            ("--claim", CLAIM, "--checkpoint", "/dev/zero"),
            "--checkpoint /dev/zero: is a device, not a regular file; ",
        ),
        (("--claim", CLAIM), "the following arguments are required: --checkpoint"),
        (
            ("--claim", CLAIM, "--checkpoint", __file__, "--profile", "papper"),
            "unknown profile 'papper': did you mean 'paper'",
        ),
    ],
)
def test_a_wrong_request_is_one_line_with_status_2(suite, words, text):
    done = suite("evaluate", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"suite: {text}")
    assert done.stderr.count("\n") == 1
    assert not (suite.folder / "work" / "runs").exists()


def test_a_file_that_is_another_than_its_name_says_is_one_line_with_status_2(suite, tmp_path):
    path = tmp_path / "resnet18_8xb32_in1k_20210831-fbbb1da6.pth"
    path.write_bytes(b"another network")
    done = suite("evaluate", "--claim", CLAIM, "--checkpoint", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"suite: --checkpoint {path}: by its name its SHA-256 begins with fbbb1da6, "
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_what_the_record_holds_is_the_file_that_was_named(ours, tmp_path):
    path = tmp_path / "authors.pth"
    torch.save(weights_of(ours), path)
    assert evaluate(ours, path).returncode == 0
    released = by_arm(ours)["released"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    scored = released.identity["checkpoint"]
    assert (scored["claim"], scored["sha256"], scored["run"]) == (CLAIM, digest, None)
    assert released.provenance.weights_sha256 == digest
    assert released.timings.keys() >= {"evaluation", "wall"}
    assert "train" not in released.timings


PUBLISHED = {
    "mgd-resnet18": ("mmpretrain::resnet/resnet18_8xb32_in1k.py", "imagenet", {"top1", "top5"}),
    "fgd-retinanet-r50-r101": ("mmdet::retinanet/retinanet_r50_fpn_2x_coco.py", "coco", {"box_AP"}),
    "mgd-solo-r50": ("mmdet::solo/solo_r50_fpn_1x_coco.py", "coco", {"mask_AP"}),
    "mgd-pspnet-r18": (
        "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        "cityscapes",
        {"mIoU"},
    ),
}
"""Claim -> its student's config in the zoo, data set, what is measured."""


@pytest.mark.slow
@pytest.mark.parametrize("claim", PUBLISHED)
def test_a_checkpoint_of_the_plain_zoo_model_scores_as_in_its_zoo(claim, suite, tmp_path, monkeypatch):
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.runner import Runner

    from tasks.adapters.base import zoo_config
    from tests.tasks import published_layouts

    zoo, dataset, metrics = PUBLISHED[claim]
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    fingerprint = published_layouts.make(dataset, tmp_path / "data", train=1, val=2)
    config = zoo_config(zoo)
    init_default_scope(zoo.partition("::")[0])
    torch.manual_seed(0)
    # mmseg writes into what it builds from.
    network = MODELS.build(copy.deepcopy(config.model))
    # No backbone is fetched; without the start of its head, SOLO takes every cell for an object.
    network.backbone.init_cfg = None
    network.init_weights()
    path = tmp_path / "zoo.pth"
    torch.save({"meta": {"epoch": 12}, "state_dict": network.state_dict()}, path)

    words = ("--claim", claim, "--checkpoint", str(path), "--device", "cpu")
    done = suite("evaluate", *words, f"data.fingerprint={fingerprint}")
    assert done.returncode == 0, done.stderr
    (record,) = suite.records.values()
    assert (record.arm, record.profile, record.status) == ("released", "paper", "finished")
    assert record.provenance.data_fingerprint == fingerprint
    assert set(record.metrics) >= metrics
    override = f"data.fingerprint={fingerprint}"
    assert {entry.declared_by for entry in record.departures} == {override}
    assert [entry.variant for entry in record.claims] == [(override,)]

    root = tmp_path / "data" / dataset
    config.test_dataloader.dataset.data_root = f"{root}/"
    config.test_dataloader.update(num_workers=0, persistent_workers=False)
    if "ann_file" in config.test_evaluator:
        config.test_evaluator.ann_file = str(root / "annotations" / "instances_val2017.json")
    config.work_dir, config.load_from = str(tmp_path / "zoo"), str(path)
    config.visualizer = None
    found = Runner.from_cfg(config).test()
    names = {"accuracy/top1": "top1", "coco/bbox_mAP": "box_AP", "coco/segm_mAP": "mask_AP", "mIoU": "mIoU"}
    percent = 100 if dataset == "coco" else 1
    measured = {names[key]: percent * value for key, value in found.items() if key in names}
    assert {name: record.metrics[name] for name in measured} == pytest.approx(measured, abs=0.01)
    report = (suite.folder / "results" / f"{claim.partition('-')[0]}-paper.md").read_text(encoding="utf-8")
    assert "released" in report
