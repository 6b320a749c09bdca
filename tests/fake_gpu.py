"""A GPU that is not there: tensors that claim to be on `cuda`, with real shapes and types and no numbers.

In it a tensor left on the CPU is refused, and so is all that would have to wait for the device (`.item()`, a
mask as an index, `nonzero`). A backward pass is beyond it: autograd asks for a real device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

DEVICE = "cuda"

WAITS = (DataDependentOutputException, DynamicOutputShapeException)
"""What is raised where the host would have to wait for a number, or for how many entries there are."""


class FakeGPU:
    """What is moved to it, and computed while it is in use, is on `cuda`."""

    def __init__(self) -> None:
        self._mode = FakeTensorMode()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """New tensors are on it unless they say otherwise."""
        with self._mode, torch.device(DEVICE):
            yield

    def moved(self, value: Any) -> Any:
        """A copy of a tensor, or of what tensors are nested in, on this GPU; all else as it is."""
        if isinstance(value, Tensor):
            on_cpu = self._mode.from_tensor(value.detach())
            with self._mode:
                return on_cpu.to(DEVICE)
        if isinstance(value, BaseDataElement):
            copied = value.new()
            for name, part in value.items():
                copied.set_field(self.moved(part), name)
            return copied
        if isinstance(value, Mapping):
            return {key: self.moved(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.moved(part) for part in value)
        # Boxes of mmdet wrap a tensor.
        if isinstance(getattr(value, "tensor", None), Tensor):
            return type(value)(self.moved(value.tensor), clone=False)
        return value

    def move(self, module: nn.Module) -> None:
        """Moves parameters and buffers of a module, in place."""
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    moved = self.moved(parameter)
                    part._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = self.moved(buffer)
