"""The training protocols of the published numbers: ``protocol.yaml``, shared and per paper.

A protocol is a nested dictionary of settings, with the names under which a run reads them back from the built
objects (`tasks.training.effective_protocol`). Here it is flat: ``train_transforms.Resize.scale``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from suite.catalogue import Catalogue, collect, current, entries
from suite.errors import did_you_mean
from suite.published.claims import Claim, Paper
from suite.published.recipes import Recipe
from suite.strict import Strict, first_fault
from suite.strict_yaml import parse, refuse

_WHOLE = ("learning_rates", "exceptions")
"""Settings that are compared as a whole: a part that is not stated counts as absent."""


class _WarmUp(Strict):
    start: NonNegativeFloat
    iterations: PositiveInt | None = None
    epochs: PositiveInt | None = None
    power: PositiveFloat = 1
    constant: bool = False


class _Cosine(Strict):
    to: NonNegativeFloat
    until: PositiveInt | None = None


class _Poly(Strict):
    power: PositiveFloat
    to: NonNegativeFloat


class _Shape(Strict):
    """A learning rate schedule as documents state it; see `learning_rates`."""

    warmup: _WarmUp | None = None
    steps: list[PositiveInt] | None = None
    factor: PositiveFloat | None = None
    every_epoch: PositiveFloat | None = None
    cosine: _Cosine | None = None
    poly: _Poly | None = None

    @model_validator(mode="after")
    def _falls_in_one_way(self) -> _Shape:
        ways = [way for way in ("steps", "every_epoch", "cosine", "poly") if getattr(self, way) is not None]
        if len(ways) != 1 or (self.steps is None) != (self.factor is None):
            raise ValueError("needs one of steps with factor, every_epoch, cosine or poly")
        return self


def _with_a_known_shape(settings: dict[str, Any]) -> dict[str, Any]:
    if "learning_rates" in settings:
        try:
            _Shape.model_validate(settings["learning_rates"])
        except ValidationError as error:
            place, first = first_fault(error)
            where = f"learning_rates.{place}".removesuffix(".")
            raise ValueError(
                f"{where}: {first['msg']}; write a shape as baselines/protocol.yaml does"
            ) from None
    return settings


class Group(Strict):
    """Settings that one document states.

    Attributes:
        source: the document.
        uses: groups that this one builds on.
        settings: nested; None for a setting that is not used, such as gradient clipping.
    """

    source: str
    uses: list[str] = []
    settings: Annotated[dict[str, Any], AfterValidator(_with_a_known_shape)]


class KnownDeparture(Strict):
    """A known departure from the published settings.

    Attributes:
        models: students it concerns.
        methods: names of the methods that it concerns; if empty, all trainings of these students.
        settings: flat names; each includes the settings nested in it.
        ours: flat name -> the value used instead; a run with another value is not covered by this departure.
            Settings that are not listed here may have any value.
        why: what is done instead, and why that is accepted.
    """

    models: list[str]
    methods: list[str] = []
    settings: list[str]
    ours: dict[str, Any] = {}
    why: str

    @model_validator(mode="after")
    def _has_values_of_its_settings(self) -> KnownDeparture:
        for name in self.ours:
            if name not in self.settings:
                raise ValueError(f"{name!r} is not among the settings of this departure; add it to them")
        return self

    def concerns(self, student: str, method: str | None) -> bool:
        """Whether it applies to a training of this student with this method."""
        return student in self.models and (not self.methods or method in self.methods)


class Protocols(Strict):
    """One file, or all of them together. A file may refer to groups of another.

    Attributes:
        groups: by name.
        models: model -> the groups of its training without distillation.
        methods: method of ``suite/conf/method`` -> task -> the groups that distillation adds.
        recipes: recipe -> the groups that it adds to those.
        departures: accepted differences.
        names: loss -> published name of a hyper-parameter -> flat name of the setting.
        varied: claim -> the settings that it changes in the claim whose settings it uses.
    """

    groups: dict[str, Group] = {}
    models: dict[str, list[str]] = {}
    methods: dict[str, dict[str, list[str]]] = {}
    recipes: dict[str, list[str]] = {}
    departures: list[KnownDeparture] = []
    names: dict[str, dict[str, str]] = {}
    varied: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Stated:
    """A published setting.

    Attributes:
        value: its value; None if it is not used.
        source: the document that states it.
    """

    value: Any
    source: str


def load_protocols() -> Protocols:
    """The published protocols of all files; read once per catalogue.

    Raises:
        SuiteError: a file breaks its schema, repeats an entry of another, or names an unknown group; names
            file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> Protocols:
    return read_protocols(*catalogue)


def read_protocols(shared: Path, outside: tuple[Path, ...] = ()) -> Protocols:
    """Reads ``protocol.yaml`` of a folder laid out like ``baselines/`` and of all paper folders.

    Raises:
        SuiteError: as `load_protocols`.
    """
    files = Catalogue(shared, outside).files("protocol.yaml")
    parts = {path: parse(Protocols, path) for path in files}
    merged: dict[str, Any] = {"departures": [entry for part in parts.values() for entry in part.departures]}
    for section in ("groups", "models", "methods", "recipes", "names", "varied"):
        merged[section] = _merged(section, parts)
    protocols = Protocols.model_construct(**merged)
    for path, part in parts.items():
        for location, groups in _named(part):
            for name in groups:
                if name not in protocols.groups:
                    refuse(path, location, f"no group {name!r}; {did_you_mean(name, protocols.groups)}")
        for name in part.groups:
            if name in _used_by(protocols, name):
                refuse(
                    path,
                    ("groups", name, "uses"),
                    f"group {name!r} uses itself, directly or through others; break the cycle",
                )
    return protocols


def _used_by(protocols: Protocols, name: str) -> set[str]:
    """All groups that a group builds on, directly or through others."""
    found: set[str] = set()
    left = list(protocols.groups[name].uses)
    while left:
        used = left.pop()
        if used not in found:
            found.add(used)
            left += protocols.groups[used].uses
    return found


def _merged(section: str, parts: Mapping[Path, Protocols]) -> dict[str, Any]:
    """One section, merged from all files.

    Raises:
        SuiteError: two files have the same entry in it; names both places.
    """
    found = collect(f"{section} entry", parts, lambda path: getattr(parts[path], section), (section,))
    return entries(found)


def _named(protocols: Protocols) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Every location that names groups, with the groups."""
    for name, group in protocols.groups.items():
        yield ("groups", name, "uses"), group.uses
    for section in ("models", "recipes"):
        for name, groups in getattr(protocols, section).items():
            yield (section, name), groups
    for name, tasks in protocols.methods.items():
        for task, groups in tasks.items():
            yield ("methods", name, task), groups


def published_training(protocols: Protocols, name: str, recipe: Recipe) -> dict[str, Stated]:
    """The published settings of a recipe's training: the student's schedule and data, and what a method adds.

    Args:
        protocols: from `load_protocols`.
        name: id of the recipe.
        recipe: of a model trained alone, or of a distilled student.
    """
    groups = list(protocols.models.get(recipe.student, []))
    if recipe.method:
        groups += protocols.methods.get(recipe.method, {}).get(recipe.task, [])
        groups += protocols.recipes.get(name, [])
    found: dict[str, Stated] = {}
    for group in groups:
        _add(found, protocols, group)
    # Taps exist only in distillation.
    return (
        found if recipe.method else {name: of for name, of in found.items() if not name.startswith("taps.")}
    )


def _add(found: dict[str, Stated], protocols: Protocols, name: str) -> None:
    group = protocols.groups[name]
    for used in group.uses:
        _add(found, protocols, used)
    for key, value in flatten(group.settings).items():
        # A value for a whole setting replaces values for its parts, and vice versa.
        for other in [other for other in found if _inside(other, key) or _inside(key, other)]:
            del found[other]
        found[key] = Stated(value, group.source)


def _inside(name: str, other: str) -> bool:
    return name != other and name.startswith(f"{other}.")


def published_distillation(
    protocols: Protocols, paper: Paper, claim: Claim, recipe: Recipe, losses: Collection[str]
) -> dict[str, Stated]:
    """The published settings of a claim's distillation: hyper-parameters, teacher, inheriting.

    Args:
        protocols: from `load_protocols`.
        paper: the claim's.
        claim: with a method.
        recipe: the claim's; it says whether the student inherits the teacher's neck and head.
        losses: names of the losses of its recipe.
    """
    where: str = claim.follows or next(iter(claim.hyperparameters), "paper")
    source = f"{claim.settings_of or claim.id}, {where.replace('_', ' ')}"
    names = {key: value for loss in losses for key, value in protocols.names.get(loss, {}).items()}
    found = {"inherits": Stated(recipe.inherit, f"recipe {claim.recipe}")}
    if claim.teacher:
        found["teacher.name"] = Stated(claim.teacher, f"teacher of {claim.id}")
    for name, value in paper.settings(claim).items():
        # A word may be followed by its explanation.
        plain = value.split()[0] if isinstance(value, str) else value
        target = names.get(name)
        if target and (not target.startswith("losses.") or target.split(".")[1] in losses):
            found[target] = Stated(plain, source)
    for name, value in flatten(protocols.varied.get(claim.id, {})).items():
        found[name] = Stated(value, f"what {claim.id} varies")
    return found


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings to dotted names; settings that are compared as a whole stay nested."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and name not in _WHOLE:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def learning_rates(shape: Mapping[str, Any], points: int) -> list[float]:
    """The learning rate at the start of every epoch (or tenth of the iterations), relative to its base value.

    Args:
        shape: `warmup` (`start`, and a length in `epochs` or in `iterations` of the first epoch; it rises
            with a `power`, by default linearly, or stays `constant`) and one of: `steps` with `factor`;
            `every_epoch`, a factor; `cosine` (`to`, `until` an epoch) over the epochs after the warm-up;
            `poly` (`power`, `to`) over all epochs.
        points: number of epochs, or of tenths.
    """
    warmup = shape.get("warmup", {})
    begin = warmup.get("epochs", 0)
    rates = [_rate(shape, epoch, begin, points) for epoch in range(points)]
    for epoch in range(begin):
        risen = 0 if warmup.get("constant") else (epoch / begin) ** warmup.get("power", 1)
        rates[epoch] = warmup["start"] + (1 - warmup["start"]) * risen
    if "iterations" in warmup:
        rates[0] = warmup["start"]
    return rates


def _rate(shape: Mapping[str, Any], epoch: int, begin: int, points: int) -> float:
    if "steps" in shape:
        return float(shape["factor"] ** sum(epoch >= step for step in shape["steps"]))
    if "every_epoch" in shape:
        return float(shape["every_epoch"] ** epoch)
    if "cosine" in shape:
        to, until = shape["cosine"]["to"], shape["cosine"].get("until", points)
        passed = min(max(0, epoch - begin) / (until - begin), 1)
        return float(to + (1 - to) * (1 + math.cos(math.pi * passed)) / 2)
    to, power = shape["poly"]["to"], shape["poly"]["power"]
    return float(to + (1 - to) * (1 - epoch / points) ** power)
