"""Image classification with mmpretrain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mmpretrain.models  # noqa: F401  (fills the registry, before a run is forked off)
import torch
from mmpretrain.datasets import CIFAR10
from torch import Tensor

import tasks.networks.cifar  # noqa: F401  (registers its networks with mmpretrain)
from suite.contract import EffectiveProtocol, StoredClass
from tasks.adapters.base import MMAdapter
from tasks.adapters.samples import first_of_each_class


class ClassificationAdapter(MMAdapter):
    """mmpretrain's classifiers on image folders, scored by top-1 and top-5 accuracy."""

    scope = "mmpretrain"
    metrics: Mapping[str, str] = {"accuracy/top1": "top1", "accuracy/top5": "top5"}

    @property
    def annotations(self) -> Mapping[str, Callable[[Any], Any]]:
        """`target`, the labels of a batch, besides what every task offers."""
        return {**super().annotations, "target": self.target}

    @property
    def training_data(self) -> Mapping[str, Callable[[Any], Any]]:
        """`training_labels`: the class index of every image, in the order of `sample_index`."""
        return {"training_labels": lambda dataset: dataset.get_gt_labels()}

    def describe(self) -> EffectiveProtocol:
        """The effective protocol, read back from the built objects."""
        protocol = super().describe()
        normalisation = protocol.at("normalisation")
        if isinstance(self._test_data, CIFAR10) and "channels" in normalisation:
            # CIFAR's arrays are RGB, unlike decoded files, which are BGR: the order is the other one.
            channels = "RGB" if normalisation["channels"] == "BGR" else "BGR"
            protocol = protocol.changed(normalisation={**normalisation, "channels": channels})
        return protocol

    def classes_of(self, dataset: Any) -> list[StoredClass]:
        """The class folders in the order of their labels; without folders, the names of the classes."""
        folders = getattr(dataset, "folder_to_idx", None)
        if folders is None:
            return super().classes_of(dataset)
        return [StoredClass(name) for name in sorted(folders, key=folders.__getitem__)]

    def sampled(self, count: int) -> list[int]:
        """Indices of the first test image of each of the first classes: a test set may be sorted by class."""
        return first_of_each_class(self._test_data.get_gt_labels(), count)

    def target(self, data_samples: Any) -> Tensor:
        """Labels of a batch: `N` class indices, or `N x K` soft labels when images were mixed."""
        if "gt_score" in data_samples[0]:
            return torch.stack([sample.gt_score for sample in data_samples])
        return torch.cat([sample.gt_label for sample in data_samples])
