"""Backbones that are initialised differently than the zoo's; importing this module registers them."""

from __future__ import annotations

from mmdet.models.backbones import ResNeXt
from mmdet.registry import MODELS
from torch import nn


@MODELS.register_module()
class ZeroStartResNeXt(ResNeXt):
    """mmdet's ResNeXt with every residual branch starting at zero, as in mmdet's ResNet.

    mmdet selects the blocks to initialise so (arXiv 1706.02677, section 5.1) by their class, and misses those
    of its ResNeXt, which have another class. Pretrained weights hide that; trained from scratch, a ResNeXt of
    a hundred layers hardly learns. The weights keep their names and shapes.
    """

    def init_weights(self) -> None:
        """Initialises as mmdet does, then sets the last normalisation of every block to zero."""
        super().init_weights()
        for stage in self.res_layers:
            for block in getattr(self, stage):
                nn.init.zeros_(block.norm3.weight)
