"""FGFI."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.fgfi import FGFILoss, FGFISingleMapLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, boxes_of_images, pyramids
from tests.methods.loss_case import Inputs, LossCase, feature_maps, image_boxes, pyramid_inputs

ANCHORS = [[-4.0, -4.0, 11.0, 11.0], [-12.0, -4.0, 19.0, 11.0]]


def _fgfi_single(inputs: GoldenFile) -> Golden:
    module = FGFISingleMapLoss(
        *inputs.channels(),
        inputs.arrays["base_anchors"].tolist(),
        inputs.number("stride"),
        inputs.number("weight"),
        inputs.number("mask_threshold"),
    )
    student, teacher, boxes = inputs.leaf("student"), inputs.tensor("teacher"), boxes_of_images(inputs)

    def run() -> dict[str, Tensor]:
        mask = module.mask(boxes, (teacher.shape[2], teacher.shape[3]))
        return {"loss": module(student, teacher, boxes), "mask": mask.unsqueeze(1).to(inputs.dtype)}

    return Golden(module, {"student": student}, run)


def _fgfi_fpn(inputs: GoldenFile) -> Golden:
    leaves, student, teacher = pyramids(inputs)
    module = FGFILoss(
        *inputs.channels("student/0", "teacher/0"),
        inputs.number("weight"),
        inputs.arrays["strides"].tolist(),
        inputs.number("anchor_scale"),
        inputs.arrays["anchor_ratios"].tolist(),
        inputs.number("mask_threshold"),
    )
    boxes = boxes_of_images(inputs)

    def run() -> dict[str, Tensor]:
        masks = module.masks(boxes, [(level.shape[2], level.shape[3]) for level in teacher])
        outputs = {f"mask/{level}": mask.to(inputs.dtype) for level, mask in enumerate(masks)}
        return outputs | {"loss": module(student, teacher, boxes, [(16, 16)] * len(boxes))}

    return Golden(module, leaves, run)


def fgfi_single_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    return Inputs({"student": student}, {"teacher": teacher}, {"boxes": image_boxes(images)})


GOLDEN: dict[str, Builder] = {"fgfi": _fgfi_single, "fgfi_fpn": _fgfi_fpn}

LOSSES: dict[type[nn.Module], LossCase] = {
    FGFILoss: LossCase(
        lambda: FGFILoss(4, 6, strides=(4, 8, 16), finest_scale=14.0),
        lambda images: pyramid_inputs(images, 4, 6, boxes=True),
        ("student", "teacher"),
        (2, 5, 12, 14),
    ),
    FGFISingleMapLoss: LossCase(
        lambda: FGFISingleMapLoss(4, 6, ANCHORS, stride=8),
        fgfi_single_inputs,
        ("student", "teacher"),
        (2, 5, 5, 7),
    ),
}
