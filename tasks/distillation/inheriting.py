"""Inheriting: a student starts from its teacher's neck and head (FGD; MGD's released configs)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Inherited:
    """What a student inherited from its teacher.

    Attributes:
        copied: names of the tensors that were copied.
        left: name of a tensor outside the backbone that was not copied -> why.
    """

    copied: tuple[str, ...]
    left: dict[str, str]


@torch.no_grad()
def inherit(student: nn.Module, teacher: nn.Module) -> Inherited:
    """Copies everything but the backbone from teacher to student, where name and shape agree.

    Args:
        student: changed in place; parameters and buffers alike.
        teacher: only read.

    Returns:
        What was copied, and what could not be.
    """
    theirs = teacher.state_dict()
    copied, left = [], {}
    for name, tensor in student.state_dict().items():
        if name.startswith("backbone."):
            continue
        if name not in theirs:
            left[name] = "not in the teacher"
        elif theirs[name].shape != tensor.shape:
            left[name] = f"{_shape(tensor)} here, {_shape(theirs[name])} in the teacher"
        else:
            tensor.copy_(theirs[name])
            copied.append(name)
    return Inherited(tuple(copied), left)


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
