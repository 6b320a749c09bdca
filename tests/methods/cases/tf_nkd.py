"""tf-NKD."""

from __future__ import annotations

from torch import nn

from tasks.methods.tf_nkd import TFNKDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import Inputs, LossCase, logits, target


def _tf_nkd(inputs: GoldenFile) -> Golden:
    return simple(TFNKDLoss(), {"student_logits": inputs.leaf("student_logits")}, inputs.target)


def tf_nkd_inputs(images: int) -> Inputs:
    return Inputs({"student_logits": logits(images)}, rest={"target": target(images)})


GOLDEN: dict[str, Builder] = {
    "tf_nkd": _tf_nkd,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    TFNKDLoss: LossCase(TFNKDLoss, tf_nkd_inputs, ("student_logits", "target"), (2, 7)),
}
