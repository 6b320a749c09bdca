"""Data sets that are not there: of the published size, with their pipelines, and without a single image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATASETS


def stand_in(config: Mapping[str, Any], images: int) -> Any:
    """Builds a data set as its config says, apart from the annotations, which are not read.

    Args:
        config: of any data set on mmengine's `BaseDataset`, or of one around another.
        images: how many images it pretends to have.

    Returns:
        The data set; its length and its pipeline can be asked for, its images cannot.
    """
    settings = dict(config)
    if isinstance(settings.get("dataset"), Mapping):
        return DATASETS.build({**settings, "dataset": stand_in(settings["dataset"], images)})
    dataset = DATASETS.build({**settings, "lazy_init": True})
    dataset.serialize_data = False
    dataset.data_list = [{}] * images
    dataset._fully_initialized = True
    return dataset
