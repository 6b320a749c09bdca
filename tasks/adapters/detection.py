"""Object detection with mmdet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, ClassVar

import mmdet.models  # noqa: F401  (fills the registry, before a run is forked off)
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from mmdet.models.detectors.single_stage_instance_seg import SingleStageInstanceSegmentor
from mmengine.model import BaseModel
from torch import Tensor

import tasks.data.detection
import tasks.networks.backbones
import tasks.networks.deformable
import tasks.networks.on_gpu  # noqa: F401  (they register data sets and parts of detectors)
from suite.contract import StoredClass
from tasks.adapters.dense import DenseAdapter
from tasks.distillation.taps import Depth

_ITEMS: Mapping[str, str] = {
    "mAP": "AP",
    "mAP_s": "AP_S",
    "mAP_m": "AP_M",
    "mAP_l": "AP_L",
    "AR@100": "AR",
    "AR_s@1000": "AR_S",
    "AR_m@1000": "AR_M",
    "AR_l@1000": "AR_L",
}
"""Item of mmdet's `CocoMetric` -> what COCO calls it. Both average over IoU 0.50 to 0.95."""

_WITH_DENSE_HEADS = (SingleStageDetector, SingleStageInstanceSegmentor, TwoStageDetector)


class DetectionAdapter(DenseAdapter):
    """mmdet's detectors on COCO's layout, scored by AP and AR of boxes (pycocotools)."""

    scope = "mmdet"
    kinds: ClassVar[Mapping[str, str]] = {"bbox": "box"}
    """What `CocoMetric` evaluates -> prefix of the metric's name in a record."""

    @property
    def metrics(self) -> Mapping[str, str]:  # type: ignore[override]
        """Name in the evaluator's output -> name in a record, for the kinds that the config evaluates."""
        asked = self.runner.test_loop.evaluator.metrics[0].metrics
        return {
            f"coco/{kind}_{item}": f"{self.kinds[kind]}_{name}"
            for kind in asked
            for item, name in _ITEMS.items()
        }

    @property
    def annotations(self) -> Mapping[str, Callable[[Any], Any]]:
        """`boxes`, their `labels` and `image_shapes`, besides what every task offers.

        Boxes and shapes are as the model sees them: after resize and flip.
        """
        return {
            **super().annotations,
            "boxes": self.boxes,
            "labels": self.labels,
            "image_shapes": self.image_shapes,
        }

    def classes_of(self, dataset: Any) -> list[StoredClass]:
        """The class name of each label, and the category of the annotation file that is mapped to it.

        mmdet numbers the categories in the order of the file, whatever the order of the names.
        """
        labels: Mapping[int, int] | None = getattr(dataset, "cat2label", None)
        if labels is None:
            return super().classes_of(dataset)
        categories = sorted(labels, key=labels.__getitem__)
        pairs = zip_longest(dataset.metainfo["classes"], categories)
        return [StoredClass(name or "of no name", category) for name, category in pairs]

    def boxes(self, data_samples: Any) -> list[Tensor]:
        """Boxes of a batch, one `n x 4` tensor per image: x0, y0, x1, y1 in pixels of the input."""
        return [sample.gt_instances.bboxes for sample in data_samples]

    def labels(self, data_samples: Any) -> list[Tensor]:
        """Class indices of the boxes of a batch, one tensor of `n` per image."""
        return [sample.gt_instances.labels for sample in data_samples]

    def image_shapes(self, data_samples: Any) -> list[tuple[int, int]]:
        """Height and width of each image in the batch before padding, in pixels."""
        return [tuple(sample.img_shape[:2]) for sample in data_samples]

    def features(self, model: BaseModel, inputs: Tensor, depth: Depth) -> Any:
        """Runs a model only as far as its taps need: backbone and neck, or its dense heads too.

        The dense head of a two-stage detector is the region proposal network. Its heads on regions are never
        run for taps: each model proposes its own regions, so student and teacher could not be compared row
        by row.
        """
        if depth == "neck" or not isinstance(model, _WITH_DENSE_HEADS):
            return super().features(model, inputs, depth)
        maps = model.extract_feat(inputs)
        heads = [getattr(model, name, None) for name in ("rpn_head", "bbox_head", "mask_head")]
        # Called as modules, as the detectors' losses do; mode `tensor` would bypass the hooks of the head.
        return [head(maps) for head in heads if head is not None]

    def files(self, entry: Mapping[str, Any]) -> list[str]:
        """The image."""
        return [entry["img_path"]]

    def read_metrics(self, found: Mapping[str, Any]) -> dict[str, float]:
        """Percent by metric name; a model without a single prediction has an AP of zero.

        mmdet reports no numbers at all if there is no prediction, and -1 for a size of which the test set has
        no object; the latter is dropped.
        """
        values = {name: 100 * float(found.get(key, 0.0)) for key, name in self.metrics.items()}
        return {name: round(value, 4) for name, value in values.items() if value >= 0}
