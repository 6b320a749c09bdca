"""FKD."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.fkd import FKDLoss
from tests.methods.golden_file import STATISTICS, Builder, Golden, GoldenFile, pyramids
from tests.methods.loss_case import LossCase, pyramid_inputs


def _fkd(inputs: GoldenFile) -> Golden:
    leaves, student, teacher = pyramids(inputs)
    channels = teacher[0].shape[1]
    module = FKDLoss(
        channels,
        channels,
        **inputs.options("alpha", "beta", "gamma", "temperature", "channel_mask"),
        pool_strides=inputs.arrays["pool_stride"].tolist(),
    )

    def run() -> dict[str, Tensor]:
        terms = module.terms(student, teacher)
        return {"loss": module(student, teacher)} | {f"term_{name}": term for name, term in terms.items()}

    statistics = tuple(
        f"{side}_non_local.{level}.W.1.{name}"
        for side in ("student", "teacher")
        for level in range(len(student))
        for name in STATISTICS
    )
    return Golden(module, leaves, run, unrecorded=statistics)


def fkd_loss() -> FKDLoss:
    """On three levels, with batch norms that let the relations through."""
    module = FKDLoss(4, 4, pool_strides=(4, 2, 2))
    for blocks in (module.student_non_local, module.teacher_non_local):
        for block in blocks:
            nn.init.constant_(block.get_parameter("W.1.weight"), 0.5)
    return module


GOLDEN: dict[str, Builder] = {"fkd": _fkd}

LOSSES: dict[type[nn.Module], LossCase] = {
    FKDLoss: LossCase(
        fkd_loss, lambda images: pyramid_inputs(images, 4, 4), ("student", "teacher"), (2, 5, 12, 14)
    ),
}
