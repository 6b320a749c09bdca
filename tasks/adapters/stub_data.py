"""Stub data sets and weights, for a dry run that only needs the effective protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from torch import Tensor

from suite.contract import EffectiveProtocol
from tasks.adapters.base import MMAdapter

_SIDES = {"mmpretrain": 224, "mmdet": 128, "mmseg": 128}
"""Registry scope -> side in pixels of the image that shows map shapes; transformers take only this size."""


def stub_dataset(config: Mapping[str, Any], images: int) -> Any:
    """Builds a data set from its config without reading its annotations.

    Args:
        config: of any data set derived from mmengine's `BaseDataset`, or of a wrapper around one.
        images: how many images it pretends to have.

    Returns:
        The data set, which has a length and a pipeline but no images.
    """
    settings = dict(config)
    if isinstance(settings.get("dataset"), Mapping):
        return DATASETS.build({**settings, "dataset": stub_dataset(settings["dataset"], images)})
    dataset = DATASETS.build({**settings, "lazy_init": True})
    dataset.serialize_data = False
    dataset.data_list = [{}] * images
    dataset._fully_initialized = True
    return dataset


def with_stub_data(kind: type[MMAdapter]) -> type[MMAdapter]:
    """A task's adapter that builds at published size without data and weights; it cannot train."""
    return type(kind.__name__, (_WithStubData, kind), {})


class _WithStubData(MMAdapter):
    """Mixin that precedes an adapter's class: data sets hold no images, and no weights are loaded.

    The one process stands in for one of the devices that the recipe trains on.
    """

    def _test_set(self, config: Config) -> Any:
        return stub_dataset(config.test_dataloader.dataset, self._images("test"))

    def _train_loader(self, config: Config) -> Any:
        loader = config.train_dataloader
        images = -(-self._images("train") // self._devices)
        # Nothing will be read, so no loader processes are started.
        alone = {"num_workers": 0, "persistent_workers": False}
        return {**loader, **alone, "dataset": stub_dataset(loader.dataset, images)}

    def _training_data(self, config: Config) -> dict[str, Callable[[], Any]]:
        """Labels of two images of different classes, which is enough to build a loss."""
        return {name: lambda: [0, 1] for name in self.training_data}

    def _images(self, part: str) -> int:
        return self.job.recipe.data.images[part]

    @property
    def _devices(self) -> int:
        return self.job.recipe.devices_used

    def _initialise(self, model: BaseModel) -> dict[str, dict[str, Any]]:
        """Leaves the network as it is."""
        return {}

    def _teacher(self) -> BaseModel | None:
        teacher = self.job.recipe.teacher
        return self.network(teacher) if teacher else None

    def _example(self) -> Tensor:
        side = _SIDES[self.scope]
        # Values of both signs, so that a feature before a ReLU has both too.
        return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))

    def _check_test_images(self) -> None:
        """Does nothing: there are no test images."""

    def describe(self) -> EffectiveProtocol:
        """The effective protocol, scaled to all devices; see `Adapter.describe`."""
        protocol = super().describe()
        norm_batch = protocol.at("norm_batch")
        if norm_batch and self._synchronised:
            norm_batch *= self._devices
        return protocol.changed(
            devices=self._devices,
            global_batch=protocol.at("global_batch") * self._devices,
            norm_batch=norm_batch,
            train_images=self._images("train"),
        )
