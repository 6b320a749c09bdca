"""Recipes: how a number is made. Read from ``recipes.yaml`` in the folder of each paper."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, RootModel, model_validator

from suite import paths
from suite.catalogue import Catalogue, collect, conf_folders, current, entries
from suite.errors import SuiteError, did_you_mean
from suite.published.models import load_models
from suite.strict import Strict
from suite.strict_yaml import parse, refuse, shown


def _of_method(text: str) -> str:
    if not re.match(r"(\+{1,2}|~)?(method|(student|teacher)\.taps)\.", text):
        raise ValueError(
            f"override {text!r} changes neither the method nor the taps that it uses; leave it out"
        )
    return text


_OfMethod = Annotated[str, AfterValidator(_of_method)]
"""A Hydra override of the method: what a profile promises and what is trained on are not a recipe's own."""


class Recipe(Strict):
    """Which choices of the Hydra groups make a number.

    Attributes:
        task: choice of the group `task`.
        student: the model that is trained and scored; choice of `model`.
        teacher: the model that is distilled from; choice of `model`.
        method: how; choice of `method`.
        inherit: whether the student's neck and head start from the teacher's.
        title: the method's name in tables, where it is another than that of its file.
        overrides: further Hydra overrides of the distilled arm, where it departs from its method's defaults.
    """

    task: str
    student: str
    teacher: str | None = None
    method: str | None = None
    inherit: bool = False
    title: str | None = None
    # YAML has lists alone.
    overrides: Annotated[tuple[_OfMethod, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _says_of_a_method_only_what_has_one(self) -> Recipe:
        if self.teacher and not self.method:
            raise ValueError(f"teacher {self.teacher!r} without a method; name the method or leave it out")
        if self.title and not self.method:
            raise ValueError(f"title {self.title!r} without a method; name the method or leave it out")
        if self.inherit and not self.teacher:
            raise ValueError("there is no teacher to inherit from; name the teacher or leave 'inherit' out")
        return self

    def overrides_of_method(self) -> tuple[str, ...]:
        """All Hydra overrides of its distilled arm: inheriting, title, and what else it departs in."""
        inherit = ("method.inherit=true",) if self.inherit else ()
        title = (f"method.title={_quoted(self.title)}",) if self.title else ()
        return (*inherit, *title, *self.overrides)


def _quoted(text: str) -> str:
    """A text as a value of a Hydra override."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class _Recipes(RootModel[dict[str, Recipe]]):
    """One file of recipes."""


def load_recipes() -> dict[str, Recipe]:
    """All recipes by id; read once for a catalogue.

    Raises:
        SuiteError: a file is broken, two have the same recipe, or one names a choice that no Hydra group
            offers; with file and line.
    """
    return dict(_of(current()))


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, Recipe]:
    recipes = _recipes_of(catalogue)
    for name, (path, recipe) in recipes.items():
        for group, choice in _choices(recipe):
            offered = group_choices(group)
            if choice not in offered:
                refuse(
                    path,
                    (name, group),
                    f"no {group} {choice!r} in suite/conf; {did_you_mean(choice, offered)}",
                )
    return entries(recipes)


def read_recipes(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, Recipe]:
    """All recipes by id as their files have them, whether or not Hydra knows what they choose.

    Args:
        shared: laid out like ``baselines/``.
        outside: paper folders.

    Raises:
        SuiteError: a file is broken, or two have the same recipe; with file and line.
    """
    return entries(_recipes_of(Catalogue(shared, outside)))


def _recipes_of(catalogue: Catalogue) -> dict[str, tuple[Path, Recipe]]:
    """Every recipe by its id, with its file."""
    return collect("recipe", catalogue.in_papers("recipes.yaml"), lambda path: parse(_Recipes, path).root)


def _choices(recipe: Recipe) -> list[tuple[str, str]]:
    """Hydra group -> what the recipe chooses there; the teacher is chosen where the student is."""
    models = [("model", recipe.student), ("model", recipe.teacher)]
    chosen = [("task", recipe.task), *models, ("method", recipe.method)]
    return [(group, choice) for group, choice in chosen if choice is not None]


def group_choices(group: str) -> tuple[str, ...]:
    """What a Hydra group offers: the files of its folder in all folders of configs.

    Raises:
        SuiteError: two of these folders have the same file; names both.
    """
    return _choices_in(group, tuple(conf_folders()))


@functools.lru_cache(maxsize=256)
def _choices_in(group: str, folders: tuple[Path, ...]) -> tuple[str, ...]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            if path.stem in found:
                raise SuiteError(
                    f"{shown(path)}:1: {shown(found[path.stem])} is a {group} of that name too; "
                    "give one of them another"
                )
            found[path.stem] = path
    return tuple(sorted(found))


DEFAULT_PROFILE: Final = "mini"
"""The profile that is meant where none is named: it needs no data but the embedded ones."""


def check_profile(name: str) -> str:
    """Returns `name`. Profiles are the suite's own: a folder of papers cannot promise anything.

    Raises:
        SuiteError: there is no such profile.
    """
    known = _choices_in("profile", (paths.CONF,))
    if name not in known:
        raise SuiteError(f"unknown profile {name!r}: {did_you_mean(name, known)}")
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
    models = load_models()
    if model not in models:
        raise SuiteError(f"no model {model!r} in baselines/models.yaml; {did_you_mean(model, models)}")
    return Recipe(task=models[model].task, student=model)
