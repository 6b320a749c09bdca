"""Semantic segmentation with mmseg."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mmseg.models  # noqa: F401  (fills the registry, before a run is forked off)
import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

import tasks.data.semantic_segmentation  # noqa: F401  (registers the embedded data set with mmseg)
from suite.contract import StoredClass
from suite.datasets.published import IGNORED
from tasks.adapters.dense import DenseAdapter

_CLASS_PREFIX = "IoU."


@METRICS.register_module()
class PerClassIoU(IoUMetric):
    """mmseg's mean IoU, with the IoU of every class beside it."""

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """The mean metrics of mmseg, and `IoU.<class>` in percent; a class that never occurs is left out.

        Args:
            results: for each image, the areas of intersection, union, prediction and label by class.
        """
        metrics: dict[str, float] = dict(super().compute_metrics(results))
        intersection, union = (sum(image[part] for image in results) for part in (0, 1))
        for name, shared, joint in zip(self.dataset_meta["classes"], intersection, union, strict=True):
            if joint > 0:
                metrics[f"{_CLASS_PREFIX}{name}"] = round(100 * float(shared / joint), 2)
        return metrics


class SemanticSegmentationAdapter(DenseAdapter):
    """mmseg's segmenters on Cityscapes' layout, scored by mean IoU."""

    scope = "mmseg"
    metrics: Mapping[str, str] = {"mIoU": "mIoU"}

    @property
    def annotations(self) -> Mapping[str, Callable[[Any], Any]]:
        """`target`, the label maps of a batch, besides what every task offers."""
        return {**super().annotations, "target": self.target}

    def classes_of(self, dataset: Any) -> list[StoredClass]:
        """The class name of each label, and the pixel value of the label maps that is mapped to it.

        Pixel values are shifted if the data set drops label 0 (`reduce_zero_label`), and then remapped if its
        config lists other classes than its Python class (`label_map`).
        """
        first = 1 if dataset.reduce_zero_label else 0
        moved = dataset.label_map or {}
        names = dataset.metainfo["classes"]
        pixels = {moved.get(value - first, value - first): value for value in range(first, IGNORED)}
        return [StoredClass(name, pixels.get(label)) for label, name in enumerate(names)]

    def target(self, data_samples: Any) -> Tensor:
        """Label maps of a batch, `N x H x W` class indices at the size of the input; 255 is ignored."""
        return torch.cat([sample.gt_sem_seg.data for sample in data_samples])

    def files(self, entry: Mapping[str, Any]) -> list[str]:
        """Image and label map."""
        return [entry["img_path"], entry["seg_map_path"]]

    def per_class(self) -> dict[str, dict[str, float]]:
        """IoU of every class in percent; see `Adapter.per_class`."""
        by_class = {
            name.removeprefix(_CLASS_PREFIX): float(value)
            for name, value in self._found.items()
            if name.startswith(_CLASS_PREFIX)
        }
        return {"IoU": by_class}
