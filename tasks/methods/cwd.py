"""CWD's logit term: channel-wise distillation of a segmentation model's class maps (ICCV 2021)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, require_same_shape


class ChannelWiseLogitLoss(nn.Module):
    """Channel-Wise Distillation of logits: each class map is a distribution over the positions.

    With ``z`` and ``v`` the student's and the teacher's ``N x K x H x W`` logits, before they are resized to
    the image, and ``p``, ``q`` the softmax over the positions of either over the temperature::

        loss = weight * temperature^2 / (N * K) * sum_{images, classes} KL( q || p )

    The released segmentation configs of MGD add it to the feature loss; it sits between the outputs of the
    decode heads.

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
            ValueError: if the logits differ in shape or are no class maps.
        """
        require_same_shape(student_logits, teacher_logits, "N x K x H x W")
        log_p = (full_precision(student_logits).flatten(2) / self.temperature).log_softmax(dim=2)
        log_q = (full_precision(teacher_logits.detach()).flatten(2) / self.temperature).log_softmax(dim=2)
        divergence = functional.kl_div(log_p, log_q, reduction="sum", log_target=True)
        images, classes = student_logits.shape[:2]
        return self.weight * self.temperature**2 / (images * classes) * divergence
