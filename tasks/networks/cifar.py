"""Networks for 32 x 32 images, on which distillation methods are compared on CIFAR-100 since RepDistiller.

Each outputs feature maps; pooling and classifier are mmpretrain's. Whatever methods compare is a module of
its own: a stage, and the ReLU at its end, whose input is the stage before that ReLU. No zoo has these
networks: those of mmpretrain and timm are for images of 224 pixels, begin with a stride, round their widths
or use ReLU6.

Source: `models/` of HobbitLong/RepDistiller, commit b84f547; megvii-research/mdistiller has the same.
Importing this module registers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from mmpretrain.models.utils import channel_shuffle
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

_HE = ({"type": "Kaiming", "layer": "Conv2d"}, {"type": "Constant", "val": 1, "layer": "_BatchNorm"})
"""Normal weights of variance 2 / (k * k * output channels), zero biases; batch norms start as identity."""


class _ClosedBasicBlock(BasicBlock):
    """mmpretrain's basic block, with a separate module for its last ReLU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.closing_relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        closed: Tensor = self.closing_relu(out)
        return closed


class _ClosedBottleneck(Bottleneck):
    """mmpretrain's block of three convolutions, with a separate module for its last ReLU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.closing_relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        closed: Tensor = self.closing_relu(out)
        return closed


@MODELS.register_module()
class CIFARResNet(ResNet_CIFAR):
    """ResNet whose stages can be tapped before their last ReLU.

    Depths of 6n + 2 have three stages of basic blocks (arXiv 1512.03385, section 4.2), with a convolution and
    batch norm where a shortcut changes size; ResNet-50 has four of bottlenecks. `layer1` and the following
    are the stages; the input of `layer1.-1.closing_relu` is the first stage before its last ReLU.

    Args:
        depth: 8, 20, 32, 44, 56, 110, or 50.
        stem_channels: of the first convolution.
        base_channels: of the first stage; each of the others has twice as many as the one before it.
    """

    arch_settings = {
        **{depth: (_ClosedBasicBlock, 3 * ((depth - 2) // 6,)) for depth in (8, 20, 32, 44, 56, 110)},
        50: (_ClosedBottleneck, (3, 4, 6, 3)),
    }

    def __init__(self, depth: int, stem_channels: int = 16, base_channels: int = 16) -> None:
        stages = len(self.arch_settings[depth][1])
        super().__init__(
            depth,
            stem_channels=stem_channels,
            base_channels=base_channels,
            num_stages=stages,
            strides=(1, 2, 2, 2)[:stages],
            dilations=stages * (1,),
            out_indices=(stages - 1,),
            zero_init_residual=False,
        )


class _WideBlock(nn.Module):
    """Batch norm and ReLU before each of two convolutions, and before a shortcut that changes the width."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = (
            None
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        ready = self.relu1(self.bn1(x))
        out = self.conv2(self.relu2(self.bn2(self.conv1(ready))))
        total: Tensor = out + (x if self.shortcut is None else self.shortcut(ready))
        return total


@MODELS.register_module()
class CIFARWideResNet(BaseBackbone):
    """Wide ResNet (arXiv 1605.07146) without dropout.

    `layer1` to `layer3` are the stages, which end in a sum without batch norm and ReLU. These follow at the
    start of the next stage, in `layer2.0.bn1` and `layer3.0.bn1`, and after the last one in `bn1` and `relu`.

    Args:
        depth: 6n + 4 for n blocks per stage.
        stem_channels: of the first convolution.
        base_channels: of the first stage, 16 times the widening factor; each of the others has twice as many
            as the one before it.
    """

    def __init__(self, depth: int, stem_channels: int = 16, base_channels: int = 16) -> None:
        super().__init__(init_cfg=_HE)
        self.conv1 = nn.Conv2d(3, stem_channels, 3, padding=1, bias=False)
        widths = [stem_channels, *(base_channels * 2**stage for stage in range(3))]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                _WideBlock(before, width, stride),
                *(_WideBlock(width, width, 1) for _ in range((depth - 4) // 6 - 1)),
            )
            for before, width, stride in zip(widths[:-1], widths[1:], (1, 2, 2), strict=True)
        )
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last feature map, after batch norm and ReLU, as a tuple of one."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return (self.relu(self.bn1(x)),)


@MODELS.register_module()
class CIFARVGG(BaseBackbone):
    """VGG with batch norm (arXiv 1409.1556), for a classifier of one linear layer.

    `stages.0` to `stages.4` are the stages, each with a ReLU at its end (`stages.0.-1.2`). Max pooling halves
    the maps between them, except between the last two, which have the same size.

    Args:
        widths: channels of the convolutions, stage by stage.
    """

    def __init__(self, widths: Sequence[Sequence[int]]) -> None:
        super().__init__(init_cfg=_HE)
        self.pool = nn.MaxPool2d(2)
        channels = 3
        self.stages = nn.ModuleList()
        for stage in widths:
            layers = []
            for width in stage:
                layers.append(Conv2dNormActivation(channels, width, bias=True))
                channels = width
            self.stages.append(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last feature map, as a tuple of one."""
        for number, stage in enumerate(self.stages):
            halved = 0 < number < len(self.stages) - 1
            x = stage(self.pool(x) if halved else x)
        return (x,)


class _InvertedResidual(nn.Module):
    """A depthwise convolution between two 1 x 1 convolutions, without a ReLU at its end."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.conv = nn.Sequential(
            Conv2dNormActivation(in_channels, hidden, 1),
            Conv2dNormActivation(hidden, hidden, 3, stride, groups=hidden),
            Conv2dNormActivation(hidden, out_channels, 1, activation_layer=None),
        )
        self.keeps_size = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.conv(x) if self.keeps_size else self.conv(x)
        return total


@MODELS.register_module()
class CIFARMobileNetV2(BaseBackbone):
    """MobileNetV2 (arXiv 1801.04381) with ReLU in place of ReLU6, and strides that end at maps of 2 x 2.

    Its first block has an expansion layer too, of factor one, and widths are truncated to integers, not
    rounded to multiples of eight. `layers.1`, `layers.2`, `layers.4` and `layers.6` are the last of their
    size; none of them ends in a ReLU.

    Args:
        widen_factor: of all widths but the last.
        expansion: of all blocks but the first.
        last_channels: of the last convolution.
    """

    _WIDTHS = (16, 24, 32, 64, 96, 160, 320)
    _BLOCKS = (1, 2, 3, 4, 3, 3, 1)
    _STRIDES = (1, 1, 2, 2, 1, 2, 1)

    def __init__(self, widen_factor: float = 0.5, expansion: int = 6, last_channels: int = 1280) -> None:
        super().__init__(init_cfg=_HE)
        channels = int(32 * widen_factor)
        self.conv1 = Conv2dNormActivation(3, channels, 3, stride=2)
        self.layers = nn.ModuleList()
        for width, blocks, stride in zip(self._WIDTHS, self._BLOCKS, self._STRIDES, strict=True):
            widened = int(width * widen_factor)
            expands = expansion if len(self.layers) else 1
            first = _InvertedResidual(channels, widened, stride, expands)
            others = [_InvertedResidual(widened, widened, 1, expands) for _ in range(blocks - 1)]
            self.layers.append(nn.Sequential(first, *others))
            channels = widened
        self.conv2 = Conv2dNormActivation(channels, last_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last feature map, as a tuple of one."""
        x = self.conv1(x)
        for layer in self.layers:
            x = layer(x)
        return (self.conv2(x),)


class _ShuffleV1Block(nn.Module):
    """Grouped convolutions around a depthwise one; where it halves the map, the pooled input is appended."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, groups: int, first_groups: int
    ) -> None:
        super().__init__()
        self.halves = stride == 2
        own = out_channels - in_channels if self.halves else out_channels
        hidden = own // 4
        self.first_groups = first_groups
        self.conv1 = Conv2dNormActivation(in_channels, hidden, 1, groups=first_groups)
        self.conv2 = Conv2dNormActivation(hidden, hidden, 3, stride, groups=hidden)
        self.conv3 = Conv2dNormActivation(hidden, own, 1, groups=groups, activation_layer=None)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.closing_relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv3(self.conv2(channel_shuffle(self.conv1(x), self.first_groups)))
        out = torch.cat([out, self.pool(x)], dim=1) if self.halves else out + x
        closed: Tensor = self.closing_relu(out)
        return closed


class _ShuffleV2Block(nn.Module):
    """Passes half of the channels through unchanged, and the other half through three convolutions.

    The first half has been through a ReLU before, so that the one at the end of the block does not change it.
    Where the map is halved, all channels take both paths, and two convolutions halve the first one.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        hidden = out_channels // 2
        own = in_channels if stride == 2 else in_channels // 2
        linear: dict[str, Any] = {"activation_layer": None}
        self.passing = (
            nn.Sequential(
                Conv2dNormActivation(own, own, 3, stride, groups=own, **linear),
                Conv2dNormActivation(own, hidden, 1, **linear),
            )
            if stride == 2
            else None
        )
        self.branch = nn.Sequential(
            Conv2dNormActivation(own, hidden, 1),
            Conv2dNormActivation(hidden, hidden, 3, stride, groups=hidden, **linear),
            Conv2dNormActivation(hidden, hidden, 1, **linear),
        )
        self.closing_relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        passing, taken = x.chunk(2, dim=1) if self.passing is None else (self.passing(x), x)
        out = channel_shuffle(torch.cat([passing, self.branch(taken)], dim=1), 2)
        closed: Tensor = self.closing_relu(out)
        return closed


class _ShuffleNet(BaseBackbone):
    """A 1 x 1 stem that keeps the size, and three stages that halve it.

    `layer1` to `layer3` are the stages; the input of `layer1.-1.closing_relu` is the first stage before its
    last ReLU. Weights have PyTorch's default initialisation.
    """

    _BLOCKS = (4, 8, 4)

    def __init__(self, stem_channels: int) -> None:
        super().__init__()
        self.conv1 = Conv2dNormActivation(3, stem_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last feature map, as a tuple of one."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return (self.last(x),)


@MODELS.register_module()
class CIFARShuffleNetV1(_ShuffleNet):
    """ShuffleNet (arXiv 1707.01083) with three groups and a ReLU after depthwise convolutions too.

    Args:
        widths: channels of the stages.
        stem_channels: of the first convolution.
        groups: of the 1 x 1 convolutions, except for the first one after the stem.
    """

    def __init__(
        self, widths: Sequence[int] = (240, 480, 960), stem_channels: int = 24, groups: int = 3
    ) -> None:
        super().__init__(stem_channels)
        before = [stem_channels, *widths[:-1]]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                _ShuffleV1Block(channels, width, 2, groups, 1 if number == 0 else groups),
                *(_ShuffleV1Block(width, width, 1, groups, groups) for _ in range(blocks - 1)),
            )
            for number, (channels, width, blocks) in enumerate(zip(before, widths, self._BLOCKS, strict=True))
        )
        self.last = nn.Identity()


@MODELS.register_module()
class CIFARShuffleNetV2(_ShuffleNet):
    """ShuffleNetV2 (arXiv 1807.11164).

    Args:
        widths: channels of the stages.
        stem_channels: of the first convolution.
        last_channels: of the last one, `last`.
    """

    def __init__(
        self, widths: Sequence[int] = (116, 232, 464), stem_channels: int = 24, last_channels: int = 1024
    ) -> None:
        super().__init__(stem_channels)
        before = [stem_channels, *widths[:-1]]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                _ShuffleV2Block(channels, width, 2),
                *(_ShuffleV2Block(width, width, 1) for _ in range(blocks - 1)),
            )
            for channels, width, blocks in zip(before, widths, self._BLOCKS, strict=True)
        )
        self.last = Conv2dNormActivation(widths[-1], last_channels, 1)
