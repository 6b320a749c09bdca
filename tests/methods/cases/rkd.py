"""RKD."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.rkd import RKDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile
from tests.methods.loss_case import LossCase, pooled_inputs


def _rkd(inputs: GoldenFile) -> Golden:
    module = RKDLoss(**inputs.options("weight_distance", "weight_angle"))
    student, teacher = inputs.leaf("student"), inputs.tensor("teacher")

    def run() -> dict[str, Tensor]:
        terms = module.terms(student, teacher)
        return {"loss": module(student, teacher)} | {f"term_{name}": term for name, term in terms.items()}

    return Golden(module, {"student": student}, run)


GOLDEN: dict[str, Builder] = {
    "rkd": _rkd,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    # Of two samples the loss is zero whatever they are.
    RKDLoss: LossCase(RKDLoss, pooled_inputs, ("student", "teacher"), (7, 6), images=5),
}
