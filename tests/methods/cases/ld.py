"""LD."""

from __future__ import annotations

from torch import Tensor

from tasks.methods.ld import LDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile


def _ld(inputs: GoldenFile) -> Golden:
    temperature, weight = inputs.number("temperature"), inputs.number("weight")
    student = inputs.leaf("student_logits")
    rest = (inputs.tensor("teacher_logits"), inputs.tensor("row_weight"), inputs.number("avg_factor"))
    module = LDLoss()

    def run() -> dict[str, Tensor]:
        return {"loss": weight * module.divergence(student, *rest, temperature)}

    return Golden(module, {"student_logits": student}, run)


GOLDEN: dict[str, Builder] = {
    "ld": _ld,
}
