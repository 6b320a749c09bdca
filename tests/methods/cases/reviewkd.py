"""ReviewKD."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.methods.reviewkd import ReviewKDLoss, hierarchical_context_loss
from tests.methods.golden_file import Builder, Golden, GoldenFile, pyramids
from tests.methods.loss_case import Inputs, LossCase, stage_inputs


def _reviewkd(inputs: GoldenFile) -> Golden:
    leaves, student, teacher = pyramids(inputs)
    own, other = (inputs.tensor(key).tolist() for key in ("in_channels", "out_channels"))
    module = ReviewKDLoss(own, other, inputs.number("weight"), inputs.number("mid_channel"))

    def compute() -> dict[str, Tensor]:
        # In two steps: batch norm moves its statistics whenever it runs.
        reviewed = module.review(student, [feature.shape[2:] for feature in teacher])
        fused = {f"fused/{stage}": output for stage, output in enumerate(reviewed)}
        return {"loss": module.compare(reviewed, teacher), **fused}

    return Golden(module, leaves, compute)


def _reviewkd_hcl(inputs: GoldenFile) -> Golden:
    leaves, student, teacher = pyramids(inputs)

    def compute() -> dict[str, Tensor]:
        pairs = zip(student, teacher, strict=True)
        return {"loss": torch.stack([hierarchical_context_loss(*pair) for pair in pairs]).sum()}

    return Golden(nn.Module(), leaves, compute)


def reviewkd_inputs(images: int) -> Inputs:
    inputs = stage_inputs(images)
    student = {**inputs.student, "student_pooled": torch.randn(images, 6)}
    teacher = {**inputs.teacher, "teacher_pooled": torch.randn(images, 8)}
    return Inputs(student, teacher)


GOLDEN: dict[str, Builder] = {"reviewkd": _reviewkd, "reviewkd_hcl": _reviewkd_hcl}

LOSSES: dict[type[nn.Module], LossCase] = {
    ReviewKDLoss: LossCase(
        lambda: ReviewKDLoss([4, 5, 6, 6], [6, 7, 8, 8], mid_channels=5),
        reviewkd_inputs,
        ("student", "teacher"),
        (2, 5, 5, 7),
    ),
}
