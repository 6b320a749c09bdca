"""VID."""

from __future__ import annotations

from torch import nn

from tasks.methods.vid import VIDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import LossCase, feature_inputs


def _vid(inputs: GoldenFile) -> Golden:
    options = (inputs.number(key) for key in ("weight", "init_pred_var", "eps"))
    module = VIDLoss(*inputs.channels(), *options)
    return simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


GOLDEN: dict[str, Builder] = {"vid": _vid}

LOSSES: dict[type[nn.Module], LossCase] = {
    VIDLoss: LossCase(lambda: VIDLoss(4, 6), feature_inputs, ("student", "teacher"), (2, 5, 5, 7)),
}
