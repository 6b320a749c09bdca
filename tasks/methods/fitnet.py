"""FitNet: hints from a stage in the middle (ICLR 2015)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision
from tasks.methods.registry import register_loss
from tasks.methods.stages import StageNorm, require_maps_of_one_batch


@register_loss("FitNetLoss", version=1)
class FitNetLoss(nn.Module):
    """FitNet: the student's feature, after a trained regression, should be the teacher's.

    With ``F`` the student's feature map, ``T`` the teacher's and ``R`` a convolution, batch norm and ReLU::

        loss = weight * mean_{images, channels, positions} ( R(F) - T )^2

    The convolution makes the sizes agree: 3x3 with stride 2 for a student's map twice as high, transposed
    4x4 with stride 2 for one half as high, otherwise a kernel just large enough for the difference, 1x1 if
    there is none. It is added to the other losses throughout the training; the paper trains on hints first.

    A single image at a single position is normalised with the running statistics of the batch norm.

    Source: arXiv:1412.6550; arithmetic and defaults are those of RepDistiller, since the authors' code is for
    Theano.

    Args:
        student_channels: channels of the student's feature map.
        teacher_channels: channels of the teacher's feature map.
        weight: weight of the loss.
        student_size: height of the student's feature map.
        teacher_size: height of the teacher's; leave both out if the two are equal.

    Raises:
        ValueError: if the student's map is smaller than the teacher's by another factor than two.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        weight: float = 100.0,
        student_size: int = 1,
        teacher_size: int = 1,
    ) -> None:
        super().__init__()
        self.channels = (student_channels, teacher_channels)
        self.weight = weight
        self.conv = _resizing(*self.channels, student_size, teacher_size)
        self.bn = StageNorm(teacher_channels)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's feature map, ``N x student_channels x H x W``.
            teacher: the teacher's feature map, ``N x teacher_channels x H' x W'``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module or each other.
        """
        require_maps_of_one_batch(student, teacher, self.channels)
        regressed = self.conv(student)
        if regressed.shape != teacher.shape:
            raise ValueError(
                f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: the "
                f"convolution makes {regressed.shape[2]} x {regressed.shape[3]} of the student's map"
            )
        difference = full_precision(functional.relu(self.bn(regressed))) - full_precision(teacher.detach())
        return self.weight * difference.square().mean()


def _resizing(student_channels: int, teacher_channels: int, height: int, to: int) -> nn.Module:
    """A convolution from one height to another, with bias."""
    if height == 2 * to:
        return nn.Conv2d(student_channels, teacher_channels, kernel_size=3, stride=2, padding=1)
    if 2 * height == to:
        return nn.ConvTranspose2d(student_channels, teacher_channels, kernel_size=4, stride=2, padding=1)
    if height >= to:
        return nn.Conv2d(student_channels, teacher_channels, kernel_size=1 + height - to)
    raise ValueError(
        f"student_size {height} and teacher_size {to} do not fit: a lower map must be half as high; tap "
        "stages of other sizes"
    )
