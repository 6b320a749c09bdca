"""FGD and its ablations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.methods.fgd import FGDLoss
from tasks.methods.fgd_ablation import FGDAblationLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile
from tests.methods.loss_case import Inputs, LossCase, feature_maps


def _fgd(inputs: GoldenFile) -> Golden:
    weights = inputs.options("alpha", "beta", "gamma", "lambda_")
    module = FGDLoss(*inputs.channels(), temperature=inputs.number("temperature"), **weights)
    student, teacher = inputs.leaf("student"), inputs.tensor("teacher")
    boxes = inputs.tensor("boxes").split(inputs.arrays["box_count"].tolist())
    height, width = inputs.arrays["img_shape"].tolist()

    def run() -> dict[str, Tensor]:
        shapes = [(height, width)] * len(boxes)
        terms = module.terms(student, teacher, boxes, shapes)
        loss = module(student, teacher, boxes, shapes)
        return {"loss": loss} | {f"term_{name}": term for name, term in terms.items()}

    return Golden(module, {"student": student}, run)


def fgd_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    boxes = [torch.tensor([[3.0, 4.0, 20.0, 30.0], [10.0, 2.0, 50.0, 12.0]])] + [torch.zeros(0, 4)] * (
        images - 1
    )
    return Inputs(
        {"student": student}, {"teacher": teacher}, {"boxes": boxes, "image_shapes": [(40, 56)] * images}
    )


GOLDEN: dict[str, Builder] = {
    "fgd": _fgd,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    FGDLoss: LossCase(lambda: FGDLoss(4, 6), fgd_inputs, ("student", "teacher"), (2, 6, 5, 8)),
    FGDAblationLoss: LossCase(
        lambda: FGDAblationLoss(4, 6, regions="whole", attention="spatial", relation="nonlocal"),
        fgd_inputs,
        ("student", "teacher"),
        (2, 6, 5, 8),
    ),
}
