"""What the losses on several stages of a network share: their checks, sizes and batch norm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


def stages_of(feature: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """A feature as a list of stages: a single feature map is one stage."""
    return [feature] if isinstance(feature, Tensor) else list(feature)


def require_stages(student: Sequence[Tensor], teacher: Sequence[Tensor], stages: int | None = None) -> None:
    """Refuses numbers of stages that a loss cannot pair.

    Args:
        student: the student's features, one per stage.
        teacher: the teacher's likewise.
        stages: how many there must be; None for any number above zero.

    Raises:
        ValueError: if student and teacher differ in number, or are not ``stages``.
    """
    if not 0 < len(student) == len(teacher) or stages not in (None, len(student)):
        wanted = "the same number of each" if stages is None else f"{stages} of each"
        raise ValueError(
            f"{len(student)} student and {len(teacher)} teacher stages do not fit: this loss takes {wanted}"
        )


def require_maps_of_one_batch(
    student: Tensor, teacher: Tensor, channels: tuple[int, int] | None = None
) -> None:
    """Refuses two tensors that are not feature maps of the same images; their sizes may differ.

    Args:
        student: the student's feature map, ``N x C x H x W``.
        teacher: the teacher's feature map, ``N x C' x H' x W'``.
        channels: ``C`` and ``C'`` that the loss was built for; None where it takes any.

    Raises:
        ValueError: if either has another number of axes or other channels, or the batch sizes differ.
    """
    fits = student.dim() == teacher.dim() == 4 and len(student) == len(teacher)
    if not fits or channels not in (None, (student.shape[1], teacher.shape[1])):
        own, other = ("C", "C'") if channels is None else channels
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: this loss takes "
            f"N x {own} x H x W and N x {other} x H' x W' with the same N"
        )


def pooled_to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pools the map of greater height to the size of the other one.

    RepDistiller does so, on square maps.

    Args:
        student: ``N x C x H x W``.
        teacher: ``N x C' x H' x W'``.

    Returns:
        Both maps, unchanged if their sizes agree.

    Raises:
        ValueError: if the maps have the same height but different widths, so that neither is the smaller one.
    """
    (height, width), (other_height, other_width) = student.shape[2:], teacher.shape[2:]
    if height > other_height:
        return functional.adaptive_avg_pool2d(student, (other_height, other_width)), teacher
    if height < other_height:
        return student, functional.adaptive_avg_pool2d(teacher, (height, width))
    if width != other_width:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit: maps of one "
            "height must have one width"
        )
    return student, teacher


class StageNorm(nn.BatchNorm2d):
    """Batch norm that also accepts a single value per channel: one image at one position.

    A single value has no variance, and PyTorch refuses to train on it. Here it is normalised with the running
    statistics, which stay as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalises ``N x C x H x W``."""
        if self.training and input.numel() == input.shape[1]:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)
