"""Deformable convolutions computed by torchvision are those of mmcv."""

import copy

import pytest
import torch
from mmcv.ops import DeformConv2d, DeformConv2dPack

from tasks.networks.deformable import TorchvisionDeformConv2d, TorchvisionDeformConv2dPack


@pytest.mark.parametrize("size", [(9, 7), (1, 2)], ids=str)
def test_output_and_gradients_are_those_of_mmcv(size):
    torch.manual_seed(0)
    theirs = DeformConv2d(6, 4, 3, padding=1)
    ours = TorchvisionDeformConv2d(6, 4, 3, padding=1)
    ours.load_state_dict(theirs.state_dict())
    image, offset = torch.randn(2, 6, *size), 2 * torch.randn(2, 18, *size)
    found = []
    for layer in (theirs, ours):
        x, moved = image.clone().requires_grad_(), offset.clone().requires_grad_()
        result = layer(x, moved)
        result.square().sum().backward()
        found.append((result, x.grad, moved.grad, layer.weight.grad))
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_the_packed_layer_makes_the_offsets_of_mmcv():
    torch.manual_seed(0)
    theirs = DeformConv2dPack(6, 4, 3, stride=2, padding=1, deform_groups=1)
    torch.nn.init.normal_(theirs.conv_offset.weight)
    ours = TorchvisionDeformConv2dPack(6, 4, 3, stride=2, padding=1, deform_groups=1)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    image = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)
