"""PKT."""

from __future__ import annotations

from torch import nn

from tasks.methods.pkt import PKTLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import LossCase, pooled_inputs


def _pkt(inputs: GoldenFile) -> Golden:
    module = PKTLoss(**inputs.options("weight"))
    return simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


GOLDEN: dict[str, Builder] = {
    "pkt": _pkt,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    PKTLoss: LossCase(PKTLoss, pooled_inputs, ("student", "teacher"), (7, 6)),
}
