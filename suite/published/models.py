"""The networks that claims and recipes name: ``baselines/models.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel

from suite.strict_yaml import parse

Task = Literal["classification", "detection", "instance_segmentation", "semantic_segmentation"]
Dataset = Literal["imagenet-1k", "cifar-100", "coco-2017", "cityscapes"]


class Model(BaseModel):
    """A network that is trained or teaches.

    Attributes:
        title: its name in tables.
        task: what it does.
        dataset: the data of its published training, where they are others than those of its task's models.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str
    task: Task
    dataset: Dataset | None = None


def read_models(folder: Path) -> dict[str, Model]:
    """The models of ``models.yaml`` by id.

    Args:
        folder: laid out like ``baselines/``.

    Raises:
        SuiteError: the file is missing or breaks the schema; names the line.
    """
    return parse(RootModel[dict[str, Model]], folder / "models.yaml").root
