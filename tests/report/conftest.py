"""A small published world, and records of runs in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from suite.published.claims import Paper
from suite.published.metrics import load_metrics
from suite.store.record import Record
from suite.store.records import write_record

MakeRecord = Callable[..., Record]


def _claim(
    name: str, role: str, metrics: dict[str, str], table: str = "tab-1", **more: Any
) -> dict[str, Any]:
    source = {
        "row": f"row-{name}",
        "table": table,
        "provenance": "paper",
        "where": "table 1",
        "printed": metrics,
    }
    if "gains" in more:
        source["gains"] = more.pop("gains")
    fields = {
        "id": name,
        "role": role,
        "task": "classification",
        "dataset": "imagenet-1k",
        "metrics": metrics,
    }
    return fields | {"sources": [source], "recipe": name} | more


def _table(name: str, title: str, **more: Any) -> dict[str, Any]:
    fields = {"id": name, "title": title, "kind": "paper_table", "complete": True, "source": "the paper"}
    return fields | {"tasks": ["classification"], "datasets": ["imagenet-1k"]} | more


@pytest.fixture
def paper() -> Paper:
    """A paper with a teacher, a baseline, two methods of its own, a rival, and somebody else's number."""
    pair = {
        "teacher": "resnet34",
        "student": "resnet18",
        "baseline": "tiny-base",
        "teacher_claim": "tiny-teacher",
    }
    return Paper.model_validate(
        {
            "id": "tiny",
            "title": "A small paper",
            "venue": "Nowhere 2022",
            "arxiv": ["0000.00000"],
            "code": "somebody/tiny",
            "versions": {},
            "tables": [
                _table("tab-1", "Students of ResNet-34", number="1"),
                _table("tab-2", "With a | in its title", kind="repo_table", complete=False),
                _table("tab-3", "Nothing of it was run", kind="hyperparameters"),
            ],
            "claims": [
                _claim("tiny-teacher", "teacher", {"top1": "73.62"}, teacher="resnet34"),
                _claim("tiny-base", "baseline", {"top1": "69.90", "top5": "89.40"}, student="resnet18"),
                _claim("tiny-kd", "ours", {"top1": "71.96", "top5": "90.60"}, method="KD", **pair)
                | {"discrepancies": ["two-numbers"]},
                _claim(
                    "tiny-plus",
                    "ours",
                    {"top1": "72.5"},
                    "tab-2",
                    method="KD+",
                    gains={"top1": 2.6},
                    **pair,
                ),
                _claim("tiny-less", "ablation", {"top1": "70.90"}, method="KD, half of it", **pair),
                _claim("tiny-rival", "rival", {"top1": "71.00"}, method="Rival", **pair) | {"recipe": None},
                _claim("tiny-none", "ours", {"top1": "75.0"}, method="KD", student="swin-tiny")
                | {"recipe": None},
            ],
            "quoted": [
                {
                    "row": "tiny-issue",
                    "table": "tab-3",
                    "kind": "reproduction",
                    "about": "tiny-kd",
                    "method": "KD",
                    "metrics": {"top1": "71.50", "top5": "90.1"},
                    "source": "issue 7",
                    "note": "On one GPU.",
                },
                {"row": "tiny-words", "table": "tab-3", "kind": "quotation", "gains": {"top1": 1.2}},
            ],
            "discrepancies": [
                {
                    "id": "two-numbers",
                    "title": "71.96 or 71.69",
                    "text": "The abstract has the one, the table the other.",
                    "sources": ["abstract", "table 1"],
                }
            ],
        }
    )


def _dense(
    name: str, role: str, task: str, metrics: dict[str, str], table: str, **more: Any
) -> dict[str, Any]:
    dataset = "cityscapes" if task == "semantic_segmentation" else "coco-2017"
    return _claim(name, role, metrics, table, task=task, dataset=dataset, **more)


@pytest.fixture
def dense_paper() -> Paper:
    """A paper with detection, instance and semantic segmentation, and tables with several metrics."""
    pair = {"teacher": "retinanet-r101", "student": "retinanet-r50", "baseline": "dense-box-base"}
    pair |= {"teacher_claim": "dense-box-teacher"}
    box, instance, semantic = "detection", "instance_segmentation", "semantic_segmentation"
    base = _dense(
        "dense-box-base",
        "baseline",
        box,
        {"box_AP": "37.4", "box_AP_S": "20.6", "box_AR": "53.9"},
        "box",
        student="retinanet-r50",
    )
    ablation = base["sources"][0] | {"row": "other-row", "table": "parts"}
    base["sources"].append(ablation | {"printed": {"box_AP": "37.4", "box_AP_S": "20.0"}})
    in_both = {
        "teacher": "cascade-mask-rcnn-x101-dcn",
        "student": "mask-rcnn-r50",
        "baseline": "dense-mask-base",
    }
    return Paper.model_validate(
        {
            "id": "dense",
            "title": "Everywhere",
            "venue": "Nowhere 2023",
            "arxiv": [],
            "code": "somebody/dense",
            "versions": {},
            "tables": [
                _table("box", "Boxes", number="1"),
                _table("parts", "Parts of it", number="2"),
                _table("mask", "Masks", number="3"),
                _table("seg", "Streets", number="4"),
                _table("readme", "README", kind="repo_table"),
            ],
            "claims": [
                _dense(
                    "dense-box-teacher", "teacher", box, {"box_AP": "38.9"}, "box", teacher="retinanet-r101"
                ),
                base,
                _dense(
                    "dense-gid",
                    "rival",
                    box,
                    {"box_AP": "39.1", "box_AP_S": "22.8"},
                    "box",
                    method="GID",
                    **pair,
                )
                | {"recipe": None},
                _dense(
                    "dense-box",
                    "ours",
                    box,
                    {"box_AP": "39.6", "box_AP_S": "22.9", "box_AR": "55.7"},
                    "box",
                    method="Ours",
                    **pair,
                ),
                _dense(
                    "dense-box-inherit", "ours", box, {"box_AP": "39.7"}, "readme", method="Ours+", **pair
                ),
                _dense(
                    "dense-half",
                    "ablation",
                    box,
                    {"box_AP": "39.0", "box_AP_S": "22.1"},
                    "parts",
                    method="Half",
                    **pair,
                ),
                _dense(
                    "dense-mask-base",
                    "baseline",
                    instance,
                    {"box_AP": "39.2", "mask_AP": "35.4", "mask_AP_S": "19.1"},
                    "mask",
                    student="mask-rcnn-r50",
                ),
                _dense(
                    "dense-mask",
                    "ours",
                    instance,
                    {"box_AP": "42.1", "mask_AP": "37.8", "mask_AP_S": "19.7"},
                    "mask",
                    method="Ours",
                    **in_both,
                ),
                _dense(
                    "dense-seg-base", "baseline", semantic, {"mIoU": "69.85"}, "seg", student="pspnet-r18"
                ),
                _dense(
                    "dense-seg",
                    "ours",
                    semantic,
                    {"mIoU": "73.63"},
                    "seg",
                    method="Ours",
                    teacher="pspnet-r101",
                    student="pspnet-r18",
                    baseline="dense-seg-base",
                ),
            ],
        }
    )


def departure(what: str) -> dict[str, str]:
    """A departure that the reports call by these words."""
    return {"kind": "profile", "setting": "schedule", "ours": what, "declared_by": "profile mini"}


def make_record(claim: str | list[str], arm: str, seed: int, **fields: Any) -> Record:
    """A record of the small paper or of another: ``make_record("tiny-kd", "distilled", 0, top1=71.9)``."""
    claims = [claim] if isinstance(claim, str) else claim
    profile = fields.pop("profile", "mini")
    metrics = {name: fields.pop(name) for name in load_metrics() if name in fields}
    recipe = f"{claims[0]} {arm} {profile} {fields.pop('recipe_version', 1)}"
    series = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    content: dict[str, Any] = {
        "run_id": hashlib.sha256(f"{series} {seed}".encode()).hexdigest()[:16],
        "series": series,
        "claims": [{"claim": name, "arm": arm} for name in claims],
        "task": "classification",
        "arm": arm,
        "profile": profile,
        "seed": seed,
        "status": "finished",
        "metrics": metrics,
        "comparable": profile == "paper",
        "provenance": {"host": {"python": "3.11.7", "cpu": "a CPU"}, "packages": {"torch": "2.10.0"}},
        "finished_at": f"2026-11-01T10:{seed:02d}:00+00:00",
    }
    if "departures" in fields:
        fields["departures"] = [departure(what) for what in fields["departures"]]
    return Record.model_validate(content | fields)


@pytest.fixture
def record() -> MakeRecord:
    """Makes a record; see `make_record`."""
    return make_record


@pytest.fixture
def seeds(record: MakeRecord) -> Callable[..., list[Record]]:
    """Records of one arm, given its metrics by seed: ``seeds("dense-box", "distilled", box_AP=[31, 32])``."""

    def make(claim: str | list[str], arm: str, **fields: Any) -> list[Record]:
        metrics = {name: fields.pop(name) for name in load_metrics() if name in fields}
        return [
            record(claim, arm, seed, **dict(zip(metrics, values, strict=True)), **fields)
            for seed, values in enumerate(zip(*metrics.values(), strict=True))
        ]

    return make


@pytest.fixture
def pair_records(record: MakeRecord) -> Callable[..., list[Record]]:
    """The student alone and the distilled runs of ``tiny-kd``, given their top-1 accuracies by seed."""

    def make(student: list[float], distilled: list[float], **fields: Any) -> list[Record]:
        shared = ["tiny-base", "tiny-kd"]
        alone = [record(shared, "student", seed, top1=value, **fields) for seed, value in enumerate(student)]
        return alone + [
            record("tiny-kd", "distilled", seed, top1=value, **fields) for seed, value in enumerate(distilled)
        ]

    return make


@pytest.fixture
def store(tmp_path, monkeypatch, paper):
    """A results folder of its own, in a world where the small paper is the only one."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("suite.published.finding.load_papers", lambda: {"tiny": paper})

    def add(records):
        for record in records:
            write_record(tmp_path / "results" / "records", record)
        return tmp_path / "results"

    return add
