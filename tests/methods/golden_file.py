"""Building a loss from a golden file: its inputs as tensors, and what is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Arrays = Mapping[str, NDArray[Any]]


class GoldenFile:
    """The arrays of a golden file as tensors of the type under test; expected values are never asked for."""

    def __init__(self, arrays: Arrays, dtype: torch.dtype) -> None:
        self.arrays = arrays
        self.dtype = dtype

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def tensor(self, key: str) -> Tensor:
        tensor = torch.from_numpy(np.array(self.arrays[key]))
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def leaf(self, key: str) -> Tensor:
        """An input whose gradient is asked for."""
        return self.tensor(key).requires_grad_()

    def number(self, key: str) -> Any:
        """A hyper-parameter as a plain number or word."""
        return self.arrays[key].item()

    def options(self, *keys: str) -> dict[str, Any]:
        return {key: self.number(key) for key in keys}

    def channels(self, student: str = "student", teacher: str = "teacher") -> tuple[int, int]:
        return self.arrays[student].shape[1], self.arrays[teacher].shape[1]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """What stands under a prefix, such as `param/`: rest of the key -> value."""
        return {key.removeprefix(prefix): self.tensor(key) for key in self.arrays if key.startswith(prefix)}

    @property
    def target(self) -> Tensor:
        return self.tensor("soft_label" if "soft_label" in self else "label")


@dataclass
class Golden:
    """One computation.

    Attributes:
        module: the loss.
        leaves: inputs by name, whose gradients are returned as `grad_<name>`.
        compute: gives the outputs under the file's names, `loss` among them.
        loads: whether the recorded parameters are the loss's own, and not the teacher's.
        unrecorded: entries of the state dict that the file leaves out, for they are at their initial values.
        without_gradient: parameters that the file has, and no gradient of.
    """

    module: nn.Module
    leaves: dict[str, Tensor]
    compute: Callable[[], dict[str, Tensor]]
    loads: bool = True
    unrecorded: tuple[str, ...] = ()
    without_gradient: tuple[str, ...] = ()


Builder = Callable[[GoldenFile], Golden]
"""Builds the loss of a golden file, with its inputs."""


def with_teacher_logits(
    loss: type[nn.Module], *hyper_parameters: str, target: bool = True
) -> Callable[[GoldenFile], Golden]:
    def build(inputs: GoldenFile) -> Golden:
        leaves = {"student_logits": inputs.leaf("student_logits")}
        rest = (inputs.tensor("teacher_logits"), *([inputs.target] if target else []))
        return simple(loss(**inputs.options(*hyper_parameters)), leaves, *rest)

    return build


def with_cross_entropy(
    inputs: GoldenFile, module: nn.Module, ce_weight: float, *rest: Any, parts: bool = True
) -> Golden:
    """A loss on logits whose file records the whole objective; with `parts`, its own part beside it."""
    logits = inputs.leaf("student_logits")

    def run() -> dict[str, Tensor]:
        own = module(logits, *rest)
        outputs = {"loss": ce_weight * functional.cross_entropy(logits, inputs.target) + own}
        if parts:
            (gradient,) = torch.autograd.grad(own, logits, retain_graph=True)
            outputs |= {"loss_without_ce": own, "grad_student_logits_without_ce": gradient}
            outputs["ce_weight"] = logits.new_tensor(ce_weight)
        return outputs

    return Golden(module, {"student_logits": logits}, run)


def simple(module: nn.Module, leaves: dict[str, Tensor], *rest: Any) -> Golden:
    """A loss that takes the inputs with gradients first, and then the rest."""
    return Golden(module, leaves, lambda: {"loss": module(*leaves.values(), *rest)})


def beside(case: Golden, name: str, other: Golden) -> Golden:
    """A case with the loss of another beside its own."""
    run = case.compute
    return Golden(case.module, case.leaves, lambda: run() | {name: other.compute()["loss"]})


def pyramids(inputs: GoldenFile) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """Levels of student and teacher, finest first; before them those of the student by their keys."""
    levels = range(sum(key.startswith("student/") for key in inputs.arrays))
    leaves = {f"student/{level}": inputs.leaf(f"student/{level}") for level in levels}
    return leaves, list(leaves.values()), [inputs.tensor(f"teacher/{level}") for level in levels]


def boxes_of_images(inputs: GoldenFile) -> list[Tensor]:
    """The boxes of each image."""
    return list(inputs.tensor("boxes").split(inputs.arrays["box_count"].tolist()))


STATISTICS = ("running_mean", "running_var")


def batch_norm(path: str) -> tuple[str, ...]:
    return tuple(f"{path}.{name}" for name in ("weight", "bias", *STATISTICS))
