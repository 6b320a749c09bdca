"""The networks of the CIFAR-100 protocol: their sizes are those of its release, and they can be looked at."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from suite.contract import Job
from suite.planning.composing import compose
from suite.published.recipes import Recipe
from suite.published.training_costs import load_costs
from tasks.adapters.base import plain_taps
from tasks.adapters.classification import ClassificationAdapter
from tasks.distillation.taps import Taps

PARAMETERS = {
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet50-cifar": 23_705_252,
    "wrn-16-1": 180_916,
    "wrn-16-2": 703_284,
    "wrn-40-1": 569_780,
    "wrn-40-2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg13": 9_462_180,
    "mobilenet-v2-cifar": 812_836,
    "shufflenet-v1-cifar": 949_258,
    "shufflenet-v2-cifar": 1_355_528,
}
"""Model -> parameters of the network of that name in HobbitLong/RepDistiller (b84f547), counted there."""


def thirds(*channels: int) -> list[tuple[int, ...]]:
    """Sizes of three stages, each of half the side of the one before it."""
    return [(width, side, side) for width, side in zip(channels, (32, 16, 8), strict=True)]


VGG: list[tuple[int, ...]] = [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]
STAGES: dict[str, list[tuple[int, ...]]] = {
    **{f"resnet{depth}": thirds(16, 32, 64) for depth in (20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": thirds(64, 128, 256) for depth in (8, 32)},
    **{
        f"wrn-{depth}-{factor}": thirds(16 * factor, 32 * factor, 64 * factor)
        for depth in (16, 40)
        for factor in (1, 2)
    },
    "resnet50-cifar": [*thirds(256, 512, 1024), (2048, 4, 4)],
    "vgg8": VGG,
    "vgg13": VGG,
    "mobilenet-v2-cifar": [(12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2)],
    "shufflenet-v1-cifar": [(240, 16, 16), (480, 8, 8), (960, 4, 4)],
    "shufflenet-v2-cifar": [(116, 16, 16), (232, 8, 8), (464, 4, 4)],
}
"""Model -> sizes of what the release calls its features, without the first and the pooled one."""

POOLED = {"mobilenet-v2-cifar": 1280, "shufflenet-v2-cifar": 1024}
"""Channels of the pooled feature, where a convolution follows the last stage."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def network(name: str) -> BaseModel:
    """The network at its published width, untrained."""
    recipe = compose(Recipe(task="classification", student=name), "paper")
    torch.manual_seed(0)
    nowhere = Path("nowhere")
    return ClassificationAdapter(Job(recipe, seed=0, run_dir=nowhere, data_dir=nowhere)).network(
        recipe.student
    )


@functools.cache
def looked_at(name: str) -> tuple[dict[str, Any], int]:
    """What the taps of a network catch of two images, and how much its convolutions put out for one."""
    model = network(name)
    put_out = []

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        put_out.append(output[0].numel())

    recipe = compose(Recipe(task="classification", student=name), "paper")
    taps = Taps(model, plain_taps(recipe.student), list(recipe.student.taps))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with taps.listening(), torch.no_grad():
        model(images(), mode="tensor")
    return taps.take(), sum(put_out)


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_the_parameters_of_the_released_one(name):
    assert sum(parameter.numel() for parameter in network(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_stages_have_the_sizes_of_the_released_ones_and_can_be_looked_at_before_their_relu(name):
    found, _ = looked_at(name)
    after, before = found["stages"], found["stages_before_relu"]
    assert [tuple(stage.shape[1:]) for stage in after] == STAGES[name]
    assert [stage.shape for stage in before] == [stage.shape for stage in after]
    assert found["pooled"].shape == (2, POOLED.get(name, STAGES[name][-1][0]))
    torch.testing.assert_close(found["feature"].mean(dim=(2, 3)), found["pooled"])
    assert (found["middle"].ndim, found["logits"].shape) == (2, (2, 100))
    for early, late in zip(before, after, strict=True):
        assert early.min() < 0
        if name.startswith("wrn"):
            # Sums that batch norm and ReLU follow at the start of the next stage.
            assert late.min() < 0
            assert early.mean(dim=(0, 2, 3)).abs().max() < 1e-5
        elif name == "mobilenet-v2-cifar":
            assert torch.equal(early, late)
        else:
            assert torch.equal(early.relu(), late)
    if name.startswith("wrn"):
        assert torch.equal(before[-1].relu(), found["feature"])


@pytest.mark.parametrize("name", PARAMETERS)
def test_one_step_reaches_every_weight(name):
    model = copy.deepcopy(network(name))
    samples = [DataSample().set_gt_label(label) for label in (3, 42)]
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    (loss,) = model(images(), samples, mode="loss").values()
    assert 1 < loss < 20
    loss.backward()
    optimizer.step()
    changed = {
        key: parameter
        for key, parameter in model.named_parameters()
        if not torch.equal(parameter, before[key])
    }
    assert changed.keys() == before.keys()
    assert all(torch.isfinite(parameter).all() for parameter in changed.values())


@pytest.mark.parametrize("name", [*PARAMETERS, "resnet18-cifar"])
def test_the_hours_of_a_training_follow_from_what_the_convolutions_put_out(name):
    scaled = load_costs().figures[name].scaled
    assert scaled is not None
    assert looked_at(name)[1] == scaled.this


def test_what_passes_a_shuffled_block_is_left_as_it_is_by_the_relu_that_closes_it():
    for stage in looked_at("shufflenet-v2-cifar")[0]["stages_before_relu"]:
        # Of the two halves, channel by channel in turn.
        assert stage[:, ::2].min() >= 0
        assert stage[:, 1::2].min() < 0


@pytest.mark.parametrize(
    ("name", "layer", "spread"),
    [
        ("resnet20", "backbone.layer3.1.conv1", (2 / (9 * 64)) ** 0.5),
        ("wrn-16-2", "backbone.layer3.1.conv1", (2 / (9 * 128)) ** 0.5),
        ("vgg8", "backbone.stages.4.0.0", (2 / (9 * 512)) ** 0.5),
        ("mobilenet-v2-cifar", "backbone.conv2.0", (2 / 1280) ** 0.5),
        # Uniform between plus and minus the root of 1 / inputs.
        ("shufflenet-v2-cifar", "backbone.last.0", (1 / 464 / 3) ** 0.5),
        ("resnet20", "head.fc", (1 / 64 / 3) ** 0.5),
        ("wrn-16-2", "head.fc", (1 / 128 / 3) ** 0.5),
        ("vgg8", "head.fc", 0.01),
    ],
)
def test_weights_start_as_those_of_the_release(name, layer, spread):
    model = copy.deepcopy(network(name))
    model.init_weights()
    assert model.get_submodule(layer).weight.std().item() == pytest.approx(spread, rel=0.05)


def test_no_branch_starts_at_zero_and_only_some_classifiers_without_biases():
    started = {name: copy.deepcopy(network(name)) for name in ("resnet20", "wrn-16-2", "vgg8")}
    for model in started.values():
        model.init_weights()
    assert started["resnet20"].get_submodule("backbone.layer3.2.bn2").weight.min() == 1
    assert [bool(model.get_submodule("head.fc").bias.any()) for model in started.values()] == [
        True,
        False,
        False,
    ]
