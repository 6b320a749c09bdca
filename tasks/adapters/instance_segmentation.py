"""Instance segmentation with mmdet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tasks.adapters.detection import DetectionAdapter


class InstanceSegmentationAdapter(DetectionAdapter):
    """mmdet's instance segmenters on COCO's layout, scored by AP and AR of boxes and of masks."""

    kinds: ClassVar[Mapping[str, str]] = {"bbox": "box", "segm": "mask"}
