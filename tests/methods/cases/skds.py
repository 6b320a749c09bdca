"""SKDS."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.methods.skds import Release, SKDSHolisticLoss, SKDSPairLoss, SKDSPixelLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import Inputs, LossCase, feature_inputs, segmentation_inputs


class ToyCritic(nn.Module):
    """The critic that the golden file was made with, in place of the authors'."""

    def __init__(self, classes: int, slope: float = 0.1) -> None:
        super().__init__()
        self.l1 = nn.Conv2d(classes, 4, kernel_size=3, stride=2, padding=1)
        self.last = nn.Conv2d(4, 1, kernel_size=3)
        self.slope = slope

    def forward(self, maps: Tensor) -> Tensor:
        scores: Tensor = self.last(nn.functional.leaky_relu(self.l1(maps), self.slope))
        return scores


def _pixel(release: Release) -> Builder:
    def build(inputs: GoldenFile) -> Golden:
        leaves = {"student_logits": inputs.leaf("student_logits")}
        return simple(
            SKDSPixelLoss(release, inputs.number("weight")), leaves, inputs.tensor("teacher_logits")
        )

    return build


def _pair(release: Release) -> Builder:
    def build(inputs: GoldenFile) -> Golden:
        leaves = {"student": inputs.leaf("student")}
        return simple(SKDSPairLoss(release, inputs.number("weight")), leaves, inputs.tensor("teacher"))

    return build


def _skds_holistic(inputs: GoldenFile) -> Golden:
    student, teacher = inputs.leaf("student_logits"), inputs.tensor("teacher_logits")
    weight, interpolation = inputs.number("lambda_d"), inputs.tensor("interpolation")
    critic = ToyCritic(student.shape[1], inputs.number("leaky_slope"))
    module = SKDSHolisticLoss(
        student.shape[1], weight, weight, penalty=inputs.number("lambda_gp"), critic=critic
    )

    def run() -> dict[str, Tensor]:
        between = student.detach(), teacher, interpolation
        return {
            "loss": module(student, teacher, interpolation),
            "loss_critic": module.critic_term(*between),
            "term_gradient_penalty": module.gradient_penalty(*between),
        }

    return Golden(module, {"student_logits": student}, run)


def holistic_inputs(images: int) -> Inputs:
    inputs = segmentation_inputs(images)
    inputs.rest["interpolation"] = torch.rand(images, 1, 1, 1)
    return inputs


GOLDEN: dict[str, Builder] = {
    "skds_holistic": _skds_holistic,
    "skds_pair": _pair("journal"),
    "skds_pair_2019": _pair("cvpr2019"),
    "skds_pair_cirkd": _pair("cirkd"),
    "skds_pixel": _pixel("journal"),
    "skds_pixel_2019": _pixel("cvpr2019"),
    "skds_pixel_cirkd": _pixel("cirkd"),
}

LOSSES: dict[type[nn.Module], LossCase] = {
    SKDSPixelLoss: LossCase(
        SKDSPixelLoss, segmentation_inputs, ("student_logits", "teacher_logits"), (2, 3, 5, 8)
    ),
    SKDSPairLoss: LossCase(SKDSPairLoss, feature_inputs, ("student", "teacher"), (2, 6, 5, 8)),
    SKDSHolisticLoss: LossCase(
        lambda: SKDSHolisticLoss(3, critic=ToyCritic(3)),
        holistic_inputs,
        ("student_logits", "teacher_logits"),
        (2, 3, 5, 8),
        differentiates=True,
    ),
}
