"""Evaluation results for the Hub: one file a run, of published data alone."""

from __future__ import annotations

import yaml

from suite.environment import HOMEPAGE
from suite.published.datasets import load_dataset_names
from suite.report.exports import export


def test_a_run_on_published_data_has_a_file_for_the_repository_of_its_weights(material, record):
    runs = [
        record("tiny-kd", "distilled", 0, top1=71.5, top5=90.5, profile="paper"),
        record("tiny-kd", "distilled", 1, top1=71.7, profile="paper"),
        record("tiny-kd", "student", 0, top1=70.0, profile="paper"),
    ]
    files = export("hugging-face", material(runs, "paper"))
    assert list(files) == [
        f"hugging-face/tiny-kd-seed-{seed}/.eval_results/tiny-paper.yaml" for seed in (0, 1)
    ]
    entries = yaml.safe_load(files["hugging-face/tiny-kd-seed-0/.eval_results/tiny-paper.yaml"])
    assert entries[0] == {
        "dataset": {"id": "ILSVRC/imagenet-1k", "task_id": "top1"},
        "value": 71.5,
        "date": "2026-11-01",
        "source": {"url": HOMEPAGE, "name": "distillation reproducibility"},
        "notes": f"KD, resnet34 -> resnet18, seed 0, run {runs[0].run_id}",
    }
    assert [entry["dataset"]["task_id"] for entry in entries] == ["top1", "top5"]


def test_embedded_data_and_data_that_the_hub_does_not_have_are_left_out(material, record, dense_paper, seeds):
    assert load_dataset_names()["cityscapes"].hub is None
    assert export("hugging-face", material([record("tiny-kd", "distilled", 0, top1=71.5)])) == {}
    streets = seeds("dense-seg", "distilled", mIoU=[73.0], profile="paper")
    assert export("hugging-face", material(streets, "paper", dense_paper)) == {}


def test_what_a_paper_says_is_text_in_yaml(paper, material, record):
    evil = "KD\n- dataset: {id: x}\n!!python/object:os.system ["
    claims = [
        claim.model_copy(update={"method": evil}) if claim.id == "tiny-kd" else claim
        for claim in paper.claims
    ]
    runs = [record("tiny-kd", "distilled", 0, top1=71.5, profile="paper")]
    of = material(runs, "paper", paper.model_copy(update={"claims": claims}))
    (content,) = export("hugging-face", of).values()
    (entry,) = yaml.safe_load(content)
    assert entry["notes"].startswith(evil)
