"""CWD."""

from __future__ import annotations

from typing import Any

from torch import nn

from tasks.methods.cwd import ChannelWiseLogitLoss, CWDLoss
from tests.methods.golden_file import (
    STATISTICS,
    Builder,
    Golden,
    GoldenFile,
    beside,
    simple,
    with_teacher_logits,
)
from tests.methods.loss_case import LossCase, feature_inputs, segmentation_inputs


def _cwd_features(inputs: GoldenFile, **variant: Any) -> Golden:
    leaves = {"student": inputs.leaf("student")}
    weight, temperature = inputs.number("weight"), inputs.number("temperature")
    module = CWDLoss(*inputs.channels(), weight, temperature, **variant)
    return simple(module, leaves, inputs.tensor("teacher"))


def _cwd_feature_det(inputs: GoldenFile) -> Golden:
    """The mm release, which leaves out the teacher's entropy; mmrazor has it, and no `align`."""
    case = _cwd_features(inputs, divisor="student", divergence="cross_entropy")
    student, teacher = inputs.channels()
    if student != teacher:
        return case
    with_entropy = _cwd_features(inputs, divisor="student")
    return beside(case, "loss_kl", with_entropy)


def _cwd_feature_seg(inputs: GoldenFile) -> Golden:
    case = _cwd_features(inputs, adaptation="linear")
    case.unrecorded = tuple(f"linear.1.{name}" for name in STATISTICS)
    return case


def _cwd_logit_seg_mm(inputs: GoldenFile) -> Golden:
    """As `_cwd_feature_det`, on logits."""
    own = GoldenFile(
        {**inputs.arrays}
        | {"student": inputs.arrays["student_logits"], "teacher": inputs.arrays["teacher_logits"]},
        inputs.dtype,
    )
    case = _cwd_feature_det(own)
    case.leaves = {"student_logits": case.leaves["student"]}
    return case


GOLDEN: dict[str, Builder] = {
    "cwd_feature_det": _cwd_feature_det,
    "cwd_feature_seg": _cwd_feature_seg,
    "cwd_logit_seg": with_teacher_logits(ChannelWiseLogitLoss, "weight", "temperature", target=False),
    "cwd_logit_seg_mm": _cwd_logit_seg_mm,
    "mgd_seg_logit_term": with_teacher_logits(ChannelWiseLogitLoss, "weight", "temperature", target=False),
}

LOSSES: dict[type[nn.Module], LossCase] = {
    ChannelWiseLogitLoss: LossCase(
        ChannelWiseLogitLoss, segmentation_inputs, ("student_logits", "teacher_logits"), (2, 3, 5, 8)
    ),
    CWDLoss: LossCase(
        lambda: CWDLoss(4, 6, adaptation="linear"), feature_inputs, ("student", "teacher"), (2, 6, 5, 8)
    ),
}
