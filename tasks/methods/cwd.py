"""CWD: channel-wise distillation of class maps and of features (ICCV 2021)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import (
    channel_alignment,
    full_precision,
    require_choice,
    require_feature_maps,
    require_same_shape,
)
from tasks.methods.registry import register_loss


@register_loss("ChannelWiseLogitLoss", version=1)
class ChannelWiseLogitLoss(nn.Module):
    """Channel-Wise Distillation of logits: each class map is a distribution over the positions.

    With ``z`` and ``v`` the student's and the teacher's ``N x K x H x W`` logits, before they are resized to
    the image, and ``p``, ``q`` the softmax of ``z / temperature`` and ``v / temperature`` over positions::

        loss = weight * temperature^2 / (N * K) * sum_{images, classes} KL( q || p )

    The released segmentation configs of MGD add it to the feature loss, on the outputs of the decode heads.

    Source: arXiv:2011.13256; the defaults are those of the MGD release.

    Args:
        weight: weight of the loss.
        temperature: softens both distributions.
    """

    def __init__(self, weight: float = 3.0, temperature: float = 4.0) -> None:
        super().__init__()
        self.weight = weight
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student_logits: ``N x K x H x W``.
            teacher_logits: ``N x K x H x W``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the logits differ in shape or are not class maps.
        """
        require_same_shape(student_logits, teacher_logits, "N x K x H x W")
        log_p, log_q = _over_positions(student_logits, teacher_logits, self.temperature)
        divergence = functional.kl_div(log_p, log_q, reduction="sum", log_target=True)
        images, classes = student_logits.shape[:2]
        return self.weight * self.temperature**2 / (images * classes) * divergence


@register_loss("CWDLoss", version=1)
class CWDLoss(nn.Module):
    """Channel-Wise Distillation of features: each channel is a distribution over the positions.

    With ``F`` the student's feature map after its adaptation, ``T`` the teacher's, and ``p``, ``q`` the
    softmax of ``F / temperature`` and ``T / temperature`` over the positions::

        loss = weight * temperature^2 / (N * C) * sum_{images, channels} KL( q || p )

    A map of one position has one distribution only: the loss is zero there, without a gradient.

    The released implementations differ, and each is available:

    - ``adaptation``: ``"align"`` (detection) is a 1x1 convolution where the channels differ, and nothing
      where they agree; ``"linear"`` (segmentation) is a 1x1 convolution without bias, batch norm and ReLU.
    - ``divisor``: ``C`` is the teacher's number of channels, or the student's before the adaptation.
    - ``divergence``: ``"cross_entropy"`` leaves out the teacher's entropy, which changes no gradient.

    Source: arXiv:2011.13256; the defaults are those of mmrazor's detectors.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's feature map.
        weight: weight of the loss.
        temperature: softens both distributions.
        adaptation: what the student's feature passes through first, ``"align"`` or ``"linear"``.
        divisor: whose channels are ``C``, ``"teacher"`` or ``"student"``.
        divergence: ``"kl"`` or ``"cross_entropy"``.

    Raises:
        ValueError: if one of the last three is unknown.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        weight: float = 10.0,
        temperature: float = 1.0,
        adaptation: Literal["align", "linear"] = "align",
        divisor: Literal["teacher", "student"] = "teacher",
        divergence: Literal["kl", "cross_entropy"] = "kl",
    ) -> None:
        super().__init__()
        require_choice("adaptation", adaptation, ("align", "linear"))
        require_choice("divisor", divisor, ("teacher", "student"))
        require_choice("divergence", divergence, ("kl", "cross_entropy"))
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.weight = weight
        self.temperature = temperature
        self.divisor = divisor
        self.divergence = divergence
        self.align: nn.Conv2d | None = None
        self.linear: nn.Sequential | None = None
        if adaptation == "align":
            self.align = channel_alignment(student_channels, teacher_channels)
        else:
            self.linear = nn.Sequential(
                nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False),
                nn.BatchNorm2d(teacher_channels),
                nn.ReLU(),
            )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map, ``N x student_channels x H x W``. With ``"linear"``, batch
                norm in training mode needs ``N * H * W`` of at least two.
            teacher: the teacher's feature map, ``N x teacher_channels x H x W``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module or each other.
        """
        require_feature_maps(student, teacher, self.student_channels, self.teacher_channels)
        for adaptation in (self.align, self.linear):
            if adaptation is not None:
                student = adaptation(student)
        log_p, log_q = _over_positions(student, teacher, self.temperature)
        if self.divergence == "kl":
            total = functional.kl_div(log_p, log_q, reduction="sum", log_target=True)
        else:
            total = -(log_q.exp() * log_p).sum()
        channels = self.teacher_channels if self.divisor == "teacher" else self.student_channels
        return self.weight * self.temperature**2 / (len(teacher) * channels) * total


def _over_positions(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities over the positions of every channel of ``N x C x H x W``, each ``N x C x P``."""
    log_p = (full_precision(student).flatten(2) / temperature).log_softmax(dim=2)
    log_q = (full_precision(teacher.detach()).flatten(2) / temperature).log_softmax(dim=2)
    return log_p, log_q
