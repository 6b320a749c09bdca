"""Recipes: how a number is made. Read from ``baselines/recipes/``."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel, model_validator

from suite.errors import SuiteError, did_you_mean
from suite.paths import BASELINES, CONF
from suite.published.models import Model, read_models
from suite.strict_yaml import parse, refuse


class Recipe(BaseModel):
    """Which choices of the Hydra groups make a number.

    Attributes:
        task: choice of the group `task`.
        student: the model that is trained and scored; choice of `model`.
        teacher: the model that is distilled from; choice of `model`.
        method: how; choice of `method`.
        overrides: Hydra overrides of the distilled arm, where a row departs from its method's defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    student: str
    teacher: str | None = None
    method: str | None = None
    overrides: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _teacher_has_a_method(self) -> Recipe:
        if self.teacher and not self.method:
            raise ValueError(f"teacher {self.teacher!r} without a method; name the method or leave it out")
        return self


class _Recipes(RootModel[dict[str, Recipe]]):
    """One file of recipes."""


def load_recipes(folder: Path = BASELINES / "recipes") -> dict[str, Recipe]:
    """All recipes by id.

    Raises:
        SuiteError: a file is broken, has a recipe of another file, or names a choice that no Hydra group
            offers; with file and line.
    """
    recipes = _recipes_of(folder)
    for name, (path, recipe) in recipes.items():
        for group, choice in _choices(recipe):
            offered = group_choices(group)
            if choice not in offered:
                known = did_you_mean(choice, offered)
                refuse(path, (name,), f"no {group} {choice!r} in suite/conf; {known}")
    return {name: recipe for name, (_, recipe) in recipes.items()}


def read_recipes(folder: Path) -> dict[str, Recipe]:
    """All recipes by id as their files have them, whether or not Hydra knows what they choose.

    Raises:
        SuiteError: a file is broken or has a recipe of another file; with file and line.
    """
    return {name: recipe for name, (_, recipe) in _recipes_of(folder).items()}


def _recipes_of(folder: Path) -> dict[str, tuple[Path, Recipe]]:
    """Every recipe by its id, with its file."""
    recipes: dict[str, tuple[Path, Recipe]] = {}
    for path in sorted(folder.glob("*.yaml")):
        for name, recipe in parse(_Recipes, path).root.items():
            if name in recipes:
                other = recipes[name][0].name
                refuse(path, (name,), f"{other} has a recipe {name!r} too; give one of them another id")
            recipes[name] = (path, recipe)
    return recipes


def _choices(recipe: Recipe) -> list[tuple[str, str]]:
    models = [("model", recipe.student), ("model", recipe.teacher)]
    chosen = [("task", recipe.task), *models, ("method", recipe.method)]
    return [(group, choice) for group, choice in chosen if choice is not None]


@functools.cache
def group_choices(group: str) -> tuple[str, ...]:
    """What a Hydra group offers: the files of its folder."""
    return tuple(sorted(path.stem for path in (CONF / group).glob("*.yaml")))


def check_profile(name: str) -> str:
    """Returns `name`.

    Raises:
        SuiteError: there is no such profile.
    """
    if name not in group_choices("profile"):
        raise SuiteError(f"unknown profile {name!r}: {did_you_mean(name, group_choices('profile'))}")
    return name


def trained_alone(recipe: Recipe, model: str) -> Recipe:
    """The recipe of `model` without any distillation, as for a teacher or a baseline.

    The student of a recipe is trained on the recipe's task. A teacher has a task of its own: a detector may
    learn from an instance segmenter.

    Raises:
        SuiteError: ``baselines/models.yaml`` does not have the model.
    """
    if model == recipe.student:
        return Recipe(task=recipe.task, student=model)
    models = known_models()
    if model not in models:
        raise SuiteError(f"no model {model!r} in baselines/models.yaml; {did_you_mean(model, models)}")
    return Recipe(task=models[model].task, student=model)


@functools.cache
def known_models() -> dict[str, Model]:
    """The networks of ``baselines/models.yaml`` by id; read once a process."""
    return read_models(BASELINES)
