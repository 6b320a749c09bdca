"""Upgrades records of older layouts when they are read; on request they are also rewritten.

Schema 1 had neither `per_class` nor `skipped`. Schema 2 identified a run by a hash of nearly everything,
import paths and titles included, and described departures and overrides in prose. Schema 3 identifies it by
`suite.planning.identity`; the older id is kept in `Record.former_ids`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PositiveInt, ValidationError

from suite.contract import Checkpoint, ComposedRecipe
from suite.errors import SuiteError, printable
from suite.planning.identity import Identity, identify
from suite.planning.overrides import parse_overrides, variant_of
from suite.published.weights import hash_in_name
from suite.strict import RunId

_PACKAGES = {
    "classification": ("mmpretrain",),
    "detection": ("mmdet",),
    "instance_segmentation": ("mmdet",),
    "semantic_segmentation": ("mmseg",),
}
"""Task -> packages that computed its results, besides torch, mmengine and mmcv, when schema 2 was in use."""

_SCALED = "loss weights multiplied for smaller feature maps"
_PROFILES = {
    "embedded data in place of the published data set": (
        "data",
        "the published data set",
        "embedded data",
    ),
    "shrunken architecture": ("architecture", None, "shrunken architecture"),
    "shortened schedule": ("schedule", None, "shortened schedule"),
    "two iterations of training": ("schedule", None, "two iterations of training"),
}
"""Sentence of schema 2 -> setting, published value, value used instead."""

_OVERRIDE = "override "
_OURS = re.compile(r"tasks(\.\w+)+:[A-Za-z]\w*")
"""``package.module:name`` in the suite's own tasks."""

NOT_UPGRADED = (LookupError, TypeError, AttributeError, ValueError, RecursionError, SuiteError)
"""Errors that upgrading a document raises if it is not a record of an older schema."""

Former = tuple[str, int]
"""Id and attempt that a record's file is named after."""


def upgraded(documents: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], Former]]:
    """Upgrades documents of older schemas to the current layout, sorted by their new ids.

    A student's new id depends on its teacher's new id, so teachers are upgraded first; a student whose
    teacher is not among the documents keeps the old id of that teacher. Runs that the newer identity no
    longer distinguishes become attempts at the same run, in the order in which they ended.

    Args:
        documents: records of schema 1 or 2 as stored in their files.

    Returns:
        Each document with what its file is named after.
    """
    waiting = sorted(documents, key=lambda document: document["arm"] == "distilled")
    teachers: dict[str, Checkpoint] = {}
    found: dict[str, list[tuple[dict[str, Any], Former]]] = defaultdict(list)
    for document in waiting:
        new = _upgraded(document, teachers)
        found[new["run_id"]].append((new, (document["run_id"], document.get("attempt", 1))))
        teachers[document["run_id"]] = _as_teacher(document, new)
    return [numbered for run_id in sorted(found) for numbered in _numbered(found[run_id])]


def _numbered(attempts: list[tuple[dict[str, Any], Former]]) -> Iterator[tuple[dict[str, Any], Former]]:
    """Attempts at one run, with their old numbers if those are distinct, else numbered by time."""
    if len({former[1] for _, former in attempts}) == len(attempts):
        yield from sorted(attempts, key=lambda entry: entry[1][1])
        return
    # Those that ended in the same second keep the order of their files.
    by_time = sorted(attempts, key=lambda entry: (entry[0]["finished_at"], entry[1]))
    for number, (document, former) in enumerate(by_time, start=1):
        yield {**document, "attempt": number}, former


def _upgraded(document: Mapping[str, Any], teachers: Mapping[str, Checkpoint]) -> dict[str, Any]:
    recipe, sentences = document.get("recipe") or {}, document["departures"]
    overrides = [_renamed(text.removeprefix(_OVERRIDE)) for text in sentences if text.startswith(_OVERRIDE)]
    composed = _recipe(recipe, sentences, overrides) if recipe else None
    identity = _identity(document, composed, teachers)
    # A record without a schema version gets the current one by default.
    kept = {key: value for key, value in document.items() if key != "schema_version"}
    return {
        **kept,
        # A record that says too little about its run keeps its ids.
        "run_id": identity.run_id if identity else document["run_id"],
        "series": identity.series if identity else document["series"],
        "former_ids": [document["run_id"]],
        "claims": [_served(entry, overrides) for entry in document["claims"]],
        "identity": identity.model_dump(mode="json") if identity else {},
        "recipe": composed.model_dump(mode="json") if composed else {},
        "departures": _departures(sentences, overrides, document["profile"]),
        "provenance": _provenance(document["provenance"], teachers),
    }


def _served(entry: Mapping[str, Any], overrides: list[str]) -> dict[str, Any]:
    return {**entry, "variant": list(variant_of(parse_overrides(overrides), entry["arm"]))}


def _renamed(override: str) -> str:
    return re.sub(r"^means\b", "resources", override)


def _provenance(provenance: Mapping[str, Any], teachers: Mapping[str, Checkpoint]) -> dict[str, Any]:
    """The provenance with the teacher's new id."""
    teacher = provenance.get("teacher")
    if not teacher:
        return dict(provenance)
    known = teachers.get(teacher["run_id"])
    renamed = known.run if known and known.run else teacher["run_id"]
    return {**provenance, "teacher": {**teacher, "run_id": renamed}}


def _as_teacher(old: Mapping[str, Any], new: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that a student of a run learned from: a released file, or what the run had trained."""
    released = (old.get("recipe") or {}).get("checkpoint", {}).get("file")
    sha256 = hash_in_name(released) if released else None
    if sha256:
        return Checkpoint(kind="released", file=released, sha256=sha256, run=None)
    return Checkpoint(kind="trained", run=new["run_id"])


def _identity(
    document: Mapping[str, Any], recipe: ComposedRecipe | None, teachers: Mapping[str, Checkpoint]
) -> Identity | None:
    """The identity of a run; None if its record says too little."""
    installed = document["provenance"].get("packages", {})
    if recipe is None or document["task"] not in _PACKAGES:
        return None
    taught_by = (document["provenance"].get("teacher") or {}).get("run_id")
    if recipe.teacher and taught_by is None:
        return None
    known = teachers.get(taught_by) if taught_by else None
    losses = recipe.method.losses.values() if recipe.method else ()
    names = ("torch", "mmengine", "mmcv", *_PACKAGES[document["task"]])
    return identify(
        recipe,
        seed=document["seed"],
        adapter_version=1,
        loss_versions={loss.type: 1 for loss in losses},
        releases={name: installed[name] for name in names if name in installed},
        teacher=known or (Checkpoint(kind="trained", run=taught_by) if taught_by else None),
        checkpoint=_checkpoint(document["recipe"].get("checkpoint")),
    )


def _checkpoint(scored: Mapping[str, Any] | None) -> Checkpoint | None:
    if not scored:
        return None
    if "sha256" in scored:
        return Checkpoint(kind="named", sha256=scored["sha256"], claim=scored["claim"])
    return Checkpoint(
        kind="released",
        weights=scored["weights"],
        file=scored["file"],
        sha256=hash_in_name(scored["file"]),
    )


def _recipe(recipe: Mapping[str, Any], sentences: list[str], overrides: list[str]) -> ComposedRecipe | None:
    """The composed recipe in the current types; None if it is not one."""
    recipe = _registered(recipe)
    own = {
        "devices": recipe.get("devices") if "published_devices" in recipe else None,
        "batch_size": recipe.get("batch_size"),
        "precision": recipe.get("precision"),
    }
    method = recipe.get("method")
    try:
        return ComposedRecipe.model_validate(
            {
                "task": recipe["task"],
                "adapter": _ours(recipe["adapter"]),
                "profile": recipe["profile"],
                "scale": recipe["scale"],
                "comparable": recipe["comparable"],
                "teacher_seed": recipe["teacher_seed"],
                "student": _model(recipe["student"]),
                "teacher": _model(recipe["teacher"]) if recipe.get("teacher") else None,
                "method": method or None,
                "data": {**recipe["data"], "prepare": _ours(recipe["data"]["prepare"])},
                "schedule": recipe["schedule"],
                "devices": recipe.get("published_devices", recipe.get("devices", 1)),
                "resources": {name: value for name, value in own.items() if value is not None},
                "departures": _departures(sentences, overrides, recipe["profile"]),
            }
        )
    except (KeyError, TypeError, ValidationError):
        return None


def _registered(value: Any) -> Any:
    """Settings with the suite's own classes by the names that they are registered under, without modules."""
    if isinstance(value, Mapping):
        return {
            key: item.rpartition(".")[2]
            if key == "type" and isinstance(item, str) and item.startswith("tasks.")
            else _registered(item)
            for key, item in value.items()
        }
    return [_registered(item) for item in value] if isinstance(value, list) else value


def _ours(python: str) -> str:
    """The Python that an older record names if it is in the suite's own tasks, else a placeholder.

    It is not part of a run's identity, and is never imported for a record.
    """
    return python if _OURS.fullmatch(python) else "tasks.elsewhere:unknown"


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model whose taps have a `pooling`, which was called `form` before."""
    taps = {
        name: {"pooling" if key == "form" else key: value for key, value in tap.items()}
        for name, tap in model["taps"].items()
    }
    return {**model, "taps": taps}


def _departures(sentences: list[str], overrides: list[str], profile: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for text in sentences:
        if text in _PROFILES:
            setting, published, ours = _PROFILES[text]
            by = f"profile {profile}"
            found.append(_departure("profile", setting, published, ours, by))
        elif text == _SCALED:
            found.append(_departure("method", "losses", None, text, "data.scales"))
    for override in parse_overrides(overrides):
        kind = "resources" if override.is_resource else "override"
        setting = override.key.removeprefix("resources.")
        found.append(_departure(kind, setting, None, override.value, override.text))
    return found


def _departure(kind: str, setting: str, published: Any, ours: Any, by: str) -> dict[str, Any]:
    return {"kind": kind, "setting": setting, "published": published, "ours": ours, "declared_by": by}


def schema_of(content: bytes) -> int | None:
    """The schema of a record file; None if it does not begin with it, as every written one does."""
    match = re.match(rb'\s*\{\s*"schema_version":\s*(\d+)', content)
    return int(match[1]) if match else None


def refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses repeated keys in a JSON object; for `json.loads`, which would silently take the last value.

    Raises:
        ValueError: a key appears twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{printable(twice, 60)!r} appears in it twice")
    return found


class _Named(BaseModel, strict=True):
    """The fields of an older record that its file is named after."""

    run_id: RunId
    attempt: PositiveInt = 1


def document_of(path: Path, content: bytes) -> dict[str, Any]:
    """The document in a file of an older schema.

    Raises:
        ValueError: it is no JSON object, or has the name of another record.
        RecursionError: it is nested deeper than any record.
    """
    document = json.loads(content, object_pairs_hook=refuse_repeated)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    named = _Named.model_validate(document)
    if path.name != (name := f"{named.run_id}-{named.attempt:02d}.json"):
        raise ValueError(f"holds the record that belongs in {name}")
    return document
