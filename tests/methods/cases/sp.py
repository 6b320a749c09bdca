"""SP."""

from __future__ import annotations

from torch import nn

from tasks.methods.sp import SPLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import LossCase, feature_inputs


def _sp(inputs: GoldenFile) -> Golden:
    module = SPLoss(**inputs.options("weight"))
    return simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


GOLDEN: dict[str, Builder] = {
    "sp": _sp,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    SPLoss: LossCase(SPLoss, feature_inputs, ("student", "teacher"), (7, 6, 5, 7)),
}
