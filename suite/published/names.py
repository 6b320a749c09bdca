"""Names that are data: a file may name a metric, task, data set or role only if another file knows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo
from pydantic_core import PydanticCustomError

Known = Mapping[str, Collection[str]]
"""Kind (`metric`, `task`, `data set`, `role`) -> the known names; see `suite.strict_yaml.parse`."""


def _check(kind: str, name: str, info: ValidationInfo) -> None:
    """Refuses an unknown name, if the context of the validation lists the known ones."""
    known = (info.context or {}).get(kind)
    if known is not None and name not in known:
        # suite.strict_yaml turns it into a message, as it does for every fault in a file.
        raise PydanticCustomError("unknown_name", "unknown name", {"kind": kind, "known": tuple(known)})


def _named(kind: str) -> AfterValidator:
    def check(name: str, info: ValidationInfo) -> str:
        _check(kind, name, info)
        return name

    return AfterValidator(check)


def _metric_of_a_setting(name: str, info: ValidationInfo) -> str:
    metric, at, setting = name.partition("@")
    if at and not setting.isidentifier() and not setting.isalnum():
        raise ValueError(f"{name!r} names no setting after the @; write it like box_AP@2x")
    _check("metric", metric, info)
    return name


MetricName = Annotated[str, _named("metric")]
"""A metric of ``baselines/metrics.yaml``."""

MetricAtSetting = Annotated[str, AfterValidator(_metric_of_a_setting)]
"""A metric, or ``<metric>@<setting>`` if one source prints it for several settings."""

TaskName = Annotated[str, _named("task")]
"""A task of ``baselines/tasks.yaml``."""

DatasetName = Annotated[str, _named("data set")]
"""A data set of ``baselines/datasets.yaml``, as claims call it (`claims_name`)."""

RoleName = Annotated[str, _named("role")]
"""A role of ``baselines/roles.yaml``."""
