"""What is kept of a scored network's predictions: the same images for every network, whole and small."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

from suite.contract import Found, Sample, load
from suite.published.recipes import Recipe
from suite.store.samples import write_samples
from tasks.adapters.samples import GRID, SIDE, first_of_each_class, run_lengths, sample_of

STUDENTS = {
    "classification": "resnet18",
    "detection": "retinanet-r50",
    "instance_segmentation": "solo-r50",
    "semantic_segmentation": "pspnet-r18",
}
"""Of every task one student."""


@pytest.fixture(scope="module", params=STUDENTS)
def sampled(request, compose_job, trained_weights, tmp_path_factory):
    """Task, adapter of a scored student, and its samples."""
    task, student = request.param, STUDENTS[request.param]
    folder = tmp_path_factory.mktemp("run")
    job = compose_job(Recipe(task=task, student=student), "smoke", (), folder, seed=0)
    adapter = load(job.recipe.adapter)(job)
    adapter.build_released(trained_weights(student))
    return task, adapter, adapter.samples(3)


def cells(lengths: list[int]) -> int:
    return sum(lengths)


def test_samples_name_an_image_of_the_test_set_and_carry_it(sampled):
    _, adapter, samples = sampled
    assert len({sample.file for sample in samples}) == len(samples) == 3
    for sample in samples:
        with Image.open(adapter._data_root() / sample.file) as original:
            pixels = np.asarray(original.convert("RGB"))
        assert (sample.height, sample.width) == pixels.shape[:2]
        with Image.open(io.BytesIO(base64.b64decode(sample.png))) as kept:
            assert kept.format == "PNG"
            assert max(kept.size) == min(SIDE, max(pixels.shape[:2]))
            smaller = np.asarray(kept, dtype=float)
        # It is the same picture: as bright, and where it was not reduced the same pixels.
        assert abs(smaller.mean() - pixels.mean()) < 2
        assert smaller.shape != pixels.shape or np.array_equal(smaller, pixels)


def test_every_task_keeps_what_it_predicts(sampled):
    task, adapter, samples = sampled
    names = set(adapter._test_data.metainfo["classes"])
    for sample in samples:
        assert (sample.classes is not None) == (task == "classification")
        assert (sample.areas is not None) == (task == "semantic_segmentation")
        assert (sample.objects is not None) == (task in ("detection", "instance_segmentation"))
        if sample.classes is not None:
            scores = [score for _, score in sample.classes]
            assert len(scores) == 5
            assert scores == sorted(scores, reverse=True)
            assert {name for name, _ in sample.classes} <= names
        if sample.areas is not None:
            height, width = sample.grid
            assert max(sample.grid) <= GRID
            assert set(sample.areas) <= names
            assert {cells(lengths) for lengths in sample.areas.values()} == {height * width}
            assert sum(cells(lengths[1::2]) for lengths in sample.areas.values()) == height * width


def test_classifiers_are_sampled_by_class_and_the_same_images_every_time(sampled):
    task, adapter, samples = sampled
    assert adapter.samples(3) == samples
    assert adapter.samples(2) == samples[:2]
    if task == "classification":
        assert len({sample.file.split("/")[-2] for sample in samples}) == 3


def test_samples_of_a_hundred_images_stay_small(sampled, tmp_path):
    _, _, samples = sampled
    digest = write_samples(tmp_path, "0" * 16, samples)
    (path,) = tmp_path.iterdir()
    assert path.name == f"{'0' * 16}-{digest[:12]}.samples.jsonl"
    assert path.stat().st_size / len(samples) < 60_000


def found(*scores: float, masks: bool = False) -> DetDataSample:
    """What a detector found in an image of 200 x 100 pixels, each in a corner of its own."""
    instances = InstanceData()
    instances.scores = torch.tensor(scores)
    instances.labels = torch.arange(len(scores)) % 2
    instances.bboxes = torch.tensor([[number, 0.04, 50.0, 20.0] for number in range(len(scores))])
    if masks:
        instances.masks = torch.zeros(len(scores), 100, 200, dtype=torch.bool)
        instances.masks[:, :50, :100] = True
    return DetDataSample(
        pred_instances=instances, metainfo={"ori_shape": (100, 200), "img_path": "/data/a/1.png"}
    )


def kept(predicted: DetDataSample, tmp_path: Path) -> tuple[Sample, list[Found]]:
    sample = sample_of(predicted, 7, ("one", "two"), tmp_path, with_image=False)
    assert sample.objects is not None
    return sample, sample.objects


def test_boxes_with_scores_that_are_worth_a_look_are_kept_and_published_images_are_only_named(tmp_path):
    sample, objects = kept(found(0.9, 0.31, 0.3, 0.05), tmp_path)
    assert [(box.label, box.score, box.box) for box in objects] == [
        ("one", 90.0, (0.0, 0.0, 50.0, 20.0)),
        ("two", 31.0, (1.0, 0.0, 50.0, 20.0)),
    ]
    assert all(box.mask is None for box in objects)
    assert (sample.width, sample.height, sample.grid) == (200, 100, None)
    assert (sample.file, sample.png) == ("1.png", None)


def test_masks_are_thinned_to_a_grid(tmp_path):
    sample, (box,) = kept(found(0.9, masks=True), tmp_path)
    assert sample.grid is not None
    assert box.mask is not None
    height, width = sample.grid
    assert (width, height) == (GRID, GRID // 2)
    assert sum(box.mask) == height * width
    assert sum(box.mask[1::2]) == height * width / 4


def test_a_detector_that_finds_nothing_has_no_objects(tmp_path):
    assert kept(found(masks=True), tmp_path)[1] == []


@pytest.mark.parametrize(
    ("mask", "lengths"),
    [
        ([[0, 1, 1], [1, 0, 0]], [1, 3, 2]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 0], [0, 0]], [4]),
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),
    ],
)
def test_run_lengths_begin_outside_and_end_with_the_last_cell(mask, lengths):
    assert run_lengths(np.array(mask)) == lengths


def test_the_first_image_of_each_of_the_first_classes_is_taken():
    assert first_of_each_class([2, 2, 0, 1, 0, 1], 2) == [2, 3]
    assert first_of_each_class([2, 2, 0, 1, 0, 1], 9) == [2, 3, 0]
