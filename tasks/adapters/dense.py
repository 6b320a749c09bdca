"""What the adapters of detection and segmentation share: checked test images, counts of skipped data."""

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
    """An adapter that checks its test images before the training and counts the training data it skips."""

    @abstractmethod
    def files(self, entry: Mapping[str, Any]) -> list[str]:
        """Paths of the image files that one entry of the test set is read from."""

    def build(self) -> None:
        """Builds everything up to the first step; see `Adapter.build`.

        Raises:
            BlockedError: also when a test image cannot be decoded.
        """
        super().build()
        self._check_test_images()

    def build_released(self, checkpoint: Path) -> dict[str, Any]:
        """Builds only the plain student and the test set; see `Adapter.build_released`.

        Raises:
            BlockedError: also when a test image cannot be decoded.
        """
        report = super().build_released(checkpoint)
        self._check_test_images()
        return report

    def _example(self) -> Tensor:
        """A crop of the first test image: enough to measure channels and strides."""
        return super()._example()[..., :_SIDE, :_SIDE]

    def _check_test_images(self) -> None:
        entries = (self._test_data.get_data_info(index) for index in range(len(self._test_data)))
        check_images([path for entry in entries for path in self.files(entry)])

    def skipped(self) -> dict[str, int]:
        """How much training data was skipped, by reason, over all processes; see `Adapter.skipped`."""
        counts: list[dict[str, int]] = all_gather_object(counts_of(self.runner.train_dataloader.dataset))
        return dict(sum(map(Counter, counts), Counter()))
