"""A teacher that answers from memory: the same bits, fewer passes, and no answer where it could be wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from suite.contract import load
from tasks.distillation.taps import tensors_of
from tasks.distillation.teacher_memory import CHECKED, TeacherMemory


class Teacher:
    """A small convolutional network that counts its passes."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 3, stride=2)
        self.passes = 0

    @torch.no_grad()
    def __call__(self, inputs):
        self.passes += 1
        fine = self.first(inputs)
        return {"teacher.neck": [fine, self.second(fine.relu())], "teacher.pooled": fine.mean(dim=(2, 3))}


@pytest.fixture
def teacher():
    return Teacher()


@pytest.fixture
def images():
    images = torch.randn(12, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last)


def assert_same(found, expected):
    assert list(found) == list(expected)
    for word, feature in expected.items():
        for mine, yours in zip(tensors_of(found[word]), tensors_of(feature), strict=True):
            assert torch.equal(mine, yours)
            assert mine.stride() == yours.stride()
            assert mine.dtype == yours.dtype


def epoch(memory, teacher, images, order):
    return [memory.features(images[order[at : at + 4]], teacher) for at in range(0, len(images), 4)]


def test_shuffled_epochs_have_the_same_bits_and_the_teacher_runs_in_the_first(teacher, images):
    memory, other = TeacherMemory(), Teacher()
    for number in range(4):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(number))
        for at, found in zip(range(0, 12, 4), epoch(memory, teacher, images, order), strict=True):
            assert_same(found, other(images[order[at : at + 4]]))
    assert teacher.passes == 3 + CHECKED
    assert other.passes == 12


def test_what_a_loss_does_to_a_feature_is_not_remembered(teacher, images):
    memory = TeacherMemory()
    for _ in range(5):
        found = memory.features(images[:4], teacher)
        assert_same(found, Teacher()(images[:4]))
        found["teacher.pooled"].zero_()
        found["teacher.neck"][0].zero_()


def test_an_image_that_differs_in_one_bit_is_another_image(teacher, images):
    memory = TeacherMemory()
    for _ in range(1 + CHECKED):
        memory.features(images[:4], teacher)
    changed = images[:4].clone()
    changed[2, 1, 5, 5] = torch.nextafter(changed[2, 1, 5, 5], torch.tensor(9.0))
    before = teacher.passes
    assert_same(memory.features(changed, teacher), Teacher()(changed))
    assert teacher.passes == before + 1


def test_a_batch_of_another_size_goes_through_the_teacher(teacher, images):
    memory = TeacherMemory()
    for _ in range(1 + CHECKED):
        memory.features(images[:4], teacher)
    before = teacher.passes
    assert_same(memory.features(images[:3], teacher), Teacher()(images[:3]))
    assert teacher.passes == before + 1


def test_a_teacher_that_does_not_repeat_itself_is_run_in_every_step(images):
    memory, calls = TeacherMemory(), []

    def restless(inputs):
        calls.append(inputs)
        return {"teacher.logits": inputs.mean(dim=(2, 3)) + len(calls)}

    for number in range(1, 8):
        found = memory.features(images[:4], restless)
        assert torch.equal(found["teacher.logits"], images[:4].mean(dim=(2, 3)) + number)
    assert len(calls) == 7


@pytest.mark.parametrize(
    "rows", [lambda inputs: inputs.flatten(0, 1), lambda inputs: inputs.mean()], ids=["many", "none"]
)
def test_features_without_one_row_for_each_image_are_computed_in_every_step(images, rows):
    memory, calls = TeacherMemory(), []

    def teacher(inputs):
        calls.append(inputs)
        return {"teacher.regions": rows(inputs)}

    for _ in range(5):
        assert torch.equal(memory.features(images[:4], teacher)["teacher.regions"], rows(images[:4]))
    assert len(calls) == 5


def test_batches_on_other_devices_go_through_the_teacher(images):
    memory, calls = TeacherMemory(), []

    def teacher(inputs):
        calls.append(inputs)
        return {"teacher.pooled": inputs.mean(dim=(2, 3))}

    for _ in range(5):
        assert memory.features(images[:4].to("meta"), teacher)["teacher.pooled"].shape == (4, 3)
    assert len(calls) == 5


def test_features_beyond_the_limit_are_forgotten(teacher, images):
    taken = sum(part.nbytes for part in [*teacher(images)["teacher.neck"], teacher(images)["teacher.pooled"]])
    for limit, passes in ((taken, 3 + CHECKED), (taken - 1, 9)):
        memory, counted = TeacherMemory(limit), Teacher()
        for _ in range(3):
            epoch(memory, counted, images, torch.arange(12))
        assert counted.passes == passes


@pytest.mark.parametrize(
    "name", ["resnet18-nkd-resnet34", "retinanet-r50-fgd-retinanet-r101", "pspnet-r18-mgd-pspnet-r101-logit"]
)
def test_a_training_ends_with_the_same_bits_and_its_teacher_is_spared(name, distilled_job, monkeypatch):
    def train(*, remembers: bool):
        job = distilled_job(name, "schedule.overrides.train_cfg.max_epochs=6")
        adapter = load(job.recipe.adapter)(job)
        if not remembers:
            monkeypatch.setattr(adapter, "_teacher_memory", lambda: None)
        adapter.build()
        distiller, passes = adapter.runner.model, []
        distiller.teacher.backbone.register_forward_hook(lambda *_: passes.append(distiller.teacher.training))
        adapter.fit()
        return adapter.student.state_dict(), len(passes), adapter.runner.iter, distiller.seen.found

    weights, passes, steps, seen = train(remembers=True)
    every_bit, every_pass, every_step, all_seen = train(remembers=False)
    assert all(torch.equal(weights[key], every_bit[key]) for key in every_bit)
    assert every_pass == every_step == steps
    assert passes <= steps // 6 + CHECKED
    assert seen == all_seen
