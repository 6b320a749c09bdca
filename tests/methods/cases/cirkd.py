"""CIRKD."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.methods.cirkd import CIRKDMemoryLoss, CIRKDMiniBatchLoss, Draws
from tests.methods.golden_file import STATISTICS, Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import CLASSES, Inputs, LossCase, feature_inputs

QUEUES = ("pixel_queue", "region_queue")
POINTERS = tuple(f"{queue}_ptr" for queue in QUEUES)


def _mini_batch(inputs: GoldenFile) -> Golden:
    module = CIRKDMiniBatchLoss(inputs.number("weight"), inputs.number("contrast_temperature"))
    return simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


def _memory(inputs: GoldenFile) -> Golden:
    queues = {queue: inputs.tensor(f"{queue}_before") for queue in QUEUES}
    classes, pixels, _ = queues["pixel_queue"].shape
    module = CIRKDMemoryLoss(
        *inputs.channels(),
        classes,
        inputs.number("weight_pixel"),
        inputs.number("weight_region"),
        inputs.number("contrast_temperature"),
        pixels=pixels,
        regions=queues["region_queue"].shape[1],
        stored=inputs.number("pixel_update_freq"),
    )
    module.to(inputs.dtype).load_state_dict(queues, strict=False)
    student, teacher, target = inputs.leaf("student"), inputs.tensor("teacher"), inputs.tensor("label")
    draws = Draws(
        inputs.tensor("pixel_index"),
        inputs.tensor("region_index"),
        _stored(inputs, module.labels(target, teacher.shape[2:]), module),
    )

    def run() -> dict[str, Tensor]:
        terms = module.terms(student, teacher, target, draws)
        loss = module.pixel_weight * terms["pixel"] + module.region_weight * terms["region"]
        return (
            {"loss": loss}
            | {f"term_{name}": term for name, term in terms.items()}
            | {name: module.state_dict()[name].clone() for name in (*QUEUES, *POINTERS)}
        )

    statistics = tuple(f"project_head.1.{name}" for name in STATISTICS)
    return Golden(module, {"student": student}, run, unrecorded=(*QUEUES, *POINTERS, *statistics))


def _stored(inputs: GoldenFile, labels: Tensor, module: CIRKDMemoryLoss) -> Tensor:
    """The recorded permutations, one for every image and class that it has, in the form of `Draws`."""
    stored = torch.zeros(len(labels), module.num_classes, module.stored, dtype=torch.long)
    permutations = iter(inputs.tensor("enqueue_draws").split(inputs.arrays["enqueue_draw_sizes"].tolist()))
    for image, of_image in enumerate(labels):
        for found in of_image[of_image >= 0].unique().tolist():
            first = next(permutations)[: module.stored]
            stored[image, found, : len(first)] = first
    return stored


def memory_inputs(images: int) -> Inputs:
    inputs = feature_inputs(images)
    inputs.rest["target"] = torch.randint(-1, CLASSES, (images, 10, 14))
    return inputs


GOLDEN: dict[str, Builder] = {
    "cirkd_memory": _memory,
    "cirkd_mini_batch": _mini_batch,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    CIRKDMiniBatchLoss: LossCase(CIRKDMiniBatchLoss, feature_inputs, ("student", "teacher"), (2, 6, 5, 8)),
    CIRKDMemoryLoss: LossCase(
        # Everything is stored and everything is drawn, so that the draws change nothing.
        lambda: CIRKDMemoryLoss(4, 6, CLASSES, pixels=80, regions=10, stored=35),
        memory_inputs,
        ("student", "teacher"),
        (2, 6, 5, 8),
    ),
}
