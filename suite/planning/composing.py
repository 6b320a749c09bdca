"""Composes a recipe with a profile and overrides into everything that an adapter needs, by Hydra."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from suite.catalogue import Catalogue, conf_folders, current
from suite.contract import (
    ComposedData,
    ComposedMethod,
    ComposedModel,
    ComposedRecipe,
    Departure,
    Resources,
)
from suite.errors import SuiteError
from suite.planning.overrides import Override, parse_overrides
from suite.published.models import load_models
from suite.published.recipes import Recipe, check_profile, group_choices
from suite.published.tasks import find_task

_DERIVED = {
    "devices": ("accumulation", "norm_batch"),
    "batch_size": ("accumulation", "norm_batch"),
    "precision": (),
}
"""Resource -> settings of the published protocol that follow from it, beside the one of its own name."""

_SETTINGS = {
    "lr": ("learning_rate",),
    "momentum": ("momentum",),
    "betas": ("betas",),
    "weight_decay": ("weight_decay", "exceptions"),
    "clip_grad": ("gradient_clip",),
    "max_norm": ("gradient_clip",),
    "max_epochs": ("epochs", "iterations", "updates", "learning_rates"),
    "max_iters": ("iterations", "updates", "learning_rates"),
    "param_scheduler": ("learning_rates", "schedulers"),
    "fingerprint": ("train_images", "test_images"),
    "inherit": ("inherits",),
    "task_loss_weight": ("task_loss_weight",),
}
"""Last word of an override's key -> settings of the published protocol that it changes."""


def compose(recipe: Recipe, profile: str, overrides: Iterable[str] = ()) -> ComposedRecipe:
    """Composes a recipe; once in a process for the same choices and overrides.

    Args:
        recipe: the choices.
        profile: `smoke`, `mini` or `paper`.
        overrides: of settings, applied last (`suite.planning.overrides`).

    Returns:
        The composed recipe. Where the data shrink the feature maps, ``data.scales`` says how many times.

    Raises:
        SuiteError: an override names something that does not exist or asks for resources that there cannot
            be, or a value is missing.
    """
    return _compose(recipe, check_profile(profile), parse_overrides(overrides), current())


@functools.lru_cache(maxsize=4096)
def _compose(recipe: Recipe, profile: str, overrides: tuple[Override, ...], _: Catalogue) -> ComposedRecipe:
    # Only who composes needs Hydra, which takes long to import.
    from suite.planning.hydra_config import compose_config

    # The catalogue tells compositions apart: its papers have configs, models and tasks of their own.
    chosen = [f"profile={profile}", f"task={recipe.task}", f"model@student={recipe.student}"]
    if recipe.teacher:
        chosen.append(f"model@teacher={recipe.teacher}")
    if recipe.method:
        chosen.append(f"method={recipe.method}")
    if own := _own_data(recipe, profile):
        chosen.append(f"data={own}")
    asked = tuple(override.text for override in overrides)
    raw = compose_config((*chosen, *recipe.overrides_of_method()), asked, conf_folders())
    promised, scale = raw["profile"], raw["profile"]["scale"]
    devices = int(raw["student"][scale].get("devices", promised.get("devices", 1)))
    resources = _resources(raw, devices)
    try:
        return ComposedRecipe(
            task=recipe.task,
            adapter=find_task(recipe.task).adapter,
            profile=profile,
            scale=scale,
            comparable=promised["comparable"],
            teacher_seed=promised["teacher_seed"],
            student=_at_scale(raw["student"], scale),
            teacher=_at_scale(raw["teacher"], scale) if recipe.teacher else None,
            method=_method_at_scale(raw["method"], scale) if recipe.method else None,
            data=_of_data(raw["data"], raw["student"][scale]),
            schedule=raw["schedule"]["overrides"],
            devices=devices,
            resources=resources,
            departures=[
                *_of_profile(promised),
                *_scaled_weights(raw),
                *_of_resources(resources, devices),
                *(entry for override in overrides for entry in _of_override(override)),
            ],
        )
    except ValidationError as error:
        raise SuiteError(_complaint(error, recipe, overrides)) from None


def _complaint(error: ValidationError, recipe: Recipe, overrides: tuple[Override, ...]) -> str:
    """What is wrong with a composed recipe, as one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    asked = " ".join(override.text for override in overrides)
    by = f"override {asked!r}" if asked else f"the files of {recipe.student}, {recipe.method or 'no method'}"
    return f"{by}: {place} cannot be {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _own_data(recipe: Recipe, profile: str) -> str | None:
    """The choice of `data` for a student of another data set than its task's, where the profile has it."""
    model = load_models().get(recipe.student)
    choice = f"{profile}-{model.dataset}" if model and model.dataset else None
    return f"{recipe.task}/{choice}" if choice in group_choices(f"data/{recipe.task}") else None


def _of_data(data: dict[str, Any], student: dict[str, Any]) -> ComposedData:
    found = {key: data[key] for key in ComposedData.model_fields if key in data}
    # A model may train on images that others leave out.
    own = {"images": found["images"] | student["images"]} if "images" in student else {}
    return ComposedData(**found | own)


def _at_scale(model: dict[str, Any], scale: str) -> ComposedModel:
    own = model[scale]
    return ComposedModel(
        **{key: model[key] for key in ("name", "kind", "zoo") if key in model},
        taps={**model.get("taps", {}), **own.get("taps", {})},
        overrides=own.get("overrides", {}),
        config=own.get("config", {}),
    )


def _method_at_scale(method: dict[str, Any], scale: str) -> ComposedMethod:
    found = {key: value for key, value in method.items() if key != "published"}
    own = method.get("published", {}) if scale == "published" else {}
    return ComposedMethod(**found, config=own.get("config", {}))


def _of_profile(profile: dict[str, Any]) -> Iterator[Departure]:
    """What a profile says of itself."""
    for entry in profile["departures"]:
        yield Departure(kind="profile", declared_by=f"profile {profile['name']}", **entry)


def _resources(raw: dict[str, Any], published_devices: int) -> Resources:
    """The user's resources; what is as published is left out, so that it is no part of a run's identity.

    Raises:
        SuiteError: an override asks for resources that there cannot be, or where none are needed.
    """
    asked = {name: value for name, value in raw["resources"].items() if value is not None}
    if asked and raw["profile"]["scale"] != "published":
        raise SuiteError(
            f"resources.{next(iter(asked))}: profile {raw['profile']['name']} needs no more than there is; "
            "leave the override out, or ask for --profile paper"
        )
    try:
        found = Resources(**asked)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = first["loc"][0]
        remedy = "float16 or bfloat16" if name == "precision" else "a whole number of at least 1"
        raise SuiteError(f"resources.{name}={first['input']}: name {remedy}") from None
    return found if found.devices != published_devices else found.model_copy(update={"devices": None})


def _of_resources(resources: Resources, published_devices: int) -> Iterator[Departure]:
    """The departures that a user's resources are: each for its own setting, and for those that follow."""
    published = {"devices": published_devices, "precision": "float32"}
    for name, value in resources.model_dump(exclude_none=True).items():
        declared = f"resources.{name}={value}"
        yield Departure(
            kind="resources", setting=name, published=published.get(name), ours=value, declared_by=declared
        )
        for derived in _DERIVED[name]:
            yield Departure(kind="resources", setting=derived, declared_by=declared)


def _scaled_weights(raw: dict[str, Any]) -> Iterator[Departure]:
    """The departure of a method whose loss weights follow the size of the feature maps."""
    losses = raw["method"].get("losses", {}).values()
    if "scales" in raw["data"] and any("scaled" in loss for loss in losses):
        yield Departure(
            kind="method",
            setting="losses",
            ours="loss weights multiplied for smaller feature maps",
            declared_by="data.scales",
        )


def _of_override(override: Override) -> Iterator[Departure]:
    """What of the published protocol an override changes, setting by setting; resources declare their own."""
    if override.is_resource:
        return
    words = override.key.split(".")
    if words[:2] == ["method", "losses"] and len(words) > 2:
        settings: tuple[str, ...] = (".".join(word for word in words[1:] if word != "arguments"),)
    else:
        settings = _SETTINGS.get(words[-1], (override.key,))
    for setting in settings:
        yield Departure(kind="override", setting=setting, ours=override.value, declared_by=override.text)
