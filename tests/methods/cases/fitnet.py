"""FitNet."""

from __future__ import annotations

from torch import nn

from tasks.methods.fitnet import FitNetLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import LossCase, feature_inputs


def _fitnet(inputs: GoldenFile) -> Golden:
    sizes = (inputs.arrays[key].shape[2] for key in ("student", "teacher"))
    module = FitNetLoss(*inputs.channels(), inputs.number("weight"), *sizes)
    case = simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))
    # Batch norm takes the mean away again: what is computed is rounding noise.
    case.without_gradient = ("conv.bias",)
    return case


GOLDEN: dict[str, Builder] = {"fitnet": _fitnet}

LOSSES: dict[type[nn.Module], LossCase] = {
    FitNetLoss: LossCase(lambda: FitNetLoss(4, 6), feature_inputs, ("student", "teacher"), (2, 6, 4, 7)),
}
