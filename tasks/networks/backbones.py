"""Backbones that differ from the zoo's in how they start; importing this module registers them."""

from __future__ import annotations

from mmdet.models.backbones import ResNeXt
from mmdet.registry import MODELS
from torch import nn


@MODELS.register_module()
class ZeroStartResNeXt(ResNeXt):
    """mmdet's ResNeXt with every residual branch starting at zero, as in mmdet's ResNet.

    mmdet asks for that start (arXiv 1706.02677, section 5.1) by the class of the blocks, and those of its
    ResNeXt are of another class, so it passes them by. Pretrained weights hide that; trained from scratch, a
    hundred layers of it hardly learn. The weights keep their names and shapes.
    """

    def init_weights(self) -> None:
        """Initialises as mmdet does, then sets the last normalisation of every block to zero."""
        super().init_weights()
        for stage in self.res_layers:
            for block in getattr(self, stage):
                nn.init.zeros_(block.norm3.weight)
