"""What is seen of a method: taps and gradients, without a trace in the training; and that a fault shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tests.tasks.distillation.seen  # noqa: F401  (registers the losses)
from suite.contract import BlockedError, load
from suite.store.record import Distillation
from suite.store.scalars import shares_of
from tasks.distillation.seen import Seen
from tasks.training.random_state import random_state
from tests.tasks.distillation.test_inputs import SAMPLES, distiller


def looked_at(*inputs: str, **others: Any) -> tuple[Any, dict[str, Any]]:
    """One step of a small distiller with a look at its gradients; the model, and gradients by tap."""
    model = distiller(*inputs, **others)
    model._progress = {"iteration": lambda: 0}
    model.seen.look_at(1)
    torch.manual_seed(1)
    losses = model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    sum(losses.values()).backward()
    return model, {gradient.tap: gradient for gradient in model.seen.found.gradients}


def test_the_gradient_of_a_mean_is_what_it_is_by_hand():
    word = "student.output:bbox_head.predict"
    _, found = looked_at(word, arguments={"scale": 3.0})
    # Of the finest of two levels: a mean over 2 x 2 x 8 x 8 values, times three.
    assert found[word].method == pytest.approx(3.0 / 256**0.5, rel=1e-6)
    # The task's loss is the mean of their squares.
    model = distiller(word)
    torch.manual_seed(1)
    predicted = model.student(torch.randn(2, 3, 8, 8))[0][0]
    assert found[word].task == pytest.approx(float(2 * predicted.detach().norm() / 256), rel=1e-5)


@pytest.mark.parametrize(
    ("word", "values"),
    [
        # Behind the convolution of the head a ReLU overwrites what was caught.
        ("student.output:bbox_head.conv", 2 * 6 * 8 * 8),
        # A pooled tap is no part of the task's own graph.
        ("student.pooled", 2 * 4),
    ],
)
def test_a_tap_that_is_overwritten_or_pooled_has_both_gradients(word, values):
    _, found = looked_at(word)
    gradient = found[word]
    pooled = 64 if word.endswith("pooled") else 1
    assert gradient.method == pytest.approx((pooled * values) ** -0.5, rel=1e-6)
    assert gradient.task > 0


def test_what_no_loss_looks_at_has_no_gradient_of_the_method():
    _, found = looked_at("student.neck", arguments={"scale": 0.0})
    assert found["student.neck"].method == 0.0
    assert found["student.neck"].task > 0


def test_taps_are_counted_in_steps_alone_and_as_often_as_they_fire():
    model = distiller("student.neck", "student.taken", "teacher.neck")
    assert model.seen.found.fired == {}
    for _ in range(3):
        model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    # The shared head runs once for each of two levels.
    assert model.seen.found.fired == {"student.neck": 3, "student.taken": 6, "teacher.neck": 3}
    assert model.seen.found.steps == 3


def test_a_tap_that_no_longer_fires_ends_the_training_by_name():
    model = distiller("student.neck", "teacher.neck")
    model.student.neck._forward_hooks.clear()
    with pytest.raises(
        BlockedError, match="tap 'neck': module 'neck' of Network never ran, so the tap never"
    ):
        model(torch.randn(2, 3, 8, 8), SAMPLES, mode="loss")
    assert model.seen.found.steps == 0


def trained(job: Any) -> Any:
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    adapter.fit()
    return adapter


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [leaf for value in state.values() for leaf in flat(value)]
    return state.tolist() if isinstance(state, torch.Tensor) else [state]


NAMES = ["resnet18-mgd-resnet34", "retinanet-r50-fgd-retinanet-r101", "pspnet-r18-mgd-pspnet-r101-logit"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_weights_and_random_state_are_the_same_with_the_look_and_without(name, distilled_job, monkeypatch):
    job = distilled_job(name)
    looking = trained(job)
    state = random_state()
    monkeypatch.setattr(Seen, "look_at", lambda self, iterations: None)
    blind = trained(distilled_job(name))
    assert flat(random_state()) == flat(state)
    weights, expected = blind.student.state_dict(), looking.student.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    assert blind.method_seen().gradients == []
    seen = looking.method_seen()
    assert {gradient.iteration for gradient in seen.gradients} == {1, 2}
    assert all(gradient.method > 0 < gradient.task for gradient in seen.gradients)
    assert seen.steps == 2
    # A tap of several levels fires once for each.
    assert all(times >= 2 and times % 2 == 0 for times in seen.fired.values())
    assert {tap.partition(".")[0] for tap in seen.fired} == {"student", "teacher"}


@pytest.mark.slow
def test_a_loss_of_weight_zero_is_found_by_share_and_gradient(distilled_job):
    job = distilled_job(NAMES[0], "method.losses.mgd.arguments.alpha=0")
    adapter = trained(job)
    seen, shares = adapter.method_seen(), shares_of(adapter.scalars(), ["loss_mgd"])
    found = Distillation(steps=seen.steps, fired=seen.fired, shares=shares, gradients=seen.gradients)
    assert found.faults == [
        "loss_mgd contributes nothing to the total loss",
        "the gradient of the method is zero at every tap of the student",
    ]
