"""CC."""

from __future__ import annotations

from torch import nn

from tasks.methods.cc import CCLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import LossCase, pooled_inputs


def _cc(inputs: GoldenFile) -> Golden:
    width = len(inputs.arrays["param/embed_s.linear.bias"])
    module = CCLoss(*inputs.channels(), width=width, **inputs.options("weight"))
    return simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


GOLDEN: dict[str, Builder] = {
    "cc": _cc,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    CCLoss: LossCase(lambda: CCLoss(4, 6), pooled_inputs, ("student", "teacher"), (7, 6)),
}
