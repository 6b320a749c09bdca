"""Label smoothing."""

from __future__ import annotations

from torch import nn

from tasks.methods.label_smoothing import LabelSmoothingLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, with_cross_entropy
from tests.methods.loss_case import LossCase, labelled_inputs


def _label_smoothing(inputs: GoldenFile) -> Golden:
    module = LabelSmoothingLoss(**inputs.options("smoothing", "spread"))
    return with_cross_entropy(inputs, module, module.ce_weight, inputs.target, parts=False)


GOLDEN: dict[str, Builder] = {
    "lsr": _label_smoothing,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    LabelSmoothingLoss: LossCase(
        lambda: LabelSmoothingLoss(spread="other classes"),
        labelled_inputs,
        ("student_logits", "target"),
        (2, 7),
    ),
}
