"""DKD."""

from __future__ import annotations

from torch import nn

from tasks.methods.dkd import DKDLoss
from tests.methods.golden_file import Builder, with_teacher_logits
from tests.methods.loss_case import LossCase, logit_inputs

GOLDEN: dict[str, Builder] = {
    "dkd": with_teacher_logits(DKDLoss, "temperature", "alpha", "beta"),
}

LOSSES: dict[type[nn.Module], LossCase] = {
    DKDLoss: LossCase(DKDLoss, logit_inputs, ("student_logits", "teacher_logits"), (2, 7)),
}
