"""What a plan needs beside hours: data sets, and weights of released teachers."""

from __future__ import annotations

from suite.cost import needed_data, needed_teachers
from tests.cost.conftest import plan_of, priced


def test_a_released_teacher_is_asked_for_and_costs_no_training_and_another_one_is_trained():
    plan = plan_of("fgd-retinanet-r50-x101", "fgd-solo-r50-r101-inherit")
    found = {entry.model: entry for entry in needed_teachers(plan)}
    assert {model: entry.released for model, entry in found.items()} == {
        "retinanet-x101": "retinanet-x101",
        "solo-r101": None,
    }
    assert not any(entry.present for entry in found.values())
    costs = priced(plan).runs
    released = costs[found["retinanet-x101"].run_id]
    assert (released.hours, released.basis) == (0.0, "released")
    assert costs[found["solo-r101"].run_id].basis == "unknown"


def test_embedded_data_need_no_weights_of_others():
    assert needed_teachers(plan_of("fgd-retinanet-r50-x101", profile="mini")) == []


def test_the_data_that_a_plan_needs_are_looked_for():
    needed = needed_data(plan_of("mgd-resnet18", "mgd-pspnet-r18"))
    assert [(dataset.name, dataset.presence) for dataset in needed] == [
        ("cityscapes", "absent"),
        ("imagenet", "absent"),
    ]
    (cifar,) = needed_data(plan_of("nkd-resnet18-cifar-uskd"))
    assert (cifar.name, cifar.presence, cifar.gigabytes) == ("cifar-100", "absent", 0.2)
    (embedded,) = needed_data(plan_of("mgd-resnet18", profile="mini"))
    assert (embedded.name, embedded.presence, embedded.gigabytes) == ("digit-pairs", "embedded", None)
