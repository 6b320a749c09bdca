"""The data set of detection and instance segmentation as mmdet reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS


@DATASETS.register_module()
class CountingCocoDataset(CocoDataset):
    """mmdet's COCO data set, which silently drops unusable annotations; this one counts them by reason."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what `mmdet.datasets.CocoDataset` takes."""
        self._left_out: Counter[str] = Counter()
        self._without_objects = 0
        super().__init__(*args, **kwargs)

    @property
    def counts(self) -> dict[str, int]:
        """What was left out -> how often."""
        return {**self._left_out, "images without objects": self._without_objects}

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> Any:
        """Parses one image's annotations; see `mmdet.datasets.CocoDataset`."""
        image = raw_data_info["raw_img_info"]
        for annotation in raw_data_info["raw_ann_info"]:
            if reason := _why_unusable(annotation, image["width"], image["height"], self.cat_ids):
                self._left_out[reason] += 1
        return super().parse_data_info(raw_data_info)

    def filter_data(self) -> Any:
        """Filters images as configured; see `mmdet.datasets.CocoDataset`."""
        kept = super().filter_data()
        if not self.test_mode:
            self._without_objects = len(self.data_list) - len(kept)
        return kept


def _why_unusable(annotation: dict[str, Any], width: int, height: int, listed: Iterable[int]) -> str | None:
    """Why mmdet drops an annotation, or None: the conditions of `CocoDataset.parse_data_info` in words."""
    left, top, across, down = annotation["bbox"]
    inside_across = min(left + across, width) - max(left, 0)
    inside_down = min(top + down, height) - max(top, 0)
    if annotation.get("ignore", False):
        return "annotations marked to be ignored"
    if across < 1 or down < 1 or annotation["area"] <= 0:
        return "annotations without an area"
    if inside_across <= 0 or inside_down <= 0:
        return "annotations outside of their image"
    if annotation["category_id"] not in listed:
        return "annotations of a category that is not listed"
    return None
