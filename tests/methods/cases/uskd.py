"""USKD."""

from __future__ import annotations

import torch
from torch import nn

from tasks.methods.uskd import USKDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import CLASSES, Inputs, LossCase, logits, target


def _uskd(inputs: GoldenFile) -> Golden:
    leaves = {key: inputs.leaf(key) for key in ("student_logits", "mid_feature")}
    classes, channels = inputs.arrays["param/fc.weight"].shape
    return simple(USKDLoss(channels, classes, **inputs.options("alpha", "beta", "mu")), leaves, inputs.target)


def uskd_inputs(images: int) -> Inputs:
    student = {"student_logits": logits(images), "mid_feature": torch.randn(images, 4)}
    return Inputs(student, rest={"target": target(images)})


GOLDEN: dict[str, Builder] = {
    "uskd": _uskd,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    USKDLoss: LossCase(lambda: USKDLoss(4, CLASSES), uskd_inputs, ("student_logits", "mid_feature"), (2, 5)),
}
