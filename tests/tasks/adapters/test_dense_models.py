"""Dense models: published networks that the zoos can build, embedded ones that learn, pairs that fit."""

import copy
import functools

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

import tasks.adapters.detection  # noqa: F401  (registers networks of ours with mmdet)
from suite.contract import modules_of
from suite.planning.composing import compose
from suite.published.finding import load_papers
from suite.published.models import load_models
from suite.published.recipes import Recipe, load_recipes
from tasks.adapters.base import plain_taps, zoo_config
from tasks.distillation.taps import Taps, find_module

RECIPES = [recipe for recipe in load_recipes().values() if recipe.task != "classification"]
PAIRS = sorted({(recipe.student, recipe.teacher) for recipe in RECIPES if recipe.teacher})
INHERITING = sorted(
    {(recipe.student, recipe.teacher) for recipe in RECIPES if recipe.teacher and recipe.inherit}
)
TASKS = {name: model.task for name, model in load_models().items() if model.task != "classification"}
SEGMENTERS = [name for name, task in TASKS.items() if task == "semantic_segmentation"]
NAMES = sorted({name for pair in PAIRS for name in pair})


def composed(name):
    return compose(Recipe(task=TASKS[name], student=name), "paper")


def described(name):
    return composed(name).student


@functools.cache
def published_config(name):
    config = zoo_config(described(name).zoo)
    config.merge_from_dict({"model": described(name).overrides})
    return config


@functools.cache
def published(name):
    """The published network without storage: shapes are all that is asked of it."""
    init_default_scope(described(name).zoo.partition("::")[0])
    with torch.device("meta"):
        # mmdet writes into the config that it builds from; the cached one is for others to read.
        return MODELS.build(copy.deepcopy(published_config(name).model))


@functools.cache
def embedded(name):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = compose(Recipe(task=TASKS[name], student=name), "mini").student
    config = zoo_config(recipe.zoo)
    config.merge_from_dict({"model": recipe.overrides})
    init_default_scope(recipe.zoo.partition("::")[0])
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def scene(seed):
    """Noise of 128 x 128 pixels with a small, a middle and a large object, each with a mask."""
    boxes = np.array([[4, 6, 20, 24], [60, 50, 100, 96], [10, 12, 118, 122]])
    masks = np.zeros((3, 128, 128), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top + 1 : bottom - 1, left + 1 : right - 1] = 1
    size = {"img_shape": (128, 128), "ori_shape": (128, 128), "scale_factor": (1.0, 1.0), "img_id": seed}
    objects = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        labels=torch.tensor([0, 4, 9]),
        masks=BitmapMasks(masks, 128, 128),
    )
    picture = torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8, generator=torch.manual_seed(seed))
    return {"inputs": picture, "data_samples": DetDataSample(gt_instances=objects, metainfo=size)}


def street(seed):
    """Noise of 128 x 256 pixels, every pixel with a label of its own."""
    draw = torch.manual_seed(seed)
    size = {"img_shape": (128, 256), "ori_shape": (128, 256)}
    labels = PixelData(data=torch.randint(0, 11, (1, 128, 256), generator=draw))
    picture = torch.randint(0, 256, (3, 128, 256), dtype=torch.uint8, generator=draw)
    return {"inputs": picture, "data_samples": SegDataSample(gt_sem_seg=labels, metainfo=size)}


def batch(name):
    return pseudo_collate([(street if name in SEGMENTERS else scene)(seed) for seed in range(2)])


@functools.cache
def tapped_shapes(name):
    """Channels, height and width of what each tap of the embedded network gives."""
    model = embedded(name).eval()
    taps = Taps(model, plain_taps(described(name)), list(described(name).taps))
    prepared = model.data_preprocessor(batch(name), False)
    with torch.no_grad(), taps.listening():
        model(**prepared, mode="tensor") if name in SEGMENTERS else model.extract_feat(prepared["inputs"])
    taken = taps.take()
    features = {tap: value if isinstance(value, list) else [value] for tap, value in taken.items()}
    return {tap: [tuple(one.shape[1:]) for one in value] for tap, value in features.items()}


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def neck_and_head(model):
    state = model.state_dict()
    return {key: value.shape for key, value in state.items() if not key.startswith("backbone.")}


def test_every_dense_model_that_a_claim_trains_has_a_file():
    named = {
        name
        for paper in load_papers().values()
        for claim in paper.claims
        for name in (claim.student, claim.teacher)
        if name in TASKS
    }
    assert named == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_published_network_builds_with_every_tap_in_place(name):
    paths = [path for tap in described(name).taps.values() for path in modules_of(tap)]
    assert all(find_module(published(name), path) is not None for path in paths)
    assert described(name).name == name


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SEGMENTERS)))
def test_every_output_convolution_of_the_neck_is_tapped(name):
    # Of YOLOX the whole block is tapped, norm and activation included.
    layers, part = ("out_convs", "") if name.startswith("yolox") else ("fpn_convs", ".conv")
    count = len(getattr(published(name).neck, layers))
    assert described(name).taps["neck"].module == [f"neck.{layers}.{i}{part}" for i in range(count)]
    assert len(getattr(embedded(name).neck, layers)) == count


@pytest.mark.parametrize("name", NAMES)
def test_published_network_starts_from_weights_of_its_own_backbone(name):
    model = published_config(name).model
    backbone = model.backbone
    start = model.get("pretrained") or (backbone.get("init_cfg") or {}).get("checkpoint") or ""
    if backbone.type == "CSPDarknet":
        assert start == ""
        return
    kind = f"resnext{backbone.depth}_{backbone.groups}x{backbone.base_width}d" if "groups" in backbone else ""
    assert (kind or f"resnet{backbone.depth}") in start


@pytest.mark.parametrize("name", NAMES)
def test_embedded_network_keeps_the_published_parts(name):
    small, large = embedded(name), published(name)
    assert type(small) is type(large)
    parts = dict(large.named_children())
    assert dict(small.named_children()).keys() == parts.keys()
    assert all(isinstance(child, type(parts[part])) for part, child in small.named_children())
    assert getattr(small.backbone, "depth", None) == getattr(large.backbone, "depth", None)
    assert 10 * parameters(small) < parameters(large)


@pytest.mark.parametrize("name", NAMES)
def test_embedded_network_learns_from_a_batch_with_all_its_weights(name):
    torch.manual_seed(0)
    model = embedded(name).train()
    model.zero_grad()
    losses = model(**model.data_preprocessor(batch(name), True), mode="loss")
    loss, _ = model.parse_losses(losses)
    assert torch.isfinite(loss)
    loss.backward()
    idle = [key for key, value in model.named_parameters() if value.grad is None]
    assert not idle
    frozen = [
        key for key, value in model.named_modules() if "Norm" in type(value).__name__ and not value.training
    ]
    assert not frozen


@pytest.mark.parametrize("name", NAMES)
def test_embedded_network_predicts_its_own_classes(name):
    model = embedded(name).eval()
    with torch.no_grad():
        found = model.test_step(batch(name))
    assert len(found) == 2
    if name in SEGMENTERS:
        assert found[0].seg_logits.data.shape == (11, 128, 256)
        return
    assert len(found[0].pred_instances) <= 100
    assert ("masks" in found[0].pred_instances) == (
        "segm" in composed(name).data.overrides["test_evaluator"]["metric"]
    )
    classes = {module.num_classes for module in model.modules() if hasattr(module, "num_classes")}
    assert 10 in classes
    assert not classes & {80}


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_student_and_teacher_agree_on_tapped_levels_and_their_sizes(student, teacher):
    ours, theirs = tapped_shapes(student), tapped_shapes(teacher)
    assert ours.keys() == theirs.keys()
    for tap, shapes in ours.items():
        assert [shape[1:] for shape in shapes] == [shape[1:] for shape in theirs[tap]]


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_published_student_and_teacher_have_the_same_pyramid(student, teacher):
    ours, theirs = published_config(student).model, published_config(teacher).model
    if student in SEGMENTERS:
        strides = ("strides", "dilations", "contract_dilation")
        assert all(ours.backbone[key] == theirs.backbone[key] for key in strides)
        return
    levels = ("type", "start_level", "num_outs", "add_extra_convs", "relu_before_extra_convs")
    assert all(ours.neck.get(key) == theirs.neck.get(key) for key in levels)
    ours, theirs = (list(modules_of(described(name).taps["neck"])) for name in (student, teacher))
    assert len(ours) == len(theirs)


@pytest.mark.parametrize(("student", "teacher"), INHERITING)
def test_published_student_that_inherits_has_the_neck_and_head_of_its_teacher(student, teacher):
    ours, theirs = neck_and_head(published(student)), neck_and_head(published(teacher))
    own = ours.keys() - theirs.keys()
    # The tricks of FCOS' student bring biases that its teacher, the zoo's, does not have.
    assert all(student == "fcos-r50" and key.endswith(".conv.bias") for key in own)
    assert {key: shape for key, shape in ours.items() if key not in own} == theirs


@pytest.mark.parametrize(("student", "teacher"), INHERITING)
def test_embedded_student_inherits_all_but_what_reads_a_narrower_backbone(student, teacher):
    ours, theirs = neck_and_head(embedded(student)), neck_and_head(embedded(teacher))
    assert ours.keys() == theirs.keys()
    others = [key for key, shape in ours.items() if shape != theirs[key]]
    read = set(zip(embedded(student).neck.in_channels, embedded(teacher).neck.in_channels, strict=True))
    assert all(key.startswith("neck.") for key in others)
    assert {(ours[key][1], theirs[key][1]) for key in others} <= read


@pytest.mark.parametrize(("student", "teacher"), INHERITING)
def test_student_that_inherits_reads_the_head_as_its_teacher_does(student, teacher):
    ours, theirs = published_config(student).model, published_config(teacher).model
    head = "mask_head" if "mask_head" in ours else "bbox_head" if "bbox_head" in ours else "roi_head"
    # Of FCOS the student alone has the tricks: settings that the teacher lacks, another loss and threshold.
    tricks = {"loss_bbox", "test_cfg", *(set(ours[head]) - set(theirs[head]))}
    same = {*ours[head], *theirs[head]} - (tricks if student == "fcos-r50" else set())
    assert all(ours[head].get(key) == theirs[head].get(key) for key in same)


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_teacher_is_the_larger_network(student, teacher):
    ours, theirs = embedded(student).backbone, embedded(teacher).backbone
    assert parameters(theirs) > 1.2 * parameters(ours)


@pytest.mark.parametrize("name", [name for name in NAMES if "x101" in name])
def test_residual_branches_of_a_network_from_scratch_start_at_zero(name):
    torch.manual_seed(0)
    model = embedded(name)
    model.backbone.init_weights()
    norms = {key: value for key, value in model.backbone.named_parameters() if key.endswith("bn3.weight")}
    assert len(norms) == 33
    assert not any(value.any() for value in norms.values())
