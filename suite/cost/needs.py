"""What a plan needs besides hours: data sets, disk space, teachers, and backbones to start from."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from suite.datasets import presence, read_published
from suite.planning.plan import Plan, Run
from suite.published.protocols import load_protocols, published_training
from suite.published.recipes import Recipe
from suite.published.weights import find_weights, read_backbones
from suite.store.downloads import cached


@dataclass(frozen=True)
class NeededData:
    """A data set that a plan trains on.

    Attributes:
        name: its name for `python -m suite data`.
        title: its name in texts.
        gigabytes: its size on disk; None for embedded data, whose size is negligible.
        presence: ``absent``, ``unverified`` or ``verified``; ``embedded`` data are built on first use.
        obtained: where it comes from.
    """

    name: str
    title: str
    gigabytes: float | None
    presence: Literal["absent", "unverified", "verified", "embedded"]
    obtained: str


def needed_data(plan: Plan) -> list[NeededData]:
    """The data sets of a plan, and whether they are present.

    Raises:
        SuiteError: the file of published data sets is damaged.
    """
    published = read_published()
    found = []
    for name in sorted({data_name(run) for run in plan.runs.values()}):
        if dataset := published.get(name):
            found.append(NeededData(name, dataset.title, dataset.gigabytes, presence(name), dataset.obtained))
        else:
            found.append(NeededData(name, name, None, "embedded", "built on first use"))
    return found


def data_name(run: Run) -> str:
    """The data set of a run under its name for `python -m suite data`; recipes have the folder name.

    Raises:
        SuiteError: the file of published data sets is damaged.
    """
    folder = run.recipe.data.name
    return next((name for name, dataset in read_published().items() if dataset.folder == folder), folder)


def free_gigabytes(folder: Path) -> float:
    """Free space, in 10^9 bytes, on the disk where a folder is or would be created."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


@dataclass(frozen=True)
class TeacherWeights:
    """A teacher of a plan that follows the published protocol, and where its weights come from.

    Attributes:
        model: the teacher.
        run_id: its run in the plan.
        released: id of the released checkpoint; None if none is published, so that the plan trains it.
        present: whether that checkpoint has been fetched.
        address: where it is published.
    """

    model: str
    run_id: str
    released: str | None
    present: bool
    address: str | None


def needed_teachers(plan: Plan) -> list[TeacherWeights]:
    """The teachers of a plan that follows the published protocol.

    Raises:
        SuiteError: the registry of weights is damaged.
    """
    teachers = {run.teacher for run in plan.runs.values()}
    return [
        _weights_of(run)
        for run in plan.runs.values()
        if run.run_id in teachers and run.recipe.scale == "published"
    ]


@dataclass(frozen=True)
class NeededBackbone:
    """Published weights that trainings of a plan start from.

    Attributes:
        id: its id for `python -m suite weights`.
        trainings: number of trainings that start from it.
        present: whether it has been fetched.
        address: where it is published.
    """

    id: str
    trainings: int
    present: bool
    address: str


def needed_backbones(plan: Plan) -> list[NeededBackbone]:
    """The published backbones that trainings with the published protocol start from, as sources state them.

    Raises:
        SuiteError: the file of protocols or the registry of backbones is damaged.
    """
    counts: Counter[str] = Counter()
    for run in plan.runs.values():
        if run.recipe.scale == "published" and run.trains:
            alone = Recipe(task=run.recipe.task, student=run.recipe.student.name)
            stated = published_training(load_protocols(), "", alone)
            counts.update(of.value for name, of in stated.items() if name.startswith("initialised_from."))
    known = read_backbones()
    return [
        NeededBackbone(name, count, cached(known[name]) is not None, known[name].address)
        for name, count in sorted(counts.items())
    ]


def _weights_of(teacher: Run) -> TeacherWeights:
    model = teacher.recipe.student.name
    if teacher.checkpoint is None or teacher.checkpoint.weights is None:
        return TeacherWeights(model, teacher.run_id, released=None, present=False, address=None)
    released = find_weights(teacher.checkpoint.weights)
    return TeacherWeights(
        model=model,
        run_id=teacher.run_id,
        released=released.id,
        present=cached(released) is not None,
        address=released.address,
    )
