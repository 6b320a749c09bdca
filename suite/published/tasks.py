"""The tasks and the adapters that train them: ``baselines/tasks.yaml``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import PositiveInt, RootModel, model_validator

from suite.catalogue import Catalogue, collect, current, entries
from suite.contract import Python
from suite.errors import SuiteError, did_you_mean
from suite.strict import Strict
from suite.strict_yaml import parse, with_keys


class Task(Strict):
    """A task, and the adapter that trains and scores its models.

    Attributes:
        name: its key in the file, by which recipes and models refer to it.
        title: in words.
        adapter: the class (`suite.contract.Adapter`) as `suite.contract.load` takes it:
            ``tasks.module:Name``, or ``<paper>/<file>.py:Name`` for a file in a paper's folder.
        version: of the adapter; raised by its author when a change of its code changes results.
        packages: import names of the packages that affect results, besides torch, mmengine and mmcv.
    """

    name: str
    title: str
    adapter: Python
    version: PositiveInt
    packages: list[str] = []


class _Tasks(RootModel[dict[str, Task]]):
    """One file of tasks; the name of an entry is its key."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, raw: Any) -> Any:
        return with_keys(raw, always=["name"])


def load_tasks() -> dict[str, Task]:
    """The tasks by name; read once per catalogue.

    Raises:
        SuiteError: a file breaks the schema, or two have the same task; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, Task]:
    return read_tasks(*catalogue)


def read_tasks(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, Task]:
    """The tasks of a catalogue; see `load_tasks`."""
    files = Catalogue(shared, outside).files("tasks.yaml")
    return entries(collect("task", files, lambda path: parse(_Tasks, path).root))


def find_task(name: str) -> Task:
    """The task with this name.

    Raises:
        SuiteError: there is none; names the closest ones.
    """
    known = load_tasks()
    if name not in known:
        raise SuiteError(f"unknown task {name!r}; {did_you_mean(name, known)}")
    return known[name]
