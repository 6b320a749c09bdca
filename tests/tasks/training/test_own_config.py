"""What a checkpoint says of its network, where another one has weights of the same names and shapes."""

from __future__ import annotations

import pytest

from tasks.adapters.base import zoo_config
from tasks.training.own_config import contradictions

RETINANET = "mmdet::retinanet/retinanet_r50_fpn_2x_coco.py"
CAFFE = "mmdet::retinanet/retinanet_r50-caffe_fpn_1x_coco.py"


@pytest.mark.parametrize(
    "zoo",
    [
        RETINANET,
        "mmdet::cascade_rcnn/cascade-mask-rcnn_x101-64x4d_fpn_1x_coco.py",
        "mmdet::solo/solo_r50_fpn_1x_coco.py",
        "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        "mmpretrain::resnet/resnet18_8xb32_in1k.py",
    ],
)
def test_a_file_of_the_same_network_does_not_contradict(zoo):
    config = zoo_config(zoo)
    assert contradictions(config.pretty_text, config) == []


def test_a_network_of_caffe_is_told_from_one_of_pytorch():
    found = contradictions(zoo_config(CAFFE).pretty_text, zoo_config(RETINANET))
    assert found[0] == "backbone.style is 'caffe' in its own config and 'pytorch' here"
    assert [line.split(" is ")[0] for line in found[1:]] == ["mean of the images", "std of the images"]


def test_a_config_of_the_years_before_is_understood():
    text = """
img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
model = dict(type='RetinaNet', backbone=dict(type='ResNet', depth=50, strides=(1, 2, 2, 1), style='pytorch'),
    bbox_head=dict(anchor_generator=dict(type='AnchorGenerator', ratios=[0.5, 1, 2.0], octave_base_scale=4)))
total_epochs = 12
"""
    found = [line.partition(" is ")[0] for line in contradictions(text, zoo_config(RETINANET))]
    assert found == ["mean of the images", "std of the images"]
    found = contradictions(text.replace("[0.5, 1, 2.0]", "[1.0]"), zoo_config(RETINANET))
    assert found[0] == "bbox_head.anchor_generator.ratios is [1.0] in its own config and [0.5, 1.0, 2.0] here"


def test_the_scope_of_a_name_makes_no_other_network():
    text = "model = dict(backbone=dict(type='mmdet.ResNet'), neck=dict(type='mmdet.PAFPN'))"
    assert contradictions(text, zoo_config(RETINANET)) == [
        "neck.type is 'PAFPN' in its own config and 'FPN' here"
    ]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "model = ",
        "model = dict(backbone=None)",
        "model = open('trace', 'w')",
        "model = dict(backbone=dict(style=open('trace', 'w')))",
        "model = dict(**dict(backbone=1))",
        "model = dict(backbone=dict(**x, style=f'{x}'))",
        "model = {'backbone': {**x, 1: 2}}",
        "model = " + "(" * 5000,
        "x = 1\0",
        "model = " + "-" * 100_000 + "1",
    ],
)
def test_what_is_not_understood_says_nothing_and_nothing_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert contradictions(text, zoo_config(RETINANET)) == []
    assert list(tmp_path.iterdir()) == []
