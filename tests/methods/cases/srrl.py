"""SRRL."""

from __future__ import annotations

import torch
from torch import nn

from tasks.methods.srrl import SRRLLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, batch_norm, simple
from tests.methods.loss_case import CLASSES, Inputs, LossCase, feature_maps


def _srrl(inputs: GoldenFile) -> Golden:
    module = SRRLLoss(*inputs.channels(), **inputs.options("alpha", "beta"))
    case = simple(
        module,
        {"student": inputs.leaf("student")},
        inputs.tensor("teacher"),
        inputs.tensor("teacher_fc_weight"),
    )
    case.unrecorded = batch_norm("Connectors.1")
    return case


def srrl_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    return Inputs({"student": student}, {"teacher": teacher, "classifier_weight": torch.randn(CLASSES, 6)})


GOLDEN: dict[str, Builder] = {
    "srrl": _srrl,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    SRRLLoss: LossCase(lambda: SRRLLoss(4, 6), srrl_inputs, ("student", "teacher"), (1, 6, 5, 7)),
}
