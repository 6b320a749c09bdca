"""MLLD."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.mlld import MLLDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile
from tests.methods.loss_case import Inputs, LossCase, logits

VIEWS = ("weak", "strong")


def _mlld(inputs: GoldenFile) -> Golden:
    """The files have the cross-entropy of both views as well."""
    module = MLLDLoss(**inputs.options("temperature", "weight"))
    leaves = {f"student_logits_{view}": inputs.leaf(f"student_logits_{view}") for view in VIEWS}
    arguments = (*leaves.values(), *(inputs.tensor(f"teacher_logits_{view}") for view in VIEWS))
    ce_weight = inputs.number("ce_weight")

    def run() -> dict[str, Tensor]:
        errors = [functional.cross_entropy(leaf, inputs.target) for leaf in leaves.values()]
        cross_entropy = ce_weight * (errors[0] + errors[1])
        terms = {f"loss_{name}": term for name, term in module.terms(*arguments).items()}
        return {"loss": cross_entropy + module(*arguments), "loss_ce": cross_entropy} | terms

    return Golden(module, leaves, run)


def mlld_inputs(images: int) -> Inputs:
    sides = ({f"{side}_{view}": logits(images) for view in VIEWS} for side in ("student", "teacher"))
    return Inputs(*sides)


GOLDEN: dict[str, Builder] = {
    "mlld": _mlld,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    MLLDLoss: LossCase(MLLDLoss, mlld_inputs, ("student_strong", "teacher_strong"), (2, 7)),
}
