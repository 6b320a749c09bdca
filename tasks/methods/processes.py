"""Lets a loss use numbers from the other processes that train together."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def process_count() -> int:
    """How many processes train together; each computes the loss of its own images."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def mean_over_processes(value: Tensor) -> Tensor:
    """A number averaged over the processes that train together; itself if there is only one."""
    processes = process_count()
    if processes == 1:
        return value
    mean = value / processes
    distributed.all_reduce(mean)
    return mean


def gathered(tensor: Tensor) -> Tensor:
    """A batch gathered from all processes that train together, without gradient; itself if there is only one.

    Args:
        tensor: ``N x ...``, of one shape in all processes.
    """
    processes = process_count()
    if processes == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(processes)]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
