"""WSLD."""

from __future__ import annotations

from torch import nn

from tasks.methods.wsld import WSLDLoss
from tests.methods.golden_file import Builder, with_teacher_logits
from tests.methods.loss_case import LossCase, logit_inputs

GOLDEN: dict[str, Builder] = {
    "wsld": with_teacher_logits(WSLDLoss, "temperature", "alpha"),
}

LOSSES: dict[type[nn.Module], LossCase] = {
    WSLDLoss: LossCase(WSLDLoss, logit_inputs, ("student_logits", "teacher_logits"), (2, 7)),
}
