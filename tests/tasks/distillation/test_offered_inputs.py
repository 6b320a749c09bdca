"""What the adapters of the tasks offer to losses, and what they refuse, on real data and networks."""

from typing import Any

import pytest
import torch
from mmdet.datasets.transforms import PackDetInputs
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from torch import nn

import tests.tasks.distillation.seen  # noqa: F401  (registers the losses)
from suite.contract import BlockedError, load
from suite.published.recipes import Recipe
from tasks.distillation.sample_index import carry_sample_index

PAIRS = {
    "classification": ("resnet18", "resnet34", "nkd"),
    "detection": ("retinanet-r50", "retinanet-r101", "mgd-spatial"),
    "instance_segmentation": ("solo-r50", "solo-r101", "mgd-spatial"),
    "semantic_segmentation": ("pspnet-r18", "pspnet-r101", "mgd-segmentation"),
}
"""Task -> student, teacher, a method that is there already."""


def looks_at(*inputs: str) -> str:
    """An override that adds a loss with these inputs."""
    return f"+method.losses.seen={{type: SeenByATest, inputs: [{', '.join(map(repr, inputs))}]}}"


@pytest.fixture
def build(make_job, trained_weights):
    def make(task, *overrides, student=None, teacher=None, method=None):
        pair = PAIRS[task]
        student, teacher, method = student or pair[0], teacher or pair[1], method or pair[2]
        recipe = Recipe(task=task, student=student, teacher=teacher, method=method)
        job = make_job(recipe, *overrides, teacher_weights=trained_weights(teacher))
        adapter = load(job.recipe.adapter)(job)
        adapter.build()
        return adapter

    return make


def seen(adapter: Any) -> tuple[Any, ...]:
    found: tuple[Any, ...] = adapter.runner.model.losses["seen"].given
    return found


@pytest.mark.parametrize("task", PAIRS)
def test_the_index_of_a_sample_is_its_place_in_the_training_data(task, build):
    adapter = build(task, looks_at("sample_index", "data_samples"))
    model = adapter.runner.model
    batch = model.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    model(**batch, mode="loss")
    index, samples = seen(adapter)
    dataset = adapter.runner.train_dataloader.dataset
    assert len(set(index.tolist())) == len(index) == len(samples) > 1
    for place, sample in zip(index.tolist(), samples, strict=True):
        assert dataset.get_data_info(place)["img_path"] == sample.img_path


class Progress(Hook):
    """Keeps what the loss saw after every iteration, beside the runner's own counts."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.seen.append((*runner.model.losses["seen"].given, runner.epoch, runner.iter))


def test_a_loss_sees_how_many_epochs_and_iterations_are_behind(build):
    adapter = build(
        "classification", looks_at("epoch", "iteration"), "schedule.overrides.train_cfg.max_epochs=2"
    )
    watch = Progress()
    adapter.runner.register_hook(watch)
    adapter.fit()
    assert watch.seen == [(0, 0, 0, 0), (0, 1, 0, 1), (1, 2, 1, 2), (1, 3, 1, 3)]


@pytest.mark.parametrize(("profile", "known"), [("mini", {"epoch", "iteration"}), ("paper", {"iteration"})])
def test_a_training_that_is_counted_in_iterations_has_no_epoch(profile, known, make_job):
    """The published schedule of segmenters counts iterations, the embedded one epochs."""
    job = make_job(Recipe(task="semantic_segmentation", student="pspnet-r18"), profile=profile)
    adapter = load(job.recipe.adapter)(job)
    assert adapter._progress_of_training(adapter._config(job.recipe.student)).keys() == known


OFFERED = {
    "classification": ("target",),
    "detection": ("boxes", "labels", "image_shapes"),
    "semantic_segmentation": ("target",),
}


@pytest.mark.parametrize("task", OFFERED)
def test_annotations_of_a_task_are_those_of_the_batch(task, build):
    adapter = build(task, looks_at(*OFFERED[task]))
    model = adapter.runner.model
    batch = model.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    model(**batch, mode="loss")
    images = len(batch["inputs"])
    found = dict(zip(OFFERED[task], seen(adapter), strict=True))
    if task == "detection":
        counts = [len(sample.gt_instances) for sample in batch["data_samples"]]
        assert [len(of) for of in found["boxes"]] == [len(of) for of in found["labels"]] == counts
        assert found["image_shapes"] == [(128, 128)] * images
    else:
        shape = (images,) if task == "classification" else (images, *batch["inputs"].shape[-2:])
        assert found["target"].shape == shape
        assert found["target"].dtype == torch.int64


def test_training_labels_are_the_targets_in_the_order_of_the_sample_index(build):
    labels = looks_at("sample_index", "target").replace(
        "inputs:", "data: {channels: training_labels}, inputs:"
    )
    adapter = build("classification", labels)
    model = adapter.runner.model
    batch = model.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    model(**batch, mode="loss")
    index, target = seen(adapter)
    found = model.losses["seen"].channels
    assert len(found) == len(adapter.runner.train_dataloader.dataset)
    assert found[index].tolist() == target.tolist()
    assert len(set(found.tolist())) > 1


@pytest.mark.parametrize(("student", "teacher"), [("resnet18", "resnet34"), ("mobilenet-v1", "resnet50")])
def test_stages_of_networks_are_those_before_the_relu_behind_it(student, teacher, build):
    words = [f"{side}.{tap}" for side in ("student", "teacher") for tap in ("stages", "stages_before_relu")]
    adapter = build(
        "classification", looks_at(*words, "student.hint", "teacher.hint"), student=student, teacher=teacher
    )
    model = adapter.runner.model
    for layer in model.student.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # The zoo begins with the last one of a block at zero, so that nothing is below zero behind it.
            nn.init.ones_(layer.weight)
    batch = model.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    model(**batch, mode="loss")
    *stages, own_hint, other_hint = seen(adapter)
    for behind, before in (stages[:2], stages[2:]):
        assert len(behind) == len(before) == 4
        for one, other in zip(behind, before, strict=True):
            assert other.min() < 0
            # timm's ReLU of embedded networks ends at 6.
            highest = 6.0 if student == "mobilenet-v1" and behind is stages[0] else None
            assert torch.equal(one, other.clamp(0, highest))
    for own, other in zip(stages[0], stages[2], strict=True):
        # On images of 32 pixels the published sizes are not to be had, but their ratios.
        assert other.shape[2] in (own.shape[2], own.shape[2] // 4)
    assert torch.equal(own_hint, stages[0][1])
    assert torch.equal(other_hint, stages[2][1])


REFUSED = [
    (
        "detection",
        {"student": "faster-rcnn-r50", "teacher": "faster-rcnn-r101"},
        "student.output:roi_head.bbox_head.fc_cls",
        r"module 'roi_head\.bbox_head\.fc_cls' of FasterRCNN never ran, so the tap never fired",
    ),
    (
        "semantic_segmentation",
        {},
        "student.output:decode_head",
        r"module 'decode_head' of EncoderDecoder never ran, so the tap never fired",
    ),
    ("semantic_segmentation", {}, "boxes", r"loss 'seen': no input 'boxes': known: .*target"),
    ("classification", {}, "targets", r"loss 'seen': no input 'targets': did you mean 'target'"),
    (
        "classification",
        {},
        "teacher.parameter:head.fc.wieght",
        r"parameter 'head\.fc\.wieght': ImageClassifier\.head\.fc has no 'wieght', only weight, bias",
    ),
]


@pytest.mark.parametrize(("task", "models", "word", "text"), REFUSED)
def test_what_a_network_or_task_cannot_give_is_refused_before_the_first_step(task, models, word, text, build):
    with pytest.raises(BlockedError, match=text):
        build(task, looks_at(word), **models)


def test_dense_heads_of_a_two_stage_detector_can_be_tapped(build):
    word = "output:rpn_head.rpn_cls"
    adapter = build(
        "detection",
        looks_at(f"student.{word}", f"teacher.{word}"),
        student="faster-rcnn-r50",
        teacher="faster-rcnn-r101",
    )
    model = adapter.runner.model
    batch = model.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    model(**batch, mode="loss")
    ours, theirs = seen(adapter)
    assert [level.shape for level in ours] == [level.shape for level in theirs]
    assert len(ours) == 5


def test_kd_is_refused_with_a_cross_entropy_of_another_weight(build):
    with pytest.raises(BlockedError, match=r"'kd' needs task_loss_weight 0\.1, but the method has 0\.5"):
        build("classification", "method.losses.kd.arguments.alpha=0.9", method="kd")
    both = ("method.losses.kd.arguments.alpha=0.9", "method.task_loss_weight=0.1")
    assert build("classification", *both, method="kd").runner.model.task_loss_weight == 0.1


def test_the_index_is_carried_through_wrapped_and_nested_pipelines():
    init_default_scope("mmdet")
    inner = {"type": "CocoDataset", "pipeline": [{"type": "LoadImageFromFile"}]}
    packing = {"type": "PackDetInputs", "meta_keys": ["img_id"]}
    nested: dict[str, Any] = {"type": "RandomChoice", "transforms": [[{"type": "PackDetInputs"}]]}
    wrapped = {"type": "MultiImageMixDataset", "dataset": inner, "pipeline": [packing, nested]}
    carry_sample_index(wrapped)
    carry_sample_index(wrapped)
    assert packing["meta_keys"] == ("img_id", "sample_idx")
    default = PackDetInputs().meta_keys
    assert nested["transforms"][0][0]["meta_keys"] == (*default, "sample_idx")
    assert inner["pipeline"] == [{"type": "LoadImageFromFile"}]
    joined = {"type": "ConcatDataset", "datasets": [inner, inner]}
    with pytest.raises(BlockedError, match="the training data join 2 data sets, whose indices overlap"):
        carry_sample_index(joined)
