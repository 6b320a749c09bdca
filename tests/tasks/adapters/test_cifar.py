"""The published protocol on CIFAR-100: real files and a network of full width, on a handful of images."""

import dataclasses
import hashlib
import os
import pickle

import pytest
import torch
from mmpretrain.datasets import CIFAR100

from suite.contract import BlockedError
from suite.datasets import PublishedDataset, read_published
from suite.published.recipes import load_recipes
from tasks.adapters.classification import ClassificationAdapter
from tests.datasets.conftest import cifar_files

USKD = load_recipes()["resnet18-cifar-uskd"]
OF_240_EPOCHS = load_recipes()["shufflenet-v2-cifar"]
TWO_BATCHES = 32
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
"""Of pixels between 0 and 1, in dataset/cifar100.py of HobbitLong/RepDistiller."""


@pytest.fixture
def cifar_job(make_job, tmp_path, monkeypatch):
    """Makes the job of a training on a few images in CIFAR-100's layout, taken for the published ones."""
    files = cifar_files(train=TWO_BATCHES, test=20)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    for name, content in files.items():
        path = tmp_path / "cifar100" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    pickles = [{"file": name, "md5": checksum} for name, checksum in md5.items()]
    few = PublishedDataset.model_validate(read_published()["cifar-100"].model_dump() | {"pickles": pickles})
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    monkeypatch.setattr("suite.datasets.required.published", lambda name: {"cifar-100": few}[name])
    for part in ("train", "test"):
        monkeypatch.setattr(CIFAR100, f"{part}_list", [[part, md5[f"{CIFAR100.base_folder}/{part}"]]])

    def make(*overrides, recipe=USKD):
        return dataclasses.replace(make_job(recipe, *overrides, profile="paper"), data_dir=tmp_path)

    return make


@pytest.fixture
def asked(monkeypatch):
    """What was asked of the network."""
    addresses = []
    monkeypatch.setattr(
        "mmpretrain.datasets.cifar.download_and_extract_archive", lambda url, *_, **__: addresses.append(url)
    )
    return addresses


def test_two_iterations_at_full_width_train_on_the_publishers_files_and_are_scored(cifar_job):
    adapter = ClassificationAdapter(cifar_job("+schedule.overrides.train_cfg.max_epochs=1"))
    adapter.fingerprint()
    adapter.build()
    protocol = adapter.describe().settings
    assert (protocol["train_images"], protocol["test_images"]) == (TWO_BATCHES, 20)
    assert (protocol["iterations"], protocol["batch_size"]) == (2, 16)
    assert protocol["normalisation"]["channels"] == "RGB"
    # 256 channels, as the released config has it of the weak head.
    weak_head = adapter.runner.model.losses["uskd"].fc
    assert (weak_head.in_features, weak_head.out_features) == (256, 100)
    before = weak_head.weight.clone()
    adapter.fit()
    assert (weak_head.weight != before).any()
    score = adapter.evaluate()
    assert score.keys() == {"top1"}
    assert 0 <= score["top1"] <= 100


def test_a_network_of_the_common_protocol_trains_on_them_with_pixels_scaled_as_released(cifar_job):
    adapter = ClassificationAdapter(
        cifar_job("student.published.config.train_cfg.max_epochs=1", recipe=OF_240_EPOCHS)
    )
    adapter.fingerprint()
    adapter.build()
    protocol = adapter.describe().settings
    assert (protocol["iterations"], protocol["batch_size"], protocol["devices"]) == (1, 64, 1)
    # One black pixel, as the transform of the release gives it: minus the mean over the standard deviation.
    preprocessor = adapter.student.data_preprocessor
    black = preprocessor({"inputs": [torch.zeros(3, 32, 32)]})["inputs"][0, :, 0, 0]
    released = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
    assert black.tolist() == pytest.approx(released, rel=1e-5)
    before = adapter.student.backbone.conv1[0].weight.clone()
    adapter.fit()
    assert (adapter.student.backbone.conv1[0].weight != before).any()
    assert adapter.evaluate().keys() == {"top1"}


def test_the_network_gets_red_first(cifar_job):
    adapter = ClassificationAdapter(cifar_job())
    adapter.build()
    preprocessor = adapter.student.data_preprocessor
    image = preprocessor({"inputs": [adapter._test_data[0]["inputs"]]})["inputs"][0]
    red = (image * preprocessor.std + preprocessor.mean)[0]
    with open(adapter._data_root() / "cifar-100-python" / "test", "rb") as file:
        stored = pickle.load(file)["data"][0][:1024].reshape(32, 32)
    assert red.round().int().tolist() == stored.tolist()


def test_images_that_are_not_there_are_not_fetched(cifar_job, asked):
    adapter = ClassificationAdapter(cifar_job())
    for path in (adapter._data_root() / "cifar-100-python").iterdir():
        path.unlink()
    with pytest.raises(BlockedError, match=r"CIFAR-100 is not at .*train.* missing"):
        adapter.fingerprint()
    with pytest.raises(RuntimeError, match="Cannot find CIFAR100"):
        adapter.build()
    assert asked == []
    datasets = adapter._config(adapter.job.recipe.student)
    for name in ("train", "val", "test"):
        assert datasets[f"{name}_dataloader"].dataset.download is False


def test_a_pickle_that_is_not_the_publishers_is_opened_by_nobody(cifar_job, asked, tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was-run"),)

    adapter = ClassificationAdapter(cifar_job())
    (adapter._data_root() / "cifar-100-python" / "train").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(BlockedError, match="cifar-100-python/train: MD5"):
        adapter.fingerprint()
    # The data class of the zoo looks for itself, should the file have changed since.
    with pytest.raises(RuntimeError, match="Cannot find CIFAR100"):
        adapter.build()
    assert not (tmp_path / "was-run").exists()
    assert asked == []
