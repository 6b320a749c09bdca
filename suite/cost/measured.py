"""How long the steps of recorded trainings took."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from suite.contract import ComposedRecipe
from suite.planning.identity import canonical
from suite.store.records import Record

_DECIDES = frozenset({"scale", "profile", "student", "teacher", "method", "schedule", "data"})
"""Keys of a recipe that decide how long its training takes."""


@dataclass(frozen=True)
class MeasuredStep:
    """What finished runs of one training took; the median where there are several.

    Attributes:
        seconds: device-seconds an image.
        images: how many images the whole training saw, each as often as it saw it.
        devices: names of what they ran on.
    """

    seconds: float
    images: float
    devices: str


class MeasuredSteps:
    """Records, found by what was trained."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Keeps those records that time a training.

        Args:
            records: any.
        """
        self._records: dict[str, list[Record]] = {}
        for record in records:
            if _is_timed(record):
                self._records.setdefault(_training(record.recipe), []).append(record)

    def find(self, recipe: ComposedRecipe) -> MeasuredStep | None:
        """The step of the training of a recipe; None where no record times it."""
        found = self._records.get(_training(recipe.model_dump()))
        if not found:
            return None
        return MeasuredStep(
            seconds=statistics.median(
                record.timings["seconds_per_step"] * _width(record) / _batch(record) for record in found
            ),
            images=statistics.median(record.protocol["iterations"] * _batch(record) for record in found),
            devices=", ".join(sorted({_device(record) for record in found})),
        )


def _is_timed(record: Record) -> bool:
    on_gpu = record.provenance.device == "cuda"
    return (
        record.status == "finished"
        and record.recipe.keys() >= _DECIDES
        and isinstance(record.recipe["data"], Mapping)
        and on_gpu == (record.recipe["scale"] == "published")
        and "seconds_per_step" in record.timings
        and all(_is_count(record.protocol.get(name)) for name in ("iterations", "batch_size"))
        and _is_count(record.protocol.get("devices", 1))
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _training(recipe: Mapping[str, Any]) -> str:
    """What the duration of a training depends on."""
    method = recipe["method"] or {}
    # What a method may look at, by what its weights are scaled, and what a network starts from take no time;
    # what makes the data ready may move to another module.
    parts = {
        "profile": recipe["profile"],
        "schedule": recipe["schedule"],
        "student": _without(recipe["student"], "taps", "pretrained"),
        "teacher": _without(recipe["teacher"], "taps", "pretrained"),
        "data": _without(recipe["data"], "prepare", "scales"),
    }
    return json.dumps([canonical(parts), method.get("name"), method.get("config")], sort_keys=True)


def _without(part: Mapping[str, Any] | None, *keys: str) -> dict[str, Any] | None:
    return None if part is None else {key: value for key, value in part.items() if key not in keys}


def _width(record: Record) -> int:
    """How many devices, or cores of a CPU, a run was busy on."""
    each = 1 if record.provenance.device == "cuda" else (record.provenance.threads or 1)
    return each * _devices(record)


def _devices(record: Record) -> int:
    return int(record.protocol.get("devices", 1))


def _batch(record: Record) -> int:
    """Images an iteration on all devices; one that only accumulates gradients counts as any other."""
    return int(record.protocol["batch_size"]) * _devices(record)


def _device(record: Record) -> str:
    name = record.provenance.gpu or record.provenance.host.get("cpu")
    return str(name or record.provenance.device)
