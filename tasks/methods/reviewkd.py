"""ReviewKD: distillation via knowledge review (CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision
from tasks.methods.registry import register_loss
from tasks.methods.stages import StageNorm, require_maps_of_one_batch, require_stages, stages_of


@register_loss("ReviewKDLoss", version=1)
class ReviewKDLoss(nn.Module):
    """Knowledge Review: the student's features of a stage and all deeper ones imitate the teacher's stage.

    From deep to shallow, the deepest being the pooled feature as a map of one position. With ``F_i`` the
    student's feature map, ``T_i`` the teacher's, ``resized`` by nearest neighbour and ``[ , ]`` concatenated
    channels::

        x_i   = BN(conv1x1(F_i))                          r_0 = x_0
        y_i   = r_{i-1} resized to F_i                    r_i = g * x_i + h * y_i
        g, h  = sigmoid(conv1x1([x_i, y_i]))              one map each
        O_i   = BN(conv3x3(r_i resized to T_i))

        loss  = weight * warming * sum_i HCL(O_i, T_i),   warming = min(1, epoch / warm_up)

    with `hierarchical_context_loss` as ``HCL``. In the first epoch of a warm-up the weight is zero.

    Whether features are taken before or after a ReLU is up to the taps. The pooled feature of a batch of one
    is a single value per channel, for which batch norm uses its running statistics.

    Source: arXiv:2104.09044 and the released code.

    Args:
        student_channels: channels of the student's features, the shallowest first, the pooled one last.
        teacher_channels: channels of the teacher's likewise.
        weight: weight of the loss: 1 in the released run of ResNet-34 to ResNet-18, 8 of ResNet-50 to
            MobileNetV1, 0.6 to 8 on CIFAR-100.
        mid_channels: width of ``x`` and ``r``; in the released CIFAR-100 runs at most that of the student's
            last stage.
        warm_up: epochs over which the weight rises; 20 in the released CIFAR-100 runs, 0 on ImageNet.

    Raises:
        ValueError: if the two differ in the number of features.
    """

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        weight: float = 1.0,
        mid_channels: int = 512,
        warm_up: int = 0,
    ) -> None:
        super().__init__()
        if len(student_channels) != len(teacher_channels):
            raise ValueError(
                f"{len(student_channels)} student and {len(teacher_channels)} teacher features do not fit: "
                "this loss takes the same number of each"
            )
        self.channels = list(zip(student_channels, teacher_channels, strict=True))
        self.weight = weight
        self.mid_channels = mid_channels
        self.warm_up = warm_up
        # The released name, from deep to shallow.
        self.abfs = nn.ModuleList(
            AttentionBasedFusion(own, mid_channels, other, fuses=depth > 0)
            for depth, (own, other) in enumerate(reversed(self.channels))
        )

    def forward(
        self,
        student: Tensor | Sequence[Tensor],
        student_pooled: Tensor,
        teacher: Tensor | Sequence[Tensor],
        teacher_pooled: Tensor,
        epoch: int | None = None,
    ) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map after each stage, the shallowest first, ``N x C x H x W``.
            student_pooled: the student's pooled feature, ``N x C``.
            teacher: the teacher's feature maps likewise; detached.
            teacher_pooled: the teacher's pooled feature; detached.
            epoch: number of completed epochs; only needed with a warm-up.

        Returns:
            A scalar.

        Raises:
            ValueError: if the number of features is not the one that the loss was built for, they do not fit
                it or each other, or a warm-up is not given the epoch.
        """
        own = [*stages_of(student), _as_map(student_pooled)]
        other = [*stages_of(teacher), _as_map(teacher_pooled)]
        require_stages(own, other, len(self.channels))
        for one, another, channels in zip(own, other, self.channels, strict=True):
            require_maps_of_one_batch(one, another, channels)
        reviewed = self.review(own, [feature.shape[2:] for feature in other])
        return self.compare(reviewed, other) * self._warming(epoch)

    def review(self, student: Sequence[Tensor], sizes: Sequence[torch.Size]) -> list[Tensor]:
        """Fuses each of the student's features with the deeper ones, and maps it to the teacher's shape.

        Args:
            student: the student's features, the shallowest first, ``N x C x H x W``.
            sizes: height and width of the teacher's, in the same order.

        Returns:
            ``N x C' x H' x W'``, in the same order.
        """
        found: list[Tensor] = []
        residual: Tensor | None = None
        for fusion, feature, size in zip(self.abfs, reversed(student), reversed(sizes), strict=True):
            output, residual = fusion(feature, residual, size)
            found.append(output)
        return found[::-1]

    def compare(self, reviewed: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The weighted loss of reviewed features, without a warm-up."""
        pairs = zip(reviewed, teacher, strict=True)
        return self.weight * torch.stack([hierarchical_context_loss(*pair) for pair in pairs]).sum()

    def _warming(self, epoch: int | None) -> float:
        if not self.warm_up:
            return 1.0
        if epoch is None:
            raise ValueError(
                f"warm_up {self.warm_up} needs the epoch: name 'epoch' last among the inputs, or set "
                "warm_up to 0"
            )
        return min(1.0, epoch / self.warm_up)


class AttentionBasedFusion(nn.Module):
    """Fuses the feature of a stage with the fused ones of the deeper stages.

    Args:
        student_channels: channels of the student's feature map.
        mid_channels: width in which the two are fused.
        teacher_channels: channels of the teacher's feature map.
        fuses: whether there is a deeper stage.
    """

    def __init__(self, student_channels: int, mid_channels: int, teacher_channels: int, fuses: bool) -> None:
        super().__init__()
        self.conv1 = _normalised_convolution(student_channels, mid_channels, kernel_size=1)
        self.conv2 = _normalised_convolution(mid_channels, teacher_channels, kernel_size=3)
        self.att_conv: nn.Sequential | None = None
        if fuses:
            self.att_conv = nn.Sequential(nn.Conv2d(2 * mid_channels, 2, kernel_size=1), nn.Sigmoid())

    def forward(self, feature: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Fuses the two.

        Args:
            feature: the student's feature map, ``N x student_channels x H x W``.
            deeper: the second output for the deeper stage, ``N x mid_channels x H'' x W''``; None for the
                deepest.
            size: height and width of the teacher's feature map.

        Returns:
            What is compared with the teacher's map, and what the shallower stage takes, both of ``size``.
        """
        joined: Tensor = self.conv1(feature)
        if self.att_conv is not None and deeper is not None:
            deeper = _resized(deeper, joined.shape[2:])
            gates = self.att_conv(torch.cat([joined, deeper], dim=1))
            joined = joined * gates[:, :1] + deeper * gates[:, 1:]
        joined = _resized(joined, size)
        return self.conv2(joined), joined


def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two maps, whole and pooled to 4 x 4, 2 x 2 and 1 x 1.

    With the mean squared error ``e`` of the maps themselves, and ``e_j`` of the ``j``-th pooled size that is
    smaller than the map's height, ``j`` from 1::

        ( e + sum_j 2^-j e_j ) / ( 1 + sum_j 2^-j )

    Args:
        student: ``N x C x H x W``.
        teacher: of the same shape; detached.

    Returns:
        A scalar in at least float32.
    """
    student, teacher = full_precision(student), full_precision(teacher.detach())
    errors = [functional.mse_loss(student, teacher)]
    for side in (4, 2, 1):
        if side < student.shape[2]:
            own, other = (functional.adaptive_avg_pool2d(feature, side) for feature in (student, teacher))
            errors.append(functional.mse_loss(own, other))
    weights = [0.5**level for level in range(len(errors))]
    weighted = [weight * error for weight, error in zip(weights, errors, strict=True)]
    return torch.stack(weighted).sum() / sum(weights)


def _as_map(pooled: Tensor) -> Tensor:
    """A pooled feature as a map of one position."""
    return pooled[:, :, None, None] if pooled.dim() == 2 else pooled


def _resized(feature_map: Tensor, size: Sequence[int]) -> Tensor:
    """The map resized to another height and width by nearest neighbour."""
    if feature_map.shape[2:] == torch.Size(size):
        return feature_map
    return functional.interpolate(feature_map, size=tuple(size), mode="nearest")


def _normalised_convolution(channels: int, to: int, kernel_size: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, to, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    return nn.Sequential(convolution, StageNorm(to))
