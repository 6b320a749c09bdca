"""Every method file trains a pair of its task: its terms are finite, and reach the student alone."""

import copy

import pytest
import torch
from torch import nn

from suite.contract import load
from suite.published.recipes import Recipe

RESNETS = ("classification", "resnet18", "resnet34")
UNLIKE = ("classification", "mobilenet-v1", "resnet50")
ALONE = ("classification", "resnet18", None)
PAIRS = {
    "kd": RESNETS,
    "dkd": RESNETS,
    "wsld": RESNETS,
    "srrl": RESNETS,
    "at": RESNETS,
    "crd": RESNETS,
    "fitnet": UNLIKE,
    "ofd": RESNETS,
    "ofd-bottleneck": UNLIKE,
    "reviewkd": RESNETS,
    "reviewkd-mobilenet": UNLIKE,
    "vid": RESNETS,
    "rkd": RESNETS,
    "sp": RESNETS,
    "pkt": RESNETS,
    "cc": RESNETS,
    "dist": RESNETS,
    "lskd": RESNETS,
    "lskd-dkd": RESNETS,
    "tfkd-self": ("classification", "resnet18", "resnet18"),
    "label-smoothing": ALONE,
    "tfkd-reg": ALONE,
    "zipf": ALONE,
    "cwd": ("detection", "retinanet-r50", "retinanet-r101"),
    "cwd-logits": ("semantic_segmentation", "pspnet-r18", "pspnet-r101"),
    "cwd-features": ("semantic_segmentation", "pspnet-r18", "pspnet-r101"),
    "ld": ("detection", "gfl-r50", "gfl-r101"),
    "crosskd": ("detection", "retinanet-r50", "retinanet-r101"),
    "crosskd-gfl": ("detection", "gfl-r50", "gfl-r101"),
    "gid": ("detection", "retinanet-r50", "retinanet-r101"),
    "skds": ("semantic_segmentation", "pspnet-r18", "pspnet-r101"),
    "skds-cirkd": ("semantic_segmentation", "deeplabv3-r18", "pspnet-r101"),
    "cirkd": ("semantic_segmentation", "pspnet-r18", "pspnet-r101"),
}
"""Method -> task, student, teacher if there is one."""


@pytest.fixture
def build(make_job, trained_weights):
    """Builds the adapter of a method on its pair; the teacher was trained for two iterations."""

    def make(method, *overrides):
        task, student, teacher = PAIRS[method]
        recipe = Recipe(task=task, student=student, teacher=teacher, method=method)
        job = make_job(recipe, *overrides, teacher_weights=trained_weights(teacher) if teacher else None)
        adapter = load(job.recipe.adapter)(job)
        adapter.build()
        return adapter

    return make


@pytest.mark.slow
@pytest.mark.parametrize("method", PAIRS)
def test_a_method_trains_two_iterations_and_its_gradient_reaches_the_student_alone(method, build):
    adapter = build(method)
    distiller = adapter.runner.model.train()
    batch = distiller.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    losses = distiller(**batch, mode="loss")
    terms = [f"loss_{name}" for name in distiller.losses]
    for term in terms:
        assert torch.isfinite(losses[term]), term
        # A critic may have either sign.
        assert losses[term] != 0, term
    sum(losses[term] for term in terms).backward()
    backbone = [of.grad for of in adapter.student.backbone.parameters() if of.grad is not None]
    assert backbone
    assert all(torch.isfinite(gradient).all() for gradient in backbone)
    assert any(gradient.any() for gradient in backbone)
    assert all(of.grad is not None for of in distiller.losses.parameters())
    teacher = distiller.teacher or nn.Module().eval()
    assert all(of.grad is None and not of.requires_grad for of in teacher.parameters())
    assert not any(module.training for module in teacher.modules())

    adapter.student.zero_grad()
    before = copy.deepcopy(teacher.state_dict())
    adapter.fit()
    assert adapter.runner.iter == 2
    after = teacher.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(torch.isfinite(value).all() for value in adapter.student.state_dict().values())
