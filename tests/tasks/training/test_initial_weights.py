"""Networks that start from the backbone of another: every tensor by its name, nothing that nearly fits."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.contract import BlockedError, Job, load
from suite.planning.composing import compose
from suite.published.recipes import Recipe
from suite.store.files import sha256_of
from tasks.training.initial_weights import start_from

NETWORK = "classification/small"
DETECTOR = Recipe(task="detection", student="retinanet-r50")


def small(head: int = 10, **backbone: nn.Module) -> nn.Module:
    """A network with a backbone of two modules, which may be others, and a head."""
    parts: dict[str, nn.Module] = {"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4)}
    return nn.Sequential(
        OrderedDict(backbone=nn.Sequential(OrderedDict(parts | backbone)), head=nn.Linear(4, head))
    )


def written(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def values_of(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_every_tensor_of_the_backbone_is_that_of_the_other_and_the_rest_stays(tmp_path):
    torch.manual_seed(0)
    other, network = small(head=100), small()
    for value in (*other.parameters(), *other.buffers()):
        value.data = torch.rand_like(value.double()).add(1).to(value.dtype)
    weights, before = written(other, tmp_path / "other.pth"), values_of(network)
    told = start_from(network, NETWORK, weights, sha256_of(weights))
    assert told == {
        "from": NETWORK,
        "sha256": sha256_of(weights),
        "loaded": 7,
        "left_out": {"head": 2},
        "faults": [],
    }
    theirs = other.state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(value, (theirs if key.startswith("backbone.") else before)[key])


class _Two(nn.Module):
    """Another module in the place of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
        self.scale = nn.Parameter(torch.zeros(4))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"norm": nn.Identity()}, "missing norm.weight, missing norm.bias, missing norm.running_mean"),
        ({"extra": nn.Linear(2, 2)}, "unknown extra.weight, unknown extra.bias"),
        ({"conv": _Two()}, "missing conv.bias, unknown conv.scale"),
        ({"conv": nn.Conv2d(3, 4, 1)}, "(4, 3, 1, 1) instead of (4, 3, 3, 3) in conv.weight"),
    ],
    ids=["missing", "unknown", "renamed", "another shape"],
)
def test_what_does_not_fit_tensor_by_tensor_is_refused_by_name(other, says, tmp_path):
    weights = written(small(**other), tmp_path / "other.pth")
    expected = f"^other.pth does not fit the backbone, which starts from {NETWORK}: {says}"
    with pytest.raises(BlockedError, match=expected.replace("(", r"\(").replace(")", r"\)")):
        start_from(small(), NETWORK, weights, None)


def test_weights_without_a_backbone_and_those_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(BlockedError, match=r"missing conv\.weight, missing conv\.bias"):
        start_from(small(), NETWORK, written(nn.Linear(2, 2), tmp_path / "other.pth"), None)
    broken = small()
    dict(broken.named_parameters())["backbone.conv.weight"].data[0] = torch.nan
    with pytest.raises(BlockedError, match=r"NaN or infinite values in conv\.weight"):
        start_from(small(), NETWORK, written(broken, tmp_path / "broken.pth"), None)


def test_a_network_without_a_backbone_is_refused(tmp_path):
    weights = written(small(), tmp_path / "other.pth")
    with pytest.raises(BlockedError, match=f"^Linear has no backbone that could start from {NETWORK}$"):
        start_from(nn.Linear(2, 2), NETWORK, weights, None)


def test_a_file_that_has_changed_since_it_was_checked_is_refused(tmp_path):
    weights = written(small(), tmp_path / "other.pth")
    checked = hashlib.sha256(b"what was there").hexdigest()
    with pytest.raises(BlockedError, match="has changed since it was checked"):
        start_from(small(), NETWORK, weights, checked)


# A real detector on a real classifier


def of_model(task: str, model: str, folder: Path) -> Any:
    """A network as the embedded data have it, with random weights."""
    recipe = compose(Recipe(task=task, student=model), "smoke")
    adapter = load(recipe.adapter)(Job(recipe=recipe, seed=0, run_dir=folder, data_dir=folder))
    torch.manual_seed(1)
    network = adapter.network(recipe.student)
    network.init_weights()
    return network


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """The weights of a ResNet-50 as wide as the detector's, with a head for a hundred classes."""
    return written(of_model("classification", "resnet50", tmp_path), tmp_path / "classifier.pth")


@pytest.mark.parametrize(
    ("classifier_of", "task", "model"),
    [
        ("resnet18-v1c", "semantic_segmentation", "pspnet-r18"),
        ("resnet18-v1c", "semantic_segmentation", "deeplabv3-r18"),
        ("resnet101-v1c", "semantic_segmentation", "pspnet-r101"),
        ("resnext101", "detection", "retinanet-x101"),
        ("resnext101", "instance_segmentation", "cascade-mask-rcnn-x101-dcn"),
    ],
)
def test_the_backbone_of_a_dense_network_is_that_of_a_classifier(classifier_of, task, model, tmp_path):
    other = of_model("classification", classifier_of, tmp_path)
    network = of_model(task, model, tmp_path)
    told = start_from(network, NETWORK, written(other, tmp_path / "other.pth"), None)
    assert told["left_out"] == {"head": 2}
    theirs, ours = other.backbone.state_dict(), network.backbone.state_dict()
    assert told["loaded"] == len(theirs)
    assert all(torch.equal(value, ours[key]) for key, value in theirs.items())
    # A deformable convolution begins as the plain one.
    assert not any(ours[key].any() for key in ours.keys() - theirs.keys())


def built(make_job: Any, weights: Path | None, *overrides: str) -> Any:
    checked = {weights: sha256_of(weights)} if weights is not None else {}
    job = make_job(DETECTOR, *overrides, start_weights=weights, sha256=checked)
    adapter = load(job.recipe.adapter)(job)
    adapter.fingerprint()
    adapter.build()
    return adapter


def test_a_detector_starts_from_a_classifier_and_its_protocol_says_so(make_job, classifier):
    adapter = built(make_job, classifier)
    theirs = torch.load(classifier, weights_only=True)
    ours = adapter.student.state_dict()
    of_backbone = {key for key in theirs if key.startswith("backbone.")}
    assert {key for key in ours if key.startswith("backbone.")} == of_backbone
    assert all(torch.equal(ours[key], theirs[key]) for key in of_backbone)
    assert adapter.describe().at("initial_weights") == {
        "backbone": {
            "from": "classification/resnet50",
            "sha256": sha256_of(classifier),
            "loaded": len(of_backbone),
            "left_out": {"head": 2},
            "faults": [],
        }
    }
    # A resume point of the same run from other weights is another training's.
    assert adapter._training() == f"{adapter.job.run_dir.name}/from-{sha256_of(classifier)}"


def test_a_network_of_another_width_is_refused_by_the_first_tensors(make_job, classifier):
    width = "student.embedded.overrides.backbone.base_channels=8"
    neck = "student.embedded.overrides.neck.in_channels=[32,64,128,256]"
    with pytest.raises(
        BlockedError,
        match=re.escape(
            "the backbone, which starts from classification/resnet50: (12, 3, 7, 7) instead of (8, 3"
        ),
    ):
        built(make_job, classifier, width, neck)


def test_a_network_is_not_trained_without_the_weights_that_it_starts_from(make_job):
    with pytest.raises(
        BlockedError, match=r"^no weights of classification/resnet50 to start from: train it first$"
    ):
        built(make_job, None)
