"""Composes a recipe with a profile and overrides into everything that an adapter needs, by Hydra."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
from typing import Any

from suite.errors import SuiteError, did_you_mean
from suite.paths import CONF, work_dir
from suite.published.recipes import Recipe, check_profile, group_choices, known_models

PRECISIONS = ("float16", "bfloat16")
"""What mixed precision may compute in; without it all is float32."""


OWN_MEANS = ("published_devices", "batch_size", "precision")
"""Keys of a composed recipe that tell how the user's means differ from the published ones."""


def compose(recipe: Recipe, profile: str, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Composes a recipe into everything an adapter needs to know, and nothing else.

    Args:
        recipe: the choices.
        profile: `smoke`, `mini` or `paper`.
        overrides: the user's Hydra overrides, applied last.

    Returns:
        A plain dictionary: `task`, `adapter`, `profile`, `scale`, `comparable`, `teacher_seed`,
        `departures`, `student` and `teacher` (`name`, `zoo`, `kind`, `taps`, `overrides` of the zoo's
        network, `config` for what is overridden beside it), `method` (its `config` too), `data`, `schedule`
        (`overrides` of the zoo's config). Where the data shrink the feature maps, `data.scales` says how many
        times (see `suite/conf/data/`). With the published protocol, `devices` and `data.images` say its size;
        where the user's means are others, so do `published_devices`, `batch_size` (of a device), `precision`.

    Raises:
        SuiteError: an override names something that does not exist or declares means that there cannot be,
            or a value is missing.
    """
    chosen = [f"profile={check_profile(profile)}", f"task={recipe.task}", f"model@student={recipe.student}"]
    if recipe.teacher:
        chosen.append(f"model@teacher={recipe.teacher}")
    if recipe.method:
        chosen.append(f"method={recipe.method}")
    if own := _own_data(recipe, profile):
        chosen.append(f"data={own}")
    composed = _hydra_compose((*chosen, *recipe.overrides), overrides)
    scale = composed["profile"]["scale"]
    return {
        "task": composed["task"]["name"],
        "adapter": composed["task"]["adapter"],
        "profile": profile,
        "scale": scale,
        "comparable": composed["profile"]["comparable"],
        "teacher_seed": composed["profile"]["teacher_seed"],
        "departures": [
            *composed["profile"]["departures"],
            *_scaled_weights(composed),
            *(f"override {text}" for text in overrides),
        ],
        "student": _at_scale(composed["student"], scale),
        "teacher": _at_scale(composed["teacher"], scale) if recipe.teacher else None,
        "method": _method_at_scale(composed["method"], scale) if recipe.method else None,
        "data": _of_data(composed["data"], composed["student"][scale]),
        "schedule": composed["schedule"]["overrides"],
        **_means(composed),
    }


def _own_data(recipe: Recipe, profile: str) -> str | None:
    """The choice of `data` for a student of another data set than its task's, where the profile has it."""
    model = known_models().get(recipe.student)
    choice = f"{profile}-{model.dataset}" if model and model.dataset else None
    return f"{recipe.task}/{choice}" if choice in group_choices(f"data/{recipe.task}") else None


def _of_data(data: dict[str, Any], student: dict[str, Any]) -> dict[str, Any]:
    found = {key: data[key] for key in ("name", "prepare", "fingerprint", "overrides")}
    # Absent where they do not apply, so that they are no part of the identity of such a run.
    found |= {key: data[key] for key in ("scales", "images") if key in data}
    # A model may train on images that others leave out.
    return found | ({"images": found["images"] | student["images"]} if "images" in student else {})


def _scaled_weights(composed: dict[str, Any]) -> list[str]:
    """The departure of a method whose loss weights follow the size of the feature maps."""
    losses = composed["method"].get("losses", {}).values()
    if "scales" in composed["data"] and any("scaled" in loss for loss in losses):
        return ["loss weights multiplied for smaller feature maps"]
    return []


def _at_scale(model: dict[str, Any], scale: str) -> dict[str, Any]:
    shared = {key: model[key] for key in ("name", "kind", "zoo")}
    taps = {**model["taps"], **model[scale].get("taps", {})}
    return {**shared, "taps": taps, "overrides": model[scale]["overrides"], **_config_of(model[scale])}


def _means(composed: dict[str, Any]) -> dict[str, Any]:
    """What a training of the published protocol is carried out with; of an embedded one nothing is told.

    What is as published is left out, so that it is no part of the identity of a run.

    Raises:
        SuiteError: an override declares means that there cannot be.
    """
    means = {name: value for name, value in composed["means"].items() if value is not None}
    if composed["profile"]["scale"] != "published":
        if means:
            raise SuiteError(
                f"means.{next(iter(means))}: profile {composed['profile']['name']} needs no more than there "
                "is; leave the override out, or ask for --profile paper"
            )
        return {}
    for name in ("devices", "batch_size"):
        if name in means and not (type(means[name]) is int and means[name] > 0):
            raise SuiteError(f"means.{name}={means[name]}: name a whole number of at least 1")
    if "precision" in means and means["precision"] not in PRECISIONS:
        raise SuiteError(
            f"means.precision={means['precision']}: {did_you_mean(means['precision'], PRECISIONS)}"
        )
    published = int(composed["student"]["published"].get("devices", composed["profile"]["devices"]))
    if means.get("devices", published) != published:
        means["published_devices"] = published
    return {"devices": published, **means}


def _method_at_scale(method: dict[str, Any], scale: str) -> dict[str, Any]:
    shared = {key: value for key, value in method.items() if key != "published"}
    return {**shared, **(_config_of(method.get("published", {})) if scale == "published" else {})}


def _config_of(choices: dict[str, Any]) -> dict[str, Any]:
    """What a model or a method changes in the zoo's config beside the network; nothing for most."""
    return {"config": choices["config"]} if choices.get("config") else {}


@functools.lru_cache(maxsize=4096)
def _composed_text(chosen: tuple[str, ...], overrides: tuple[str, ...]) -> str:
    """The composed config as JSON, from the cache where it has been composed before.

    Hydra takes a tenth of a second for each of the dozens of compositions of a paper.
    """
    key = hashlib.sha256(json.dumps([_conf_hash(), chosen, overrides]).encode()).hexdigest()
    cached = work_dir() / "cache" / "compositions" / f"{key[:32]}.json"
    try:
        return cached.read_text(encoding="utf-8")
    except OSError:
        text = _compose_by_hydra(chosen, overrides)
    # A cache that cannot be written costs time, nothing else.
    with contextlib.suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        aside = cached.with_suffix(f".{os.getpid()}")
        aside.write_text(text, encoding="utf-8")
        aside.replace(cached)
    return text


@functools.cache
def _conf_hash() -> str:
    """A hash of all Hydra configs and of Hydra's version."""
    digest = hashlib.sha256(importlib.metadata.version("hydra-core").encode())
    for path in sorted(CONF.rglob("*.yaml")):
        digest.update(path.relative_to(CONF).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _compose_by_hydra(chosen: tuple[str, ...], overrides: tuple[str, ...]) -> str:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        if not GlobalHydra.instance().is_initialized():
            initialize_config_dir(str(CONF), version_base="1.3", job_name="suite")
        config = hydra_compose("config", overrides=[*chosen, *overrides])
        return json.dumps(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip().rstrip(".") for line in str(error).split("Config search path")[0].splitlines()]
        # Hydra's further lines tell how to add a key, or what a group offers.
        text = f"{'; '.join(lines[:2])} {', '.join(filter(None, lines[2:]))}".rstrip()
        asked = f"override {' '.join(overrides)!r}" if overrides else f"recipe {' '.join(chosen)!r}"
        raise SuiteError(
            f"{asked} does not compose: {text}; 'python -m suite plan --format json' shows what there is"
        ) from None


def _hydra_compose(chosen: tuple[str, ...], overrides: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(_composed_text(chosen, overrides))
    return result
