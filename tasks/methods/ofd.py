"""OFD: a comprehensive overhaul of feature distillation (ICCV 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.methods.common import full_precision, require_feature_maps
from tasks.methods.registry import register_loss
from tasks.methods.stages import StageNorm, require_stages, stages_of


@register_loss("OFDLoss", version=1)
class OFDLoss(nn.Module):
    """Overhaul of Feature Distillation: partial squared error of the features before their ReLU.

    With ``F_i`` the student's feature map of stage ``i`` (the shallowest is 0 of ``S``) and ``T_i`` the
    teacher's, both before the ReLU, ``R_i`` a trained 1x1 convolution with batch norm and ``margin_c`` the
    mean of the negative part of a channel, estimated from the batch norm before it::

        T'   = max(T, margin)
        loss = weight / N * sum_i 2^(i + 1 - S) * sum (R(F) - T')^2 * [ R(F) > T' or T' > 0 ]

    What is negative for both costs nothing once the student is below the teacher. The margin assumes that a
    channel is normally distributed, with the batch norm's bias as mean and its weight as deviation; in
    residual networks, where the shortcut is added after the batch norm, it is an approximation.

    The released code keeps the teacher in training mode, with statistics of the batch (issue 37 of the
    repository says that this is intended). Here a teacher is in eval mode whatever the method, so its
    features are normalised with its running statistics instead: a departure in every run.

    A batch norm with weight zero gives a constant: its margin is the bias, and zero where that is positive. A
    single image at a single position is normalised with the running statistics of ``R_i``.

    Source: arXiv:1904.01866 and the released code; the weight is that of its ImageNet runs.

    Args:
        student_channels: channels of the student's feature map of each stage, the shallowest first.
        teacher_channels: channels of the teacher's likewise.
        weight: weight of the loss; 1e-3 in the released CIFAR-100 runs.

    Raises:
        ValueError: if the two differ in the number of stages.
    """

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], weight: float = 1e-4
    ) -> None:
        super().__init__()
        if len(student_channels) != len(teacher_channels):
            raise ValueError(
                f"{len(student_channels)} student and {len(teacher_channels)} teacher stages do not fit: "
                "this loss takes the same number of each"
            )
        self.channels = list(zip(student_channels, teacher_channels, strict=True))
        self.weight = weight
        # The released name.
        self.Connectors = nn.ModuleList(_connector(*channels) for channels in self.channels)

    def forward(
        self, student: Tensor | Sequence[Tensor], teacher: Tensor | Sequence[Tensor], *norms: Tensor
    ) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map of each stage before the ReLU, ``N x C x H x W``.
            teacher: the teacher's likewise, ``N x C' x H x W``; detached.
            norms: weight and bias of the teacher's batch norm before each ReLU, stage by stage, ``C'`` each;
                detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the number of stages or batch norms is not the one that the loss was built for, or
                feature maps do not fit this module or each other.
        """
        own, other = stages_of(student), stages_of(teacher)
        require_stages(own, other, len(self.channels))
        if len(norms) != 2 * len(self.channels):
            raise ValueError(
                f"{len(norms)} parameters of batch norms do not fit: this loss takes weight and bias of "
                f"{len(self.channels)}"
            )
        for one, another, channels in zip(own, other, self.channels, strict=True):
            require_feature_maps(one, another, *channels)
        margins = [margin(weight, bias) for weight, bias in zip(norms[::2], norms[1::2], strict=True)]
        errors = [
            partial_error(connector(one), another, least)
            for connector, one, another, least in zip(self.Connectors, own, other, margins, strict=True)
        ]
        weights = [2.0 ** (stage + 1 - len(errors)) for stage in range(len(errors))]
        weighted = [factor * error for factor, error in zip(weights, errors, strict=True)]
        return self.weight / len(own[0]) * torch.stack(weighted).sum()


def margin(weight: Tensor, bias: Tensor) -> Tensor:
    """The mean of the negative part of each channel after a batch norm.

    With ``s = |weight|``, ``m = bias``, ``phi`` and ``Phi`` density and distribution of the standard normal::

        margin = m - s * phi(m/s) / Phi(-m/s),   -3 s where Phi(-m/s) is at most 0.001

    The released code computes it in float64 and keeps it in float32.

    Args:
        weight: of the batch norm, ``C``; detached.
        bias: of the batch norm, ``C``; detached.

    Returns:
        ``C`` margins in float32.
    """
    mean = bias.detach().double()
    deviation = weight.detach().double().abs().clamp_min(1e-30)
    ratio = mean / deviation
    below_zero = torch.special.ndtr(-ratio)
    density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
    negative = mean - deviation * density / below_zero.clamp_min(0.001)
    return torch.where(below_zero > 0.001, negative, -3 * deviation).float()


def partial_error(student: Tensor, teacher: Tensor, least: Tensor) -> Tensor:
    """Sum of the squared errors that count: where the teacher is positive, or the student above it.

    Args:
        student: ``N x C x H x W``, after its connector.
        teacher: ``N x C x H x W``; detached.
        least: ``C`` margins; where the teacher is below its margin, the margin is used.

    Returns:
        A scalar in at least float32.
    """
    student, teacher = full_precision(student), full_precision(teacher.detach())
    teacher = torch.maximum(teacher, least.to(teacher.dtype).view(1, -1, 1, 1))
    counts = (student > teacher) | (teacher > 0)
    return (student - teacher).masked_fill(~counts, 0.0).square().sum()


def _connector(student_channels: int, teacher_channels: int) -> nn.Sequential:
    """1x1 convolution and batch norm from the student's channels to the teacher's."""
    convolution = nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / teacher_channels))
    return nn.Sequential(convolution, StageNorm(teacher_channels))
