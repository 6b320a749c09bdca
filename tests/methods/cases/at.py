"""AT."""

from __future__ import annotations

from torch import nn

from tasks.methods.at import ATLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, pyramids
from tests.methods.loss_case import LossCase, stage_inputs


def _at(inputs: GoldenFile) -> Golden:
    leaves, student, teacher = pyramids(inputs)
    module = ATLoss(inputs.number("weight"))
    return Golden(module, leaves, lambda: {"loss": module(student, teacher)})


def _at_paper_equation(inputs: GoldenFile) -> Golden:
    case = _at(inputs)
    assert isinstance(case.module, ATLoss)
    case.module.distance = "euclidean"
    return case


GOLDEN: dict[str, Builder] = {"at": _at, "at_paper_equation": _at_paper_equation}

LOSSES: dict[type[nn.Module], LossCase] = {
    ATLoss: LossCase(ATLoss, stage_inputs, ("student", "teacher"), (3, 6, 5, 7)),
}
