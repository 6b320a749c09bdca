"""DIST."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.dist import DISTLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile
from tests.methods.loss_case import LossCase, logit_pair


def _dist(inputs: GoldenFile) -> Golden:
    module = DISTLoss(**inputs.options("temperature", "beta", "gamma", "weight"))
    student, teacher = inputs.leaf("student_logits"), inputs.tensor("teacher_logits")

    def run() -> dict[str, Tensor]:
        terms = module.terms(student, teacher)
        return {"loss": module(student, teacher)} | {f"term_{name}": term for name, term in terms.items()}

    return Golden(module, {"student_logits": student}, run)


GOLDEN: dict[str, Builder] = {
    "dist": _dist,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    DISTLoss: LossCase(DISTLoss, logit_pair, ("student_logits", "teacher_logits"), (2, 7)),
}
