"""Replacements for parts of mmdet that fail on a GPU; importing this module registers them in their place.

They keep mmdet's names and numbers, so that the zoo's configs use them unchanged.
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

    mmdet numbers the points on the CPU and selects some of these numbers by a mask on the GPU, which PyTorch
    refuses.
    """

    def assign(self, pred_instances: Any, gt_instances: Any, *args: Any, **options: Any) -> AssignResult:
        """Assigns boxes to points; see mmdet's."""
        with pred_instances.priors.device:
            return super().assign(pred_instances, gt_instances, *args, **options)


@MODELS.register_module(force=True)
class FocalLoss(MMDetFocalLoss):
    """Focal loss (arXiv 1708.02002) that accepts bfloat16 predictions.

    mmcv's operator for GPUs supports only float16, float32 and float64.
    """

    def forward(self, pred: Tensor, *args: Any, **options: Any) -> Tensor:
        """The loss; see mmdet's. Predictions in bfloat16 are converted to float32."""
        wide = pred.float() if pred.dtype is torch.bfloat16 else pred
        loss: Tensor = super().forward(wide, *args, **options)
        return loss
