"""Observes a method while it trains: which taps fire, and its gradient next to that of the task.

Observing changes nothing. Counting reads no number of the training. A gradient is taken with respect to what
a tap caught, so that no parameter accumulates any; no random number is drawn, and the graph is kept for the
backward pass of the step. The weights are the same, bit for bit, as without observation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from suite.contract import MethodSeen, TapGradient

Edges = Mapping[str, Sequence[GradientEdge]]
"""Tap -> the edges of the autograd graph at the tensors that it caught."""

_LIFT = 1024.0
"""A loss is multiplied by this before its gradients are taken, and their norms are divided by it: small ones
would underflow in half precision. A power of two, which changes no digit in float32."""


class Seen:
    """Accumulates over a training what is observed of its method; the contents go into resume points.

    Attributes:
        looked_at: iterations, counted from 0, whose gradients are measured.
    """

    def __init__(self) -> None:
        """Starts with no observations."""
        self.looked_at: frozenset[int] = frozenset()
        self._steps = 0
        self._fired: Counter[str] = Counter()
        self._gradients: list[TapGradient] = []

    def look_at(self, iterations: int) -> None:
        """Chooses the iterations whose gradients are measured: the first, the one in the middle, the last.

        Args:
            iterations: length of the training.
        """
        self.looked_at = frozenset({0, iterations // 2, iterations - 1})

    def count(self, fired: Mapping[str, int]) -> None:
        """Records a step, with how often the modules of each tap ran for it, then or in a remembered pass."""
        self._steps += 1
        for tap, times in fired.items():
            self._fired[tap] += times

    def measure(self, iteration: int, edges: Edges, task: Tensor, method: Tensor) -> None:
        """Records the gradient norms of a step; a tap where one is not finite is left out.

        Args:
            iteration: counted from 0.
            edges: by tap.
            task: sum of the task's own losses.
            method: sum of the losses of the method.
        """
        ours, theirs = gradient_norms(method, edges), gradient_norms(task, edges)
        self._gradients += [
            TapGradient(iteration=iteration + 1, tap=tap, task=theirs[tap], method=ours[tap])
            for tap in edges
            if math.isfinite(ours[tap]) and math.isfinite(theirs[tap])
        ]

    @property
    def found(self) -> MethodSeen:
        """Everything observed so far."""
        return MethodSeen(steps=self._steps, fired=dict(self._fired), gradients=list(self._gradients))

    def restore(self, found: Mapping[str, Any]) -> None:
        """Continues from the observations of an earlier process.

        Args:
            found: its `Seen.found` as plain values.

        Raises:
            ValidationError: these are not such values.
        """
        earlier = MethodSeen.model_validate(found)
        self._steps, self._gradients = earlier.steps, list(earlier.gradients)
        self._fired = Counter(earlier.fired)


def gradient_norms(loss: Tensor, edges: Edges) -> dict[str, float]:
    """The norm of a loss's gradient at each tap, over all tensors that the tap caught together.

    Args:
        loss: a scalar, whose graph is kept.
        edges: by tap.

    Returns:
        Norm by tap; zero where the loss does not depend on what was caught.
    """
    if not loss.requires_grad:
        return dict.fromkeys(edges, 0.0)
    wanted = [edge for found in edges.values() for edge in found]
    gradients = iter(torch.autograd.grad(loss * _LIFT, wanted, retain_graph=True, allow_unused=True))
    return {tap: _norm([next(gradients) for _ in found]) for tap, found in edges.items()}


def _norm(gradients: Sequence[Tensor | None]) -> float:
    norms = [torch.linalg.vector_norm(gradient.float()) for gradient in gradients if gradient is not None]
    return float(torch.stack(norms).norm()) / _LIFT if norms else 0.0
