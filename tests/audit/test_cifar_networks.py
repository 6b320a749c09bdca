"""Trainings of the CIFAR-100 protocol are built as its releases state them."""

from __future__ import annotations

import pytest

from suite.audit.compare import audit, mismatches
from suite.audit.dry_run import dry_run
from suite.planning.composing import compose
from suite.published.finding import find_claim
from suite.published.protocols import load_protocols
from suite.published.recipes import load_recipes

OF_240_EPOCHS = [
    name
    for name, groups in load_protocols().models.items()
    if {"cifar-100-240-epochs", "cifar-100-mobile"} & set(groups)
]
LOW_RATE = {"mobilenet-v2-cifar", "shufflenet-v1-cifar", "shufflenet-v2-cifar"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("audit") / "log"


@pytest.mark.train
@pytest.mark.parametrize("name", OF_240_EPOCHS)
def test_a_network_of_the_cifar_100_protocol_is_trained_as_stated(name, log):
    recipe = compose(load_recipes()[name], "paper")
    # As if somebody had published a number of this network alone.
    claim = find_claim("nkd-resnet18-student")[1].model_copy(update={"recipe": name, "student": name})
    found = {one.setting: one for one in audit(claim, "student", recipe, dry_run(recipe, log))}
    assert mismatches(found.values()) == []
    assert {one.verdict for one in found.values()} == {"match"}
    rates = found["learning_rates"].effective
    assert [rates[epoch] for epoch in (0, 149, 150, 180, 210, 239)] == pytest.approx(
        [1, 1, 0.1, 0.01, 1e-3, 1e-3]
    )
    assert found["learning_rate"].effective == (0.01 if name in LOW_RATE else 0.05)
    assert (found["global_batch"].effective, found["epochs"].effective) == (64, 240)


@pytest.mark.train
def test_the_batch_of_the_older_protocol_on_eight_devices_is_found(log):
    recipe = compose(load_recipes()["resnet20"], "paper")
    recipe = recipe.model_copy(update={"devices": 8})
    claim = find_claim("nkd-resnet18-student")[1].model_copy(
        update={"recipe": "resnet20", "student": "resnet20"}
    )
    found = mismatches(audit(claim, "student", recipe, dry_run(recipe, log)))
    assert {one.setting for one in found} == {"devices", "global_batch"}


def test_there_are_seventeen_of_them():
    assert len(OF_240_EPOCHS) == 17
