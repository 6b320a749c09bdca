"""ViTKD."""

from __future__ import annotations

import torch
from torch import nn

from tasks.methods.vitkd import ViTKDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile
from tests.methods.loss_case import Inputs, LossCase


def _vitkd(inputs: GoldenFile) -> Golden:
    widths = (inputs.arrays[key].shape[2] for key in ("student_high", "teacher_high"))
    module = ViTKDLoss(*widths, **inputs.options("alpha", "beta", "mask_ratio"))
    leaves = {key: inputs.leaf(key) for key in ("student_low", "student_high")}
    student = [*leaves["student_low"].unbind(1), leaves["student_high"]]
    teacher = [*inputs.tensor("teacher_low").unbind(1), inputs.tensor("teacher_high")]
    keep_mask = inputs.tensor("keep_mask")
    return Golden(module, leaves, lambda: {"loss": module(student, teacher, keep_mask)})


def vitkd_inputs(images: int) -> Inputs:
    keep = torch.rand(images, 9) > 0.5
    return Inputs(
        {"student": [torch.randn(images, 9, 4) for _ in range(3)]},
        {"teacher": [torch.randn(images, 9, 6) for _ in range(3)]},
        {"keep_mask": keep},
    )


GOLDEN: dict[str, Builder] = {"vitkd": _vitkd}

LOSSES: dict[type[nn.Module], LossCase] = {
    ViTKDLoss: LossCase(lambda: ViTKDLoss(4, 6), vitkd_inputs, ("student", "teacher"), (2, 8, 6)),
}
