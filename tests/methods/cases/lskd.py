"""KD and DKD on standardized logits."""

from __future__ import annotations

from torch import nn

from tasks.methods.lskd import LSKDDKDLoss, LSKDLoss
from tests.methods.golden_file import Builder, with_teacher_logits
from tests.methods.loss_case import LossCase, logit_inputs, logit_pair

GOLDEN: dict[str, Builder] = {
    "lskd": with_teacher_logits(LSKDLoss, "temperature", "weight", target=False),
    "lskd_dkd": with_teacher_logits(LSKDDKDLoss, "temperature", "alpha", "beta"),
}

LOSSES: dict[type[nn.Module], LossCase] = {
    LSKDLoss: LossCase(LSKDLoss, logit_pair, ("student_logits", "teacher_logits"), (2, 7)),
    LSKDDKDLoss: LossCase(LSKDDKDLoss, logit_inputs, ("student_logits", "teacher_logits"), (2, 7)),
}
