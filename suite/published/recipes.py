"""Recipes, which say how to reproduce a number: ``recipes.yaml`` in the folder of each paper."""

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
"""A Hydra override of the method or its taps; a recipe may not override the profile or the data."""


class Recipe(Strict):
    """The choices in Hydra groups that reproduce a number.

    Attributes:
        task: choice in the group `task`.
        student: the model that is trained and scored; choice in `model`.
        teacher: the model that is distilled from; choice in `model`.
        method: the distillation method; choice in `method`.
        inherit: whether the student's neck and head start from the teacher's.
        title: the method's name in tables, if it differs from the title in the method's file.
        overrides: further Hydra overrides of the distilled arm, if it departs from its method's defaults.
    """

    task: str
    student: str
    teacher: str | None = None
    method: str | None = None
    inherit: bool = False
    title: str | None = None
    # YAML has only lists, so that strict mode would refuse them for a tuple.
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
        """All Hydra overrides of its distilled arm: inheriting, title, and its own overrides."""
        inherit = ("method.inherit=true",) if self.inherit else ()
        title = (f"method.title={_quoted(self.title)}",) if self.title else ()
        return (*inherit, *title, *self.overrides)


def _quoted(text: str) -> str:
    """Quotes a text as a value of a Hydra override."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class _Recipes(RootModel[dict[str, Recipe]]):
    """One file of recipes."""


def load_recipes() -> dict[str, Recipe]:
    """All recipes by id; read once per catalogue.

    Raises:
        SuiteError: a file is broken, two have the same recipe, or one names a choice that its Hydra group
            does not offer; with file and line.
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
    """All recipes by id, without checking that the Hydra groups offer what they choose.

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
    """Pairs of a Hydra group and the recipe's choice in it; student and teacher are both in `model`."""
    models = [("model", recipe.student), ("model", recipe.teacher)]
    chosen = [("task", recipe.task), *models, ("method", recipe.method)]
    return [(group, choice) for group, choice in chosen if choice is not None]


def group_choices(group: str) -> tuple[str, ...]:
    """The choices that a Hydra group offers: the files of its folder in all config folders.

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
"""The default profile: it needs only the embedded data."""


def check_profile(name: str) -> str:
    """Returns `name` if it is a profile; only the suite itself defines profiles, not paper folders.

    Raises:
        SuiteError: there is no such profile.
    """
    known = _choices_in("profile", (paths.CONF,))
    if name not in known:
        raise SuiteError(f"unknown profile {name!r}: {did_you_mean(name, known)}")
    return name


def trained_alone(recipe: Recipe, model: str) -> Recipe:
    """The recipe for training `model` without distillation, as for a teacher or a baseline.

    The student of a recipe is trained on the recipe's task. A teacher has a task of its own: a detector may
    learn from an instance segmentation model.

    Raises:
        SuiteError: the model is not in ``baselines/models.yaml``.
    """
    if model == recipe.student:
        return Recipe(task=recipe.task, student=model)
    models = load_models()
    if model not in models:
        raise SuiteError(f"no model {model!r} in baselines/models.yaml; {did_you_mean(model, models)}")
    return Recipe(task=models[model].task, student=model)
