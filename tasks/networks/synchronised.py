"""Batch norms whose statistics are those of all processes, on a CPU as on GPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNormOnCPU(_BatchNorm):
    """Does on a CPU what PyTorch's `SyncBatchNorm` does on GPUs only."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts any input; the base class leaves the check to its subclasses."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalises `N x C x ...` by mean and variance of all processes; in eval mode by the stored ones.

        Gradients pass through the reduction of the sums, so that they are those of one large batch.
        """
        if not self.training:
            return super().forward(input)
        others = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        count = all_reduce(input.new_tensor([input.numel() / input.size(1)])).detach()
        mean = all_reduce(input.sum(others)) / count
        deviation = input - mean.view(shape)
        variance = all_reduce(deviation.square().sum(others)) / count
        self._keep(mean.detach(), (variance * count / (count - 1)).detach())
        normalised: Tensor = deviation * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the stored statistics towards those of a batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def synchronise_on_cpu(model: nn.Module) -> None:
    """Makes the synchronised batch norms of a network work on a CPU; names and weights stay the same."""
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.__class__ = SyncBatchNormOnCPU  # type: ignore[assignment]  # of the same parts
