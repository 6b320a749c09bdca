"""Composes a recipe, a profile and overrides with Hydra into everything that an adapter needs."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from suite.catalogue import Catalogue, conf_folders, current
from suite.contract import ComposedRecipe, Departure, Resources
from suite.errors import SuiteError, did_you_mean, printable
from suite.planning.composed_config import ComposedConfig, ProfileConfig
from suite.planning.overrides import Override, parse_overrides
from suite.published.models import load_models
from suite.published.recipes import Recipe, check_profile, group_choices
from suite.published.tasks import find_task
from suite.strict import first_fault

_DERIVED = {
    "devices": ("accumulation", "norm_batch"),
    "batch_size": ("accumulation", "norm_batch"),
    "precision": (),
}
"""Resource -> settings of the published protocol that follow from it, besides the one of the same name."""

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
    """Composes a recipe; the result is cached per process for the same choices and overrides.

    Args:
        recipe: the choices.
        profile: `smoke`, `mini` or `paper`.
        overrides: changes of settings, applied last (`suite.planning.overrides`).

    Returns:
        The composed recipe. If the data shrink the feature maps, ``data.scales`` gives the factors.

    Raises:
        SuiteError: an override names something that does not exist or requests invalid resources, or a value
            is missing.
    """
    return _compose(recipe, check_profile(profile), parse_overrides(overrides), current())


@functools.lru_cache(maxsize=4096)
def _compose(recipe: Recipe, profile: str, overrides: tuple[Override, ...], _: Catalogue) -> ComposedRecipe:
    # The catalogue is part of the cache key: its papers have configs, models and tasks of their own.
    chosen = _choices(recipe, profile)
    asked = tuple(override.text for override in overrides)
    try:
        found = _composed(recipe, profile, chosen, asked)
        scale = found.profile.scale
        student = found.student.at(scale)
        devices = student.devices or found.profile.devices
        resources = _resources(found, devices)
        composed = ComposedRecipe(
            task=recipe.task,
            adapter=find_task(recipe.task).adapter,
            profile=profile,
            scale=scale,
            comparable=found.profile.comparable,
            teacher_seed=found.profile.teacher_seed,
            student=found.student.composed(scale),
            teacher=found.teacher.composed(scale) if found.teacher else None,
            method=found.method.composed(scale) if found.method else None,
            data=found.data.composed(student.images),
            schedule=found.schedule.overrides,
            devices=devices,
            resources=resources,
            departures=[
                *_of_profile(found.profile),
                *_scaled_weights(found),
                *_of_resources(resources, devices),
                *(entry for override in overrides for entry in _of_override(override)),
            ],
        )
        _refuse_other_kinds(composed, recipe, overrides)
        return composed
    except ValidationError as error:
        if overrides:
            # If the files are at fault, this raises their error; otherwise the overrides are at fault.
            compose(recipe, profile)
        raise SuiteError(_complaint(error, recipe, chosen, overrides)) from None


def _choices(recipe: Recipe, profile: str) -> tuple[str, ...]:
    """The choices of a recipe as Hydra overrides."""
    chosen = [f"profile={profile}", f"task={recipe.task}", f"model@student={recipe.student}"]
    if recipe.teacher:
        chosen.append(f"model@teacher={recipe.teacher}")
    if recipe.method:
        chosen.append(f"method={recipe.method}")
    if own := _own_data(recipe, profile):
        chosen.append(f"data={own}")
    return tuple(chosen)


def _composed(
    recipe: Recipe, profile: str, chosen: tuple[str, ...], asked: tuple[str, ...]
) -> ComposedConfig:
    """The composed config, checked as a whole before anything reads it.

    Raises:
        ValidationError: something in it is missing or has the wrong type.
        SuiteError: it does not compose, or changes what a profile promises.
    """
    # Hydra takes long to import, and only composing needs it.
    from suite.planning.hydra_config import compose_config, find_place

    raw = compose_config((*chosen, *recipe.overrides_of_method()), asked, conf_folders())
    # Groups that the recipe does not use are never read, so they need not be valid.
    unread = {name for name in ("teacher", "method") if getattr(recipe, name) is None}
    found = ComposedConfig.model_validate(
        {key: value for key, value in raw.items() if key not in unread},
        context={"student": recipe.student, "teacher": recipe.teacher, "method": recipe.method},
    )
    # Published data and schedules refer to no student, so the profile can be composed without one.
    alone = ("model@student=none", "data=classification/paper", "schedule=classification/paper")
    promised = compose_config((f"profile={profile}", "task=classification", *alone))["profile"]
    keys = raw["profile"].keys() | promised.keys()
    if changed := sorted(key for key in keys if raw["profile"].get(key) != promised.get(key)):
        place = find_place(chosen, ("profile", changed[0]), conf_folders())
        raise SuiteError(
            f"{place}: profile.{changed[0]} differs from the profile {profile!r}: what a profile promises "
            "cannot be changed; leave that out"
        )
    return found


def _refuse_other_kinds(composed: ComposedRecipe, recipe: Recipe, overrides: tuple[Override, ...]) -> None:
    """Refuses overrides that turn a numeric hyper-parameter of a loss into something else.

    Which arguments a loss accepts is only known when it is built; that a number must stay one is known now.

    Raises:
        SuiteError: names the override.
    """
    about = [override.text for override in overrides if override.root == "method"]
    if not about or composed.method is None:
        return
    before = compose(recipe, composed.profile).method
    for name, loss in composed.method.losses.items():
        known = before.losses[name].arguments if before and name in before.losses else {}
        for argument, value in loss.arguments.items():
            if _is_number(known.get(argument)) and not _is_number(value):
                raise SuiteError(
                    f"override {' '.join(about)!r}: method.losses.{name}.arguments.{argument} cannot be "
                    f"{printable(repr(value), 80)}: the method has a number there; write a number"
                )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _complaint(
    error: ValidationError, recipe: Recipe, chosen: tuple[str, ...], overrides: tuple[Override, ...]
) -> str:
    """Says in one line what is wrong with a composed recipe, and which override or file is at fault."""
    from suite.planning.hydra_config import find_place

    place, first = first_fault(error)
    root = str(first["loc"][0]) if first["loc"] else ""
    of_recipe = list(recipe.overrides_of_method()) if root == "method" else []
    asked = [entry.text for entry in overrides]
    at_fault = [entry.text for entry in overrides if entry.root == root] or asked or of_recipe
    by = (
        f"override {printable(repr(' '.join(at_fault)))}"
        if at_fault
        else find_place(chosen, first["loc"], conf_folders())
    )
    if first["type"] == "missing":
        return f"{by}: {place} is missing; give it a value"
    if first["type"] == "value_error":
        return f"{by}: {place}{': ' if place else ''}{first['ctx']['error']}"
    told = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    return f"{by}: {place} cannot be {printable(repr(first['input']), 80)}: {told}; write such a value"


def _own_data(recipe: Recipe, profile: str) -> str | None:
    """The choice of `data` for a student whose data set is not its task's default, if the profile has one."""
    model = load_models().get(recipe.student)
    choice = f"{profile}-{model.dataset}" if model and model.dataset else None
    return f"{recipe.task}/{choice}" if choice in group_choices(f"data/{recipe.task}") else None


def _of_profile(profile: ProfileConfig) -> Iterator[Departure]:
    """The departures that a profile declares."""
    for entry in profile.departures:
        yield Departure(kind="profile", declared_by=f"profile {profile.name}", **entry.model_dump())


def _resources(found: ComposedConfig, published_devices: int) -> Resources:
    """The user's resources; a published value is left out, so that it does not change a run's identity.

    Raises:
        SuiteError: an override requests resources that the profile does not need.
    """
    # Embedded data can be split among any number of devices; otherwise they fit the smallest machine.
    asked = found.resources.model_dump(exclude_none=True, exclude={"devices"})
    if asked and found.profile.scale != "published":
        raise SuiteError(
            f"resources.{next(iter(asked))}: profile {found.profile.name} needs no extra resources; leave "
            "the override out, or ask for --profile paper"
        )
    same = found.resources.devices == published_devices
    return found.resources.model_copy(update={"devices": None}) if same else found.resources


def _of_resources(resources: Resources, published_devices: int) -> Iterator[Departure]:
    """The departures that follow from a user's resources: each for its own setting, and for derived ones."""
    published = {"devices": published_devices, "precision": "float32"}
    for name, value in resources.model_dump(exclude_none=True).items():
        declared = f"resources.{name}={value}"
        yield Departure(
            kind="resources", setting=name, published=published.get(name), ours=value, declared_by=declared
        )
        for derived in _DERIVED[name]:
            yield Departure(kind="resources", setting=derived, declared_by=declared)


def _scaled_weights(found: ComposedConfig) -> Iterator[Departure]:
    """The departure of a method whose loss arguments are scaled to smaller feature maps and boxes.

    Raises:
        SuiteError: an argument is scaled by something that the data give no factor for.
    """
    losses = found.method.losses if found.method else {}
    if found.data.scales is None or not any(loss.scaled for loss in losses.values()):
        return
    for name, loss in losses.items():
        for argument, kind in loss.scaled.items():
            if kind not in found.data.scales:
                raise SuiteError(
                    f"loss {name!r} scales {argument!r} by {kind!r}, which data {found.data.name!r} do not "
                    f"have: {did_you_mean(kind, found.data.scales)}"
                )
    yield Departure(
        kind="method",
        setting="losses",
        ours="loss weights multiplied for smaller feature maps",
        declared_by="data.scales",
    )


def _of_override(override: Override) -> Iterator[Departure]:
    """One departure per setting of the published protocol that an override changes; none for resources."""
    if override.is_resource:
        return
    words = override.key.split(".")
    if words[:2] == ["method", "losses"] and len(words) > 2:
        settings: tuple[str, ...] = (".".join(word for word in words[1:] if word != "arguments"),)
    else:
        settings = _SETTINGS.get(words[-1], (override.key,))
    for setting in settings:
        yield Departure(kind="override", setting=setting, ours=override.value, declared_by=override.text)
