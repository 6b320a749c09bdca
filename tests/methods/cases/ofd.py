"""OFD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tasks.methods.ofd import OFDLoss, margin, partial_error
from tests.methods.golden_file import Builder, Golden, GoldenFile, pyramids
from tests.methods.loss_case import Inputs, LossCase, stage_inputs


class WithNorms(nn.Module):
    """The loss with the parameters of the teacher's batch norms as one list."""

    def __init__(self, loss: OFDLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], norms: Sequence[Tensor]) -> Any:
        return self.loss(student, teacher, *norms)


def _ofd(inputs: GoldenFile) -> Golden:
    leaves, student, teacher = pyramids(inputs)
    norms = [
        inputs.tensor(f"teacher_bn_{name}/{stage}")
        for stage in range(len(teacher))
        for name in ("weight", "bias")
    ]
    own, other = ([feature.shape[1] for feature in side] for side in (student, teacher))
    module = OFDLoss(own, other, inputs.number("weight"))

    def compute() -> dict[str, Tensor]:
        pairs = zip(norms[::2], norms[1::2], strict=True)
        margins = {
            f"margin/{stage}": margin(*pair).to(inputs.dtype).view(1, -1, 1, 1)
            for stage, pair in enumerate(pairs)
        }
        return {"loss": module(student, teacher, *norms), **margins}

    return Golden(module, leaves, compute)


def _ofd_partial_l2(inputs: GoldenFile) -> Golden:
    student = inputs.leaf("student")
    fixed = inputs.tensor("teacher"), inputs.tensor("margin").flatten()
    return Golden(nn.Module(), {"student": student}, lambda: {"loss": partial_error(student, *fixed)})


def ofd_inputs(images: int) -> Inputs:
    inputs = stage_inputs(images)
    norms = [torch.randn(len(feature[0])) for feature in inputs.teacher["teacher"] for _ in range(2)]
    return Inputs(inputs.student, inputs.teacher, {"norms": norms})


GOLDEN: dict[str, Builder] = {"ofd": _ofd, "ofd_partial_l2": _ofd_partial_l2}

LOSSES: dict[type[nn.Module], LossCase] = {
    OFDLoss: LossCase(
        lambda: WithNorms(OFDLoss([4, 5, 6], [6, 7, 8])), ofd_inputs, ("student", "teacher"), (2, 5, 5, 7)
    ),
}
