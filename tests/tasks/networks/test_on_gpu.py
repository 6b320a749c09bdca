"""What stands in place of parts of mmdet: found under their names, with their numbers."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.losses import FocalLoss
from mmdet.models.task_modules.assigners import PointAssigner
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData

import tasks.networks.on_gpu

POINTS = torch.tensor([[x, y, stride] for stride in (8.0, 16.0) for x in (4.0, 20.0) for y in (4.0, 20.0)])
BOXES = torch.tensor([[0.0, 0.0, 30.0, 28.0], [2.0, 2.0, 99.0, 120.0]])
SETTINGS = {"type": "PointAssigner", "_scope_": "mmdet", "scale": 4, "pos_num": 1}


def data(device: str = "cpu") -> tuple[InstanceData, InstanceData]:
    points = InstanceData(priors=POINTS.to(device))
    return points, InstanceData(bboxes=BOXES.to(device), labels=torch.tensor([3, 5], device=device))


def test_points_are_assigned_as_by_mmdet():
    ours = TASK_UTILS.build(SETTINGS)
    assert type(ours) is tasks.networks.on_gpu.PointAssigner
    found, expected = (assigner.assign(*data()) for assigner in (ours, PointAssigner(scale=4, pos_num=1)))
    assert torch.equal(found.gt_inds, expected.gt_inds)
    assert set(found.gt_inds.tolist()) == {0, 1, 2}
    assert torch.equal(found.labels, expected.labels)


@pytest.mark.gpu
def test_points_on_a_gpu_are_assigned_as_on_a_cpu():
    assigner = TASK_UTILS.build(SETTINGS)
    found, expected = (assigner.assign(*data(device)) for device in ("cuda", "cpu"))
    assert torch.equal(found.gt_inds.cpu(), expected.gt_inds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_focal_loss_is_mmdet_s_and_that_of_bfloat16_is_computed_in_float32(dtype):
    settings = {"use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0}
    ours = MODELS.build({"type": "FocalLoss", "_scope_": "mmdet", **settings})
    assert type(ours) is tasks.networks.on_gpu.FocalLoss
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 4, 4])
    found = ours(logits, target)
    wide = logits.float() if dtype is torch.bfloat16 else logits
    assert found.dtype == wide.dtype
    assert torch.equal(found, FocalLoss(**settings)(wide, target))
    found.backward()
    assert logits.grad is not None
    assert logits.grad.dtype == dtype
