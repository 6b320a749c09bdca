"""The loss of the paper; every Python file in the folder of a paper is imported before a training."""

from __future__ import annotations

from torch import Tensor, nn

from tasks.methods.registry import register_loss


# Raise the version when the loss computes other numbers than before; runs of the old version keep their ids.
@register_loss("TemplateLoss", version=1)
class TemplateLoss(nn.Module):
    """Mean squared difference of the logits.

    Source: name the paper and the equation.

    Args:
        weight: of the loss.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Computes the weighted loss of ``N x K`` logits; the teacher's are detached."""
        return self.weight * (student_logits - teacher_logits.detach()).square().mean()
