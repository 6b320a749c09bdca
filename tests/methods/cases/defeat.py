"""DeFeat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.methods.defeat import DeFeatHeadLoss, DeFeatLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, boxes_of_images, pyramids
from tests.methods.loss_case import CLASSES, Inputs, LossCase, logits, pyramid_inputs


def _defeat(inputs: GoldenFile) -> Golden:
    leaves, student, teacher = pyramids(inputs)
    module = DeFeatLoss(
        *inputs.channels("student/0", "teacher/0"),
        inputs.number("weight_foreground"),
        inputs.number("weight_background"),
        inputs.arrays["strides"].tolist(),
    )
    boxes = boxes_of_images(inputs)

    def run() -> dict[str, Tensor]:
        masks = module.masks(boxes, [(level.shape[2], level.shape[3]) for level in teacher])
        outputs = {f"mask/{level}": mask.to(inputs.dtype) for level, mask in enumerate(masks)}
        return outputs | {"loss": module(student, teacher, boxes, [(16, 16)] * len(boxes))}

    return Golden(module, leaves, run)


def _defeat_neck_and_head(inputs: GoldenFile) -> Golden:
    case = _defeat(inputs)
    neck, student = case.compute, inputs.leaf("student_logits")
    head = DeFeatHeadLoss(
        inputs.number("weight_head_foreground"),
        inputs.number("weight_head_background"),
        inputs.number("temperature"),
    )

    def run() -> dict[str, Tensor]:
        outputs = neck()
        of_head = head(student, inputs.tensor("teacher_logits"), inputs.tensor("label"))
        return outputs | {"loss": outputs["loss"] + of_head}

    return Golden(case.module, case.leaves | {"student_logits": student}, run)


def head_inputs(images: int) -> Inputs:
    """Six proposals an image, half of them background."""
    proposals = 6 * images
    label = torch.arange(proposals) % CLASSES
    return Inputs(
        {"student_logits": logits(proposals)},
        {"teacher_logits": logits(proposals)},
        {"label": label.where(label % 2 == 0, CLASSES - 1)},
    )


GOLDEN: dict[str, Builder] = {"defeat": _defeat, "defeat_neck_and_head": _defeat_neck_and_head}

LOSSES: dict[type[nn.Module], LossCase] = {
    DeFeatLoss: LossCase(
        lambda: DeFeatLoss(4, 6, strides=(4, 8, 16), finest_scale=14.0),
        lambda images: pyramid_inputs(images, 4, 6, boxes=True),
        ("student", "teacher"),
        (2, 5, 12, 14),
    ),
    DeFeatHeadLoss: LossCase(DeFeatHeadLoss, head_inputs, ("student_logits", "teacher_logits"), (12, 7)),
}
