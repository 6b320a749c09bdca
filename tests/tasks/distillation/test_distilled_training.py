"""What holds of distillation on every task: the teacher stays as it is, the student stands alone."""

import copy

import pytest
import torch

from suite.contract import load
from suite.published.recipes import Recipe, load_recipes

RECIPES = load_recipes()


def build(job):
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    return adapter


@pytest.mark.parametrize(
    "name", ["resnet18-nkd-resnet34", "retinanet-r50-fgd-retinanet-r101", "pspnet-r18-mgd-pspnet-r101-logit"]
)
def test_teacher_is_bit_identical_after_training_and_unknown_to_the_optimiser(name, distilled_job):
    adapter = build(distilled_job(name))
    distiller = adapter.runner.model
    before = copy.deepcopy(distiller.teacher.state_dict())
    student_before = copy.deepcopy(adapter.student.state_dict())
    adapter.fit()
    after = distiller.teacher.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    student_after = adapter.student.state_dict()
    assert any(not torch.equal(value, student_after[key]) for key, value in student_before.items())
    assert not distiller.teacher.training
    groups = adapter.runner.optim_wrapper.optimizer.param_groups
    optimised = {id(parameter) for group in groups for parameter in group["params"]}
    assert not optimised & {id(parameter) for parameter in distiller.teacher.parameters()}
    assert optimised >= {id(parameter) for parameter in adapter.student.parameters()}
    assert optimised >= {id(parameter) for parameter in distiller.parameters() if parameter.requires_grad}
    assert not any("teacher" in key for key in distiller.state_dict())


@pytest.mark.parametrize(
    "name", ["resnet18-mgd-resnet34", "retinanet-r50-fgd-retinanet-r101", "pspnet-r18-mgd-pspnet-r101-logit"]
)
def test_a_distilled_student_scores_the_same_in_the_plain_model(name, distilled_job, make_job, tmp_path):
    distilled = build(distilled_job(name))
    distilled.fit()
    score = distilled.evaluate()
    distilled.save(tmp_path / "student.pth")
    recipe = RECIPES[name]
    plain = build(make_job(Recipe(task=recipe.task, student=recipe.student)))
    plain.student.load_state_dict(torch.load(tmp_path / "student.pth", weights_only=True), strict=True)
    assert plain.evaluate() == score
    assert plain.per_class() == distilled.per_class()
