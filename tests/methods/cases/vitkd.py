"""ViTKD."""

from __future__ import annotations

import torch
from torch import nn

from tasks.methods.vitkd import ViTKDLoss
from tests.methods.loss_case import Inputs, LossCase


def vitkd_inputs(images: int) -> Inputs:
    keep = torch.rand(images, 9) > 0.5
    return Inputs(
        {"student": [torch.randn(images, 9, 4) for _ in range(3)]},
        {"teacher": [torch.randn(images, 9, 6) for _ in range(3)]},
        {"keep_mask": keep},
    )


LOSSES: dict[type[nn.Module], LossCase] = {
    ViTKDLoss: LossCase(lambda: ViTKDLoss(4, 6), vitkd_inputs, ("student", "teacher"), (2, 8, 6)),
}
