"""The loss of the toy method: the student predicts what the teacher predicts."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.registry import register_loss


@register_loss("PredictionLoss", version=1)
class PredictionLoss(nn.Module):
    """Mean squared difference of the predictions.

    Args:
        weight: of the loss.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Computes the weighted loss of two ``N x 1`` predictions; the teacher's is detached."""
        return self.weight * (student - teacher.detach()).square().mean()
