"""CC: correlation congruence for knowledge distillation (ICCV 2019)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from tasks.methods.common import full_precision, no_autocast, require_same_batch
from tasks.methods.registry import register_loss


@register_loss("CCLoss", version=1)
class CCLoss(nn.Module):
    """Correlation Congruence, as used in comparisons: products of the errors of neighbouring samples.

    With ``s_i`` and ``t_i`` linear embeddings of the student's and the teacher's feature of sample ``i``,
    both trained, and the absolute value taken channel by channel::

        loss = weight * mean_{i < N} sum_c |s_i - t_i| * |s_{i+1} - t_{i+1}|

    The paper compares kernel matrices of the whole batch; the code that its authors contributed to
    RepDistiller, on which the published comparisons rely, multiplies neighbours. So the order of the batch
    matters. It is added to the task's own loss. A batch of one has no neighbours and gives zero, where that
    code averages over nothing.

    Source: arXiv:1904.01802; arithmetic, weight and width are those of RepDistiller.

    Args:
        student_channels: channels of the student's feature.
        teacher_channels: channels of the teacher's feature.
        width: channels of the embeddings.
        weight: weight of the loss.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, width: int = 128, weight: float = 0.02
    ) -> None:
        super().__init__()
        self.weight = weight
        self.embed_s = nn.Sequential(OrderedDict(linear=nn.Linear(student_channels, width)))
        self.embed_t = nn.Sequential(OrderedDict(linear=nn.Linear(teacher_channels, width)))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's pooled feature, ``N x student_channels``.
            teacher: the teacher's pooled feature, ``N x teacher_channels``; detached.

        Returns:
            A scalar.

        Raises:
            ValueError: if the two differ in ``N``.
        """
        require_same_batch(student, teacher)
        with no_autocast(student):
            own: Tensor = self.embed_s(full_precision(student))
            other: Tensor = self.embed_t(full_precision(teacher.detach()))
        error = (own - other).abs()
        neighbours = (error[:-1] * error[1:]).sum(dim=1)
        return self.weight * neighbours.sum() / max(len(neighbours), 1)
