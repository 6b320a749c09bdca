"""MGD."""

from __future__ import annotations

import torch
from torch import nn

from tasks.methods.mgd import MGDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import Inputs, LossCase, feature_maps


def _mgd(inputs: GoldenFile) -> Golden:
    module = MGDLoss(*inputs.channels(), **inputs.options("alpha", "mask_ratio", "masking"))
    return simple(
        module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"), inputs.tensor("keep_mask")
    )


def mgd_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    return Inputs(
        {"student": student}, {"teacher": teacher}, {"keep_mask": torch.rand(images, 1, 5, 7) > 0.5}
    )


GOLDEN: dict[str, Builder] = {
    "mgd": _mgd,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    MGDLoss: LossCase(lambda: MGDLoss(4, 6), mgd_inputs, ("student", "teacher"), (2, 5, 5, 7)),
}
