"""NKD."""

from __future__ import annotations

from torch import nn

from tasks.methods.nkd import NKDLoss
from tests.methods.golden_file import Builder, with_teacher_logits
from tests.methods.loss_case import LossCase, logit_inputs

GOLDEN: dict[str, Builder] = {
    "nkd": with_teacher_logits(NKDLoss, "temperature", "gamma"),
}

LOSSES: dict[type[nn.Module], LossCase] = {
    NKDLoss: LossCase(NKDLoss, logit_inputs, ("student_logits", "teacher_logits"), (3, 6)),
}
