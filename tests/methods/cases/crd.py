"""CRD."""

from __future__ import annotations

import torch
from torch import nn

from tasks.methods.crd import CRDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile, simple
from tests.methods.loss_case import Inputs, LossCase

LABELS = [0, 1, 2, 0, 1, 2, 0, 1]
NEGATIVES = 4


def _crd(inputs: GoldenFile) -> Golden:
    module = CRDLoss(
        *inputs.channels(),
        labels=range(inputs.number("n_data")),
        negatives=inputs.number("negatives"),
        width=len(inputs.arrays["param/embed_s.linear.weight"]),
        **inputs.options("temperature", "momentum", "weight"),
    )
    leaves = {"student": inputs.leaf("student")}
    rest = (inputs.tensor(key) for key in ("teacher", "index", "contrast_index"))
    return simple(module, leaves, *rest)


def crd_inputs(images: int) -> Inputs:
    own = torch.arange(images)
    chosen = torch.cat([own[:, None], torch.randint(len(LABELS), (images, NEGATIVES))], dim=1)
    return Inputs(
        {"student": torch.randn(images, 4)},
        {"teacher": torch.randn(images, 6)},
        {"sample_index": own, "contrast_index": chosen},
    )


GOLDEN: dict[str, Builder] = {"crd": _crd}

LOSSES: dict[type[nn.Module], LossCase] = {
    CRDLoss: LossCase(
        lambda: CRDLoss(4, 6, LABELS, negatives=NEGATIVES, width=5),
        crd_inputs,
        ("student", "teacher"),
        (2, 5),
    ),
}
