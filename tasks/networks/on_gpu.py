"""Parts of mmdet that do not run on a GPU as they are. Importing this module puts them in place of mmdet's.

They keep mmdet's names and numbers; the zoo's configs find them without a change.
"""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.losses import FocalLoss as MMDetFocalLoss
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.assigners import PointAssigner as MMDetPointAssigner
from mmdet.registry import MODELS, TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module(force=True)
class PointAssigner(MMDetPointAssigner):
    """RepPoints' assignment of boxes to points, on the device of the points.

    mmdet numbers the points on the CPU and takes some of these numbers by a mask that lies on the GPU, which
    PyTorch refuses.
    """

    def assign(self, pred_instances: Any, gt_instances: Any, *args: Any, **options: Any) -> AssignResult:
        """Assigns boxes to points; see mmdet's."""
        with pred_instances.priors.device:
            return super().assign(pred_instances, gt_instances, *args, **options)


@MODELS.register_module(force=True)
class FocalLoss(MMDetFocalLoss):
    """Focal loss (arXiv 1708.02002) that takes predictions of bfloat16.

    mmcv's operator for GPUs knows float16, float32 and float64 alone.
    """

    def forward(self, pred: Tensor, *args: Any, **options: Any) -> Tensor:
        """The loss; see mmdet's. Predictions of bfloat16 are computed with in float32."""
        wide = pred.float() if pred.dtype is torch.bfloat16 else pred
        loss: Tensor = super().forward(wide, *args, **options)
        return loss
