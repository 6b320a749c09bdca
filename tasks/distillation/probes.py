"""Probes what a loss on class scores really computes, and what values a tapped feature really has.

A hyper-parameter says what a loss was asked to do. Two implementations of one formula, both with the right
hyper-parameters, may still differ in what they average over, or in whether they leave the target class out
where the formula does. That shows in the numbers that they return, whoever wrote them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tasks.distillation.taps import Feature, tensors_of

_STUDENT, _TEACHER, _TARGET = "student.logits", "teacher.logits", "target"
_IMAGES, _CLASSES = 4, 8
_NEVER = -1e4
"""A score low enough to give a class zero probability at every temperature in use."""


def observe_loss(loss: nn.Module, inputs: Sequence[str]) -> dict[str, Any]:
    """How a loss between the class scores of student and teacher behaves.

    Args:
        loss: any module.
        inputs: the words of its inputs, in the order of its arguments.

    Returns:
        An empty dictionary for a loss that has other inputs, has parameters, or does not take ``N x K``
        scores. Otherwise

        - `averaged_over`: ``samples`` if adding classes of zero probability changes nothing, ``samples and
          classes`` if doubling the number of classes halves the loss; absent if it is neither.
        - `target_left_out`, for a loss that takes the target: whether the student's score of the target class
          has no effect where the teacher gives that class zero probability. It has none in a loss that
          weights its target term by the teacher's probability and compares the other classes among
          themselves, as NKD does.
    """
    pair = {_STUDENT, _TEACHER}
    if not pair <= set(inputs) <= {*pair, _TARGET} or any(True for _ in loss.parameters()):
        return {}

    def value(student: Tensor, teacher: Tensor, target: Tensor) -> float:
        given = {_STUDENT: student, _TEACHER: teacher, _TARGET: target}
        return float(loss(*(given[word] for word in inputs)))

    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(_IMAGES, _CLASSES, generator=generator) for _ in range(2))
    target = torch.arange(_IMAGES)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            found = _averaged_over(value, student, teacher, target)
        except ValueError:
            # It takes class maps, or inputs of another shape than N x K.
            return {}
        if _TARGET in inputs:
            found["target_left_out"] = _target_left_out(value, student, teacher, target)
    return found


_Value = Callable[[Tensor, Tensor, Tensor], float]


def _averaged_over(value: _Value, student: Tensor, teacher: Tensor, target: Tensor) -> dict[str, Any]:
    def padded(scores: Tensor) -> Tensor:
        return torch.cat([scores, torch.full_like(scores, _NEVER)], dim=1)

    once, twice = value(student, teacher, target), value(padded(student), padded(teacher), target)
    for factor, meaning in ((1, "samples"), (2, "samples and classes")):
        if once and math.isclose(once, factor * twice, rel_tol=1e-3):
            return {"averaged_over": meaning}
    return {}


def _target_left_out(value: _Value, student: Tensor, teacher: Tensor, target: Tensor) -> bool:
    place = target.unsqueeze(1)
    hopeless = teacher.scatter(1, place, _NEVER)
    low, high = (value(student.scatter(1, place, score), hopeless, target) for score in (-3.0, 3.0))
    return math.isclose(low, high, rel_tol=1e-4)


def sign_of(feature: Feature) -> str:
    """``not negative``, as after a ReLU, or ``any sign``.

    Args:
        feature: what a tap caught for a batch of ordinary images.
    """
    negative = any(bool((tensor < 0).any()) for tensor in tensors_of(feature))
    return "any sign" if negative else "not negative"


def signs(features: Mapping[str, Feature]) -> dict[str, dict[str, str]]:
    """Side -> tap -> the sign of its values.

    Args:
        features: by word, `student.<tap>` and `teacher.<tap>`.
    """
    found: dict[str, dict[str, str]] = {}
    for word, feature in features.items():
        side, _, tap = word.partition(".")
        found.setdefault(side, {})[tap] = sign_of(feature)
    return found


def mode_of(model: nn.Module) -> str:
    """``evaluation``, or ``training`` where any part of a model is in that mode."""
    return "training" if any(module.training for module in model.modules()) else "evaluation"
