"""Data sets of semantic segmentation as mmseg reads them; importing this module registers them."""

from __future__ import annotations

from typing import Any, ClassVar

from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from tasks.embedded.digit_streets import CLASSES


@DATASETS.register_module()
class DigitStreets(CityscapesDataset):
    """Digit streets: Cityscapes' layout with other classes; see `tasks.embedded.digit_streets`."""

    METAINFO: ClassVar[dict[str, Any]] = {
        "classes": CLASSES,
        "palette": [
            [236, 230, 214],
            [128, 64, 128],
            [244, 35, 232],
            [70, 70, 70],
            [102, 102, 156],
            [190, 153, 153],
            [250, 170, 30],
            [107, 142, 35],
            [70, 130, 180],
            [220, 20, 60],
            [0, 0, 142],
        ],
    }
