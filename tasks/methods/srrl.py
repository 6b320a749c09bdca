"""SRRL: knowledge distillation via softmax regression representation learning (ICLR 2021)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import full_precision, no_autocast, require_feature_maps
from tasks.methods.registry import register_loss


@register_loss("SRRLLoss", version=1)
class SRRLLoss(nn.Module):
    """Softmax Regression Representation Learning: the teacher's own classifier judges the student's feature.

    With ``F`` the student's last feature map after ``Connectors`` (1x1 convolution, batch norm, ReLU), ``T``
    the teacher's, ``pool`` the mean over the cells and ``fc`` the teacher's classifier, frozen::

        feature = mean( (pool(F) - pool(T))^2 )        regression = mean( (fc(pool(F)) - fc(pool(T)))^2 )

        loss = alpha * feature + beta * regression

    Both means run over the batch and the channels or classes. It is added to the ordinary cross-entropy.

    Source: "Knowledge distillation via softmax regression representation learning" (ICLR 2021); the defaults
    are those of the release that made the rival rows of arXiv:2303.13005.

    Args:
        student_channels: channels of the student's last feature map.
        teacher_channels: channels of the teacher's last feature map.
        alpha: weight of the feature part.
        beta: weight of the regression part.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, alpha: float = 1.0, beta: float = 5.0
    ) -> None:
        super().__init__()
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.alpha = alpha
        self.beta = beta
        convolution = nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        self.Connectors = nn.Sequential(convolution, nn.BatchNorm2d(teacher_channels), nn.ReLU())

    def forward(self, student: Tensor, teacher: Tensor, classifier_weight: Tensor) -> Tensor:
        """Computes the weighted loss.

        Args:
            student: the student's last feature map, ``N x student_channels x H x W``. In training mode batch
                norm needs ``N * H * W`` of at least two.
            teacher: the teacher's last feature map, ``N x teacher_channels x H x W``; detached.
            classifier_weight: weight of the teacher's linear classifier, ``K x teacher_channels``; detached.
                Its bias is not needed, since it cancels in the difference of the two outputs.

        Returns:
            A scalar.

        Raises:
            ValueError: if the feature maps do not fit this module or each other, or the classifier does not
                fit the teacher's feature map.
        """
        require_feature_maps(student, teacher, self.student_channels, self.teacher_channels)
        if classifier_weight.dim() != 2 or classifier_weight.shape[1] != self.teacher_channels:
            raise ValueError(
                f"classifier_weight {tuple(classifier_weight.shape)} and teacher {tuple(teacher.shape)} "
                f"do not fit: the weight must be K x {self.teacher_channels}"
            )
        student_pooled = full_precision(self.Connectors(student)).mean(dim=(2, 3))
        teacher_pooled = full_precision(teacher.detach()).mean(dim=(2, 3))
        difference = student_pooled - teacher_pooled
        with no_autocast(student):
            regression = functional.linear(difference, full_precision(classifier_weight.detach()))
        return self.alpha * difference.square().mean() + self.beta * regression.square().mean()
