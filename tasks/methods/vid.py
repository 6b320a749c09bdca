"""VID: variational information distillation (CVPR 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision
from tasks.methods.registry import register_loss
from tasks.methods.stages import pooled_to_smaller, require_maps_of_one_batch


@register_loss("VIDLoss", version=1)
class VIDLoss(nn.Module):
    """Variational Information Distillation: the teacher's feature should be likely given the student's.

    With ``F`` the student's feature map, ``T`` the teacher's, ``R`` a trained regression of three 1x1
    convolutions and ``v_c`` a trained variance for each of the teacher's channels::

        v_c  = log(1 + exp(log_scale_c)) + epsilon
        loss = weight * mean_{images, channels, positions} [ (R(F) - T)^2 / (2 v_c) + log(v_c) / 2 ]

    which is the negative log-likelihood of a normal distribution, up to a constant; it may be below zero. If
    the sizes differ, the larger map is pooled to the size of the smaller one. Build one loss for each stage.

    Source: arXiv:1904.05835; arithmetic and defaults are those of RepDistiller, since the authors' code is
    not public.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's feature map, and of the regression's hidden layers.
        weight: weight of the loss.
        initial_variance: initial value of every ``v_c``.
        epsilon: lower bound of the variance.

    Raises:
        ValueError: if ``initial_variance`` is not above ``epsilon``.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        weight: float = 1.0,
        initial_variance: float = 5.0,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        if initial_variance <= epsilon:
            raise ValueError(
                f"initial_variance {initial_variance} is out of range: use a number above epsilon {epsilon}"
            )
        self.channels = (student_channels, teacher_channels)
        self.weight = weight
        self.epsilon = epsilon
        self.regressor = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, kernel_size=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, kernel_size=1, bias=False),
        )
        log_scale = math.log(math.expm1(initial_variance - epsilon))
        self.log_scale = nn.Parameter(torch.full((teacher_channels,), log_scale))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map, ``N x student_channels x H x W``.
            teacher: the teacher's feature map, ``N x teacher_channels x H' x W'``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module, or are not of the same images.
        """
        require_maps_of_one_batch(student, teacher, self.channels)
        student, teacher = pooled_to_smaller(student, teacher.detach())
        error = full_precision(self.regressor(student)) - full_precision(teacher)
        variance = (functional.softplus(full_precision(self.log_scale)) + self.epsilon).view(1, -1, 1, 1)
        return self.weight * 0.5 * (error.square() / variance + variance.log()).mean()
