"""The networks that claims and recipes name: ``baselines/models.yaml``."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import RootModel

from suite.catalogue import Catalogue, collect, current, entries
from suite.published.datasets import read_dataset_names
from suite.published.names import DatasetName, Known, TaskName
from suite.published.tasks import read_tasks
from suite.strict import Strict
from suite.strict_yaml import parse


class Model(Strict):
    """A network that is trained, or that teaches.

    Attributes:
        title: its name in tables.
        task: what it does.
        dataset: the data set of its published training, if it is not the one of its task's other models.
    """

    title: str
    task: TaskName
    dataset: DatasetName | None = None


class _Models(RootModel[dict[str, Model]]):
    """One file of models."""


def load_models() -> dict[str, Model]:
    """The models by id; read once per catalogue.

    Raises:
        SuiteError: a file is missing or breaks the schema, or two have the same model; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, Model]:
    return read_models(*catalogue)


def read_models(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, Model]:
    """The models of a catalogue; see `load_models`.

    Args:
        shared: laid out like ``baselines/``.
        outside: paper folders.
    """
    known: Known = {"task": read_tasks(shared, outside), "data set": read_dataset_names(shared, outside)}
    files = Catalogue(shared, outside).files("models.yaml")
    return entries(collect("model", files, lambda path: parse(_Models, path, known).root))
