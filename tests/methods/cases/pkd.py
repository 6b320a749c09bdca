"""PKD."""

from __future__ import annotations

import torch
from torch import nn

from tasks.methods.pkd import PKDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import Inputs, LossCase


def _pkd(inputs: GoldenFile) -> Golden:
    options = [key for key in ("weight", "resize", "epsilon") if key in inputs]
    module = PKDLoss(**inputs.options(*options))
    return simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


def pkd_inputs(images: int) -> Inputs:
    """Maps of unequal size."""
    return Inputs({"student": torch.randn(images, 4, 5, 7)}, {"teacher": torch.randn(images, 4, 3, 4)})


GOLDEN: dict[str, Builder] = {"pkd": _pkd}

LOSSES: dict[type[nn.Module], LossCase] = {
    PKDLoss: LossCase(PKDLoss, pkd_inputs, ("student", "teacher"), (2, 3, 5, 7)),
}
