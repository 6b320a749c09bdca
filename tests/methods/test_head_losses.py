"""Losses on the outputs of a one-stage head, with real heads of mmdet: LD, CrossKD and GID."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import mmdet.models  # noqa: F401  (fills the registry)
import pytest
import torch
from mmdet.models.task_modules import MlvlPointGenerator
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.crosskd import CrossKDLoss, decoded, generalised_iou, restandardised
from tasks.methods.dense_heads import assign_targets, rows
from tasks.methods.gid import GIDLoss
from tasks.methods.ld import LDLoss

CLASSES = 3
SIZES = [(5, 7), (3, 4)]
STRIDES = [8, 16]

HEADS: dict[str, dict[str, Any]] = {
    "retina": {
        "type": "RetinaHead",
        "anchor_generator": {
            "type": "AnchorGenerator",
            "octave_base_scale": 2,
            "scales_per_octave": 1,
            "ratios": [0.5, 1.0],
            "strides": STRIDES,
        },
        "loss_cls": {"type": "FocalLoss", "use_sigmoid": True},
        "train_cfg": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.4,
                "min_pos_iou": 0,
                "ignore_iof_thr": -1,
            },
            "sampler": {"type": "PseudoSampler"},
            "allowed_border": -1,
            "pos_weight": -1,
        },
    },
    "gfl": {
        "type": "GFLHead",
        "reg_max": 4,
        "norm_cfg": {"type": "GN", "num_groups": 2},
        "anchor_generator": {
            "type": "AnchorGenerator",
            "octave_base_scale": 3,
            "scales_per_octave": 1,
            "ratios": [1.0],
            "strides": STRIDES,
        },
        "loss_cls": {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0},
        "loss_bbox": {"type": "GIoULoss"},
        "train_cfg": {
            "assigner": {"type": "ATSSAssigner", "topk": 9},
            "allowed_border": -1,
            "pos_weight": -1,
        },
    },
}


def head(kind: str, seed: int) -> Any:
    torch.manual_seed(seed)
    init_default_scope("mmdet")
    settings = {"num_classes": CLASSES, "in_channels": 4, "feat_channels": 4, "stacked_convs": 2}
    built = MODELS.build({**HEADS[kind], **settings})
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.3)
    return built


def samples(images: int, boxes: Tensor) -> list[DetDataSample]:
    """The boxes lie in the first image; the others have none."""
    found = []
    for image in range(images):
        own = boxes if image == 0 else boxes[:0]
        objects = InstanceData(bboxes=own, labels=torch.arange(len(own)) % CLASSES)
        meta = {"img_shape": (40, 56), "pad_shape": (40, 56), "batch_input_shape": (40, 56)}
        found.append(DetDataSample(metainfo=meta, gt_instances=objects))
    return found


BOXES = torch.tensor([[3.0, 4.0, 24.0, 30.0], [10.0, 2.0, 50.0, 38.0]])


@dataclass
class Scene:
    """A student's and a teacher's head on features of their own."""

    student: Any
    teacher: Any
    features: tuple[list[Tensor], list[Tensor]]
    data_samples: list[DetDataSample]

    @property
    def leaves(self) -> list[Tensor]:
        return self.features[0]

    def towers(self, of: Any, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """What the ReLU of the first of two stacked convolutions takes in, in either branch."""
        first, second = (
            [branch[0](level, activate=False) for level in features]
            for branch in (of.cls_convs, of.reg_convs)
        )
        return first, second

    def crosskd(self) -> tuple[Any, ...]:
        own, other = self.features
        with torch.no_grad():
            taught = self.towers(self.teacher, other)
            predictions = self.teacher(other)
        towers = (*self.towers(self.student, own), *taught)
        return (*towers, predictions, self.teacher, self.student, self.data_samples)

    def ld(self) -> tuple[Any, ...]:
        own, other = self.features
        return (self.student(own), self.teacher(other), self.student, self.data_samples)

    def gid(self) -> tuple[Any, ...]:
        own, other = self.features
        outputs = self.student(own), self.teacher(other)
        shapes = [sample.img_shape for sample in self.data_samples]
        return (own, other, *outputs, self.student, shapes)


def scene(
    kind: str, images: int = 2, boxes: Tensor = BOXES, dtype: torch.dtype = torch.float32, **sizes: Any
) -> Scene:
    teacher = head(kind, 1).eval().requires_grad_(False).to(dtype)
    student = head(kind, 2).to(dtype)
    torch.manual_seed(3)
    levels = sizes.get("sizes", SIZES)
    own, other = ([torch.randn(images, 4, *size).to(dtype) for size in levels] for _ in range(2))
    return Scene(student, teacher, ([level.requires_grad_() for level in own], other), samples(images, boxes))


LOSSES = {
    "crosskd-retina": ("retina", CrossKDLoss(), Scene.crosskd),
    "crosskd-gfl": ("gfl", CrossKDLoss(boxes="distribution", box_weight=4.0), Scene.crosskd),
    "gid": ("retina", GIDLoss(resolution=3), Scene.gid),
    "ld": ("gfl", LDLoss(class_weight=10.0), Scene.ld),
}

each_loss = pytest.mark.parametrize("name", LOSSES)


def value_of(name: str, **changes: Any) -> tuple[Tensor, Scene]:
    kind, loss, arguments = LOSSES[name]
    found = scene(kind, **changes)
    return loss(*arguments(found)), found


@each_loss
@pytest.mark.parametrize("images", [1, 2])
def test_the_gradient_reaches_the_student_and_stops_at_the_teachers_weights(name: str, images: int) -> None:
    value, found = value_of(name, images=images)
    value.backward()
    assert value.shape == ()
    assert value > 0
    assert all(leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in found.leaves)
    assert found.leaves[0].grad is not None
    assert found.leaves[0].grad.any()
    assert all(parameter.grad is None for parameter in found.teacher.parameters())


@each_loss
def test_a_batch_without_objects_is_finite(name: str) -> None:
    value, found = value_of(name, boxes=BOXES[:0])
    value.backward()
    assert torch.isfinite(value)
    assert all(leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in found.leaves)
    # LD looks at objects alone, CrossKD at every position, and GID at instances of its own.
    assert (value == 0) == (name == "ld")


@each_loss
def test_double_precision_stays_double(name: str) -> None:
    value, _ = value_of(name, dtype=torch.float64)
    assert value.dtype == torch.float64
    torch.testing.assert_close(value.float(), value_of(name)[0], rtol=1e-4, atol=0)


@each_loss
def test_autocast_keeps_the_sums_in_float32(name: str) -> None:
    expected, _ = value_of(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = value_of(name)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0.1, atol=0)


def test_crosskd_on_a_level_of_one_position_in_a_batch_of_one_is_finite() -> None:
    value, found = value_of("crosskd-retina", images=1, sizes=[(5, 7), (1, 1)])
    value.backward()
    assert torch.isfinite(value)
    # Without a deviation there is nothing to learn from the level.
    assert found.leaves[1].grad is not None
    assert not found.leaves[1].grad.any()
    assert found.leaves[0].grad is not None
    assert torch.isfinite(found.leaves[0].grad).all()


def test_restandardised_features_have_the_teachers_moments() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5).double(), 5 + 2 * torch.randn(2, 3, 4, 5).double()
    found = restandardised(student, teacher)
    for moment in (torch.mean, torch.std):
        torch.testing.assert_close(
            moment(found, dim=(0, 2, 3)), moment(teacher, dim=(0, 2, 3)), rtol=1e-5, atol=0
        )
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 5\) and teacher \(2, 3, 4, 6\) do not fit"):
        restandardised(student, torch.zeros(2, 3, 4, 6))


def test_a_student_that_is_its_teacher_reuses_its_own_predictions() -> None:
    found = scene("retina")
    found.features = (found.features[1], found.features[1])
    own = found.towers(found.teacher, found.features[0])
    scores, boxes = CrossKDLoss().reused(0, (own[0][0], own[1][0]), (own[0][0], own[1][0]), found.teacher)
    expected = found.teacher(found.features[0])
    torch.testing.assert_close(scores, expected[0][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(boxes, expected[1][0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", HEADS)
def test_the_targets_are_those_of_the_heads_own_loss(kind: str) -> None:
    """mmdet's own loss is taken apart: what it divides by, and the anchors whose boxes it compares."""
    found = scene(kind)
    maps = found.student(found.features[0])
    seen: dict[str, Any] = {}

    def watch(*arguments: Any, **others: Any) -> Any:
        seen["calls"] = [*seen.get("calls", []), (arguments, others)]
        return original(*arguments, **others)

    original = found.student.loss_by_feat_single
    found.student.loss_by_feat_single = watch
    objects = [sample.gt_instances for sample in found.data_samples]
    metas = [sample.metainfo for sample in found.data_samples]
    found.student.loss_by_feat(*maps, objects, metas)
    targets = assign_targets(found.student, maps[0], found.data_samples)
    for level, (arguments, others) in enumerate(seen["calls"]):
        places = {"gfl": (0, 3, 4), "retina": (2, 3, 4)}[kind]
        anchors, labels, weights = (arguments[place] for place in places)
        assert torch.equal(targets.anchors[level], anchors)
        assert torch.equal(targets.positive[level], labels < CLASSES)
        assert torch.equal(targets.weights[level], weights)
        assert targets.count == others["avg_factor"]
    # The second image has no object, and mmdet counts one for it.
    assert sum(level.sum() for level in targets.positive) + 1 == targets.count > 2


def test_ld_is_its_formula_side_by_side() -> None:
    found = scene("gfl", dtype=torch.float64)
    # GFL's head gives its boxes in single precision.
    student, teacher = (
        [[level.double() for level in part] for part in head(features)]
        for head, features in zip((found.student, found.teacher), found.features, strict=True)
    )
    targets = assign_targets(found.student, student[0], found.data_samples)
    expected = torch.zeros((), dtype=torch.float64)
    for level, positive in enumerate(targets.positive):
        scores = rows(student[0][level], CLASSES)
        for anchor in positive.reshape(-1).nonzero().flatten().tolist():
            certainty = scores[anchor].sigmoid().max().detach()
            for side in range(4):
                own, other = (
                    rows(of[1][level], 20)[anchor].view(4, 5)[side] / 10 for of in (student, teacher)
                )
                q = other.softmax(dim=0)
                divergence = (q * (q.log() - own.log_softmax(dim=0))).mean()
                expected = expected + 0.25 * 100 * certainty * divergence / (4 + 2**-23)
    value = LDLoss()(student, teacher, found.student, found.data_samples)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)


def test_boxes_are_decoded_and_compared_as_mmdet_does() -> None:
    from mmdet.models.losses.iou_loss import giou_loss
    from mmdet.models.task_modules import DeltaXYWHBBoxCoder

    torch.manual_seed(0)
    corners = 40 * torch.rand(20, 2)
    anchors = torch.cat([corners, corners + 1 + 30 * torch.rand(20, 2)], dim=1)
    deltas = 2 * torch.randn(2, 20, 4)
    # Growth beyond what a coder lets through.
    deltas[0, 0, 2:] = 9.0
    coder = DeltaXYWHBBoxCoder(target_means=(0.1, 0.0, 0.2, 0.0), target_stds=(0.1, 0.2, 0.3, 0.4))
    own, other = (decoded(anchors, of, coder.means, coder.stds) for of in deltas)
    torch.testing.assert_close(own, coder.decode(anchors, deltas[0]))
    torch.testing.assert_close(1 - generalised_iou(own, other), giou_loss(own, other, reduction="none"))


def test_outputs_of_another_width_are_refused_with_both_shapes() -> None:
    found = scene("gfl")
    student, teacher = found.student(found.features[0]), found.teacher(found.features[1])
    narrow = [functional.avg_pool2d(level, 2) for level in teacher[1]]
    with pytest.raises(ValueError, match=r"student \(2, 20, 5, 7\) and teacher \(2, 20, 2, 3\) do not fit"):
        LDLoss()(student, (teacher[0], narrow), found.student, found.data_samples)


def test_an_unknown_way_to_state_boxes_is_refused() -> None:
    with pytest.raises(ValueError, match="boxes 'points' are unknown"):
        CrossKDLoss(boxes="points")  # type: ignore[arg-type]


def test_gid_assigns_anchors_to_instances_as_mmdet_assigns_them_to_objects() -> None:
    found = scene("retina", boxes=torch.cat([BOXES, torch.tensor([[0.0, 0.0, 9.0, 7.0]])]))
    maps = found.student(found.features[0])
    targets = assign_targets(found.student, maps[0], found.data_samples)
    anchors = torch.cat([level[0] for level in targets.anchors])
    expected = torch.cat([level[0] for level in targets.positive])
    boxes = found.data_samples[0].gt_instances.bboxes
    assert torch.equal(GIDLoss().assigned(boxes, anchors), expected)
    # Of more than two anchors, and of the best one of each box.
    assert expected.sum() > 2
    assert not GIDLoss().assigned(boxes + 1000, anchors).any()


def test_gid_reads_a_head_as_mmdet_predicts_with_it() -> None:
    """Where the teacher alone is certain, the instances are the detections that its own head would give."""
    found = scene("retina", images=1)
    outputs = found.teacher(found.features[1])
    # A student without a sign of an object.
    silent = [torch.full_like(level, -30.0) for level in outputs[0]], list(outputs[1])
    seen: list[Any] = []

    class Watched(GIDLoss):
        def pooled(self, levels: Any, boxes: Any, strides: Any) -> Tensor:
            seen.append(boxes[0])
            return super().pooled(levels, boxes, strides)

    loss = Watched(resolution=3, instances=100, overlap=0.5, smallest_side=0.0)
    own, other = found.features
    loss(own, other, silent, outputs, found.student, [(40, 56)])
    test = {"nms_pre": 3000, "score_thr": 0.0, "nms": {"type": "nms", "iou_threshold": 0.5}}
    config = ConfigDict(min_bbox_size=0, max_per_img=100, **test)
    # All classes are one, as in the selection.
    scores = [level.view(1, 2, CLASSES, *level.shape[-2:]).amax(dim=2) for level in outputs[0]]
    head_of_one = copy.copy(found.teacher)
    head_of_one.num_classes = head_of_one.cls_out_channels = 1
    metas = [{"img_shape": (40, 56), "scale_factor": (1.0, 1.0)}]
    (expected,) = head_of_one.predict_by_feat(scores, outputs[1], batch_img_metas=metas, cfg=config)
    large = (expected.bboxes[:, 2:] > expected.bboxes[:, :2]).all(dim=1)
    assert len(seen[0]) > 10
    torch.testing.assert_close(seen[0], expected.bboxes[large])


def test_gid_without_instances_is_zero_with_gradients_of_zero() -> None:
    found = scene("retina")
    value = GIDLoss(smallest_side=1000.0)(*found.gid())
    value.backward()
    assert value == 0
    gradients = [leaf.grad for leaf in (*found.leaves, *found.student.parameters())]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("kind", ["distributions", "points"])
def test_gid_refuses_a_head_that_states_boxes_otherwise(kind: str) -> None:
    if kind == "distributions":
        found, problem = scene("gfl"), r"anchors \(\d+, 4\) do not fit"
    else:
        found, problem = scene("retina"), "RetinaHead and GIDLoss do not fit"
        found.student.prior_generator = MlvlPointGenerator(STRIDES)
    with pytest.raises(ValueError, match=problem):
        GIDLoss()(*found.gid())
