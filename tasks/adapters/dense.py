"""What the adapters of detection and segmentation share: data that are checked and counted."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object
from torch import Tensor

from tasks.adapters.base import MMAdapter
from tasks.data.loading import check_images, counts_of

_SIDE = 256
"""Pixels; a multiple of all strides."""


class DenseAdapter(MMAdapter):
    """An adapter whose test images are checked before the training, and whose losses of data are counted."""

    @abstractmethod
    def files(self, entry: Mapping[str, Any]) -> list[str]:
        """The images that one entry of the test set is read from."""

    def build(self) -> None:
        """Builds everything up to the first step; see `Adapter.build`.

        Raises:
            BlockedError: also when a test image cannot be decoded.
        """
        super().build()
        self._check_test_images()

    def build_released(self, checkpoint: Path) -> dict[str, Any]:
        """Builds the plain student and the test set alone; see `Adapter.build_released`.

        Raises:
            BlockedError: also when a test image cannot be decoded.
        """
        report = super().build_released(checkpoint)
        self._check_test_images()
        return report

    def _example(self) -> Tensor:
        """A corner of the first test image: it shows channels and strides as well as the whole."""
        return super()._example()[..., :_SIDE, :_SIDE]

    def _check_test_images(self) -> None:
        entries = (self._test_data.get_data_info(index) for index in range(len(self._test_data)))
        check_images([path for entry in entries for path in self.files(entry)])

    def skipped(self) -> dict[str, int]:
        """What the training data left out, and why, in all processes together; see `Adapter.skipped`."""
        counts: list[dict[str, int]] = all_gather_object(counts_of(self.runner.train_dataloader.dataset))
        return dict(sum(map(Counter, counts), Counter()))
