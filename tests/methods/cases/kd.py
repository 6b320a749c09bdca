"""KD."""

from __future__ import annotations

from torch import nn

from tasks.methods.kd import KDLoss
from tests.methods.golden_file import Builder, with_teacher_logits
from tests.methods.loss_case import LossCase, logit_pair

GOLDEN: dict[str, Builder] = {
    "kd": with_teacher_logits(KDLoss, "temperature", "alpha", target=False),
}

LOSSES: dict[type[nn.Module], LossCase] = {
    KDLoss: LossCase(KDLoss, logit_pair, ("student_logits", "teacher_logits"), (2, 7)),
}
