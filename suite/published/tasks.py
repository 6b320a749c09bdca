"""Interim: replaced at merge."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import BaseModel, RootModel

from suite.paths import BASELINES
from suite.strict_yaml import parse


class Task(BaseModel):
    name: str = ""
    title: str
    adapter: str
    version: int
    packages: list[str] = []


@functools.cache
def load_tasks() -> dict[str, Task]:
    return parse(RootModel[dict[str, Task]], Path(BASELINES) / "tasks.yaml").root


def find_task(name: str) -> Task:
    return load_tasks()[name]
