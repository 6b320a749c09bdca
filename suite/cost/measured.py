"""Step times of recorded trainings."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from suite.contract import ComposedRecipe
from suite.planning.identity import canonical
from suite.store.record import Record

_DECIDES = frozenset({"scale", "profile", "student", "teacher", "method", "schedule", "data"})
"""Keys of a recipe that decide how long its training takes."""


@dataclass(frozen=True)
class MeasuredStep:
    """The step time of the finished runs of one training; the median if there are several.

    Attributes:
        seconds: device-seconds per image.
        images: number of images that the whole training saw, repeats included.
        devices: names of the devices that they ran on.
    """

    seconds: float
    images: float
    devices: str


class MeasuredSteps:
    """Timed records, indexed by training."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Keeps the records that have the step time of a training.

        Args:
            records: any.
        """
        self._records: dict[str, list[Record]] = {}
        for record in records:
            if _is_timed(record):
                self._records.setdefault(_training(record.recipe), []).append(record)

    def find(self, recipe: ComposedRecipe) -> MeasuredStep | None:
        """The step of the training of a recipe; None if no record has its time."""
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
    """Key of everything that the duration of a training depends on."""
    method = recipe["method"] or {}
    # Taps, scales of loss weights, and initial weights do not affect the duration; the function that prepares
    # the data may move to another module.
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
    """Number of devices, or CPU cores, that a run used."""
    each = 1 if record.provenance.device == "cuda" else (record.provenance.threads or 1)
    return each * _devices(record)


def _devices(record: Record) -> int:
    return int(record.protocol.get("devices", 1))


def _batch(record: Record) -> int:
    """Images per iteration on all devices; one that only accumulates gradients counts like any other."""
    return int(record.protocol["batch_size"]) * _devices(record)


def _device(record: Record) -> str:
    name = record.provenance.gpu or record.provenance.host.get("cpu")
    return str(name or record.provenance.device)
