"""Tf-KD."""

from __future__ import annotations

from torch import nn

from tasks.methods.tfkd import TFKDRegularizationLoss, TFKDSelfTrainingLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, with_cross_entropy
from tests.methods.loss_case import LossCase, labelled_inputs, logit_pair


def _self_training(inputs: GoldenFile) -> Golden:
    module = TFKDSelfTrainingLoss(**inputs.options("alpha", "temperature", "multiplier"))
    return with_cross_entropy(inputs, module, module.ce_weight, inputs.tensor("teacher_logits"))


def _regularization(inputs: GoldenFile) -> Golden:
    module = TFKDRegularizationLoss(
        **inputs.options("alpha", "temperature", "multiplier"),
        correct_probability=inputs.number("correct_prob"),
    )
    return with_cross_entropy(inputs, module, module.ce_weight, inputs.target)


GOLDEN: dict[str, Builder] = {
    "tfkd_self": _self_training,
    "tfkd_reg": _regularization,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    TFKDSelfTrainingLoss: LossCase(
        TFKDSelfTrainingLoss, logit_pair, ("student_logits", "teacher_logits"), (2, 7)
    ),
    TFKDRegularizationLoss: LossCase(
        TFKDRegularizationLoss, labelled_inputs, ("student_logits", "target"), (2, 7)
    ),
}
