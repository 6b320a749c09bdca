"""A distilled step as on a GPU, on machines without one: nothing on another device, no hidden waiting."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.contract import load
from suite.published.recipes import load_recipes
from tasks.methods.registry import register_loss
from tests.fake_gpu import WAITS, FakeGPU

_BY_THE_HEAD = "the student's head assigns the targets, and mmdet waits for the device there"
LEFT_OUT = {
    **dict.fromkeys(("crosskd", "crosskd-gfl", "gid", "ld"), _BY_THE_HEAD),
    "skds": "its critic takes a gradient in the forward pass, for which a device has to be there",
}
"""Methods that cannot be tried without a GPU, and why."""

PAIRS = {
    (recipe.task, recipe.student.rpartition("-")[0], recipe.method): name
    for name, recipe in sorted(load_recipes().items(), reverse=True)
    if recipe.teacher and recipe.method not in LEFT_OUT
}
"""One recipe for every architecture under every method."""


def on_fake_gpu(job: Any) -> tuple[FakeGPU, Any, Any]:
    """A built distiller and a batch of its training data, both moved.

    Detectors wait for the device in their own forward pass: of them, the features come along as
    ``batch["features"]``, caught on the CPU.
    """
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    distiller = adapter.runner.model
    batch = distiller.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    if adapter.scope == "mmdet":
        batch["features"] = distiller.caught(batch["inputs"])
    gpu = FakeGPU()
    gpu.move(distiller)
    gpu.move(distiller.teacher)
    return gpu, distiller, gpu.moved(batch)


@pytest.mark.parametrize("name", sorted(PAIRS.values()))
def test_a_distilled_step_stays_on_the_gpu_and_never_waits(name, distilled_job):
    gpu, distiller, batch = on_fake_gpu(distilled_job(name))
    with gpu.in_use():
        features = batch.get("features") or distiller.caught(batch["inputs"])
        losses = distiller.compare(features, batch["data_samples"])
    assert losses.keys() == {f"loss_{loss}" for loss in distiller.losses}
    assert {value.device.type for value in losses.values()} == {"cuda"}
    assert {value.shape for value in losses.values()} == {torch.Size()}


@register_loss("LeavesATensorOnTheCPUOfATest", version=1)
class LeavesATensorOnTheCPU(nn.Module):
    """Weighs classes with a tensor that nobody moves."""

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        weight = torch.ones(student.shape[1], device="cpu")
        return ((student - teacher) * weight).square().mean()


@register_loss("ReadsANumberOfATest", version=1)
class ReadsANumber(nn.Module):
    """Asks the device for the number of a tensor."""

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return (student - teacher).square().mean() * teacher.max().item()


@register_loss("TakesAMaskOfATest", version=1)
class TakesAMask(nn.Module):
    """Takes entries by a mask: how many there are, the device alone knows."""

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return (student - teacher)[teacher > 0].square().mean()


@pytest.mark.parametrize(
    ("loss", "refusal", "message"),
    [
        ("LeavesATensorOnTheCPUOfATest", RuntimeError, "two different devices cuda:0, cpu"),
        ("ReadsANumberOfATest", WAITS, "_local_scalar_dense"),
        ("TakesAMaskOfATest", WAITS, "nonzero"),
    ],
)
def test_a_tensor_on_the_cpu_and_a_loss_that_waits_are_noticed(loss, refusal, message, distilled_job):
    changed = (f"method.losses.nkd.type={loss}", "~method.losses.nkd.arguments")
    gpu, distiller, batch = on_fake_gpu(distilled_job("resnet18-nkd-resnet34", *changed))
    with gpu.in_use():
        features = distiller.caught(batch["inputs"])
        with pytest.raises(refusal, match=message):
            distiller.compare(features, batch["data_samples"])
