"""Validates what recipes and overrides change in a model zoo's config: plain values that run no Python.

What a zoo's config may hold is only known to the packages that read it, when they build. Three things can be
checked before: that settings are plain and finite, those that the engine itself reads (`Length`), and that
none of them names Python to import. The registries of mmengine import whatever a dotted `type` names, and its
configs execute Python files. Here Python comes only from `tasks/` and from the folders of papers; a setting
may only hold a name that these, or the mm packages, have registered.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from suite.errors import printable
from suite.strict import first_fault

PACKAGES = ("mmengine", "mmcv", "mmdet", "mmpretrain", "mmseg")
"""The packages in whose registries a name may be looked up: ``mmdet.Resize``."""

LARGEST = 2**53
"""The largest integer that a setting may have: larger ones are not exact as a float."""

Count = Annotated[int, Field(ge=1, le=10**9)]
"""A number of epochs, iterations, images or devices."""

_NAMES = ("type", "constructor", "ema_type", "_scope_")
"""Keys whose value mmengine looks up in its registries."""

_CODE = ("_target_", "_base_", "custom_imports", "teacher_config", "teacher_ckpt", "trust_remote_code")
"""Keys whose value makes a package import modules, execute Python files, or unpickle."""

_REGISTERED = re.compile(rf"(?:(?:{'|'.join(PACKAGES)})\.)?[A-Za-z_]\w*")


class _Read(BaseModel):
    """Base of models of the keys that the engine reads; other keys are left to the packages."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _TrainCfg(_Read):
    max_epochs: Count | None = None
    max_iters: Count | None = None


class _Loader(_Read):
    batch_size: Count | None = None


class Length(_Read):
    """The settings of a training that the engine reads: those that define its length.

    Attributes:
        train_cfg: `max_epochs` or `max_iters`.
        train_dataloader: `batch_size` per device.
    """

    train_cfg: _TrainCfg | None = None
    train_dataloader: _Loader | None = None


def check_value(value: Any, place: str = "", finite: bool = True) -> None:
    """Refuses a value that no setting may have.

    Args:
        value: a setting, or a dictionary or list of them.
        place: its dotted path, for the message.
        finite: whether numbers have to be finite.

    Raises:
        ValueError: it names Python, is an integer larger than `LARGEST`, or is not finite.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_key(str(key), inner, f"{place}.{key}".lstrip("."))
            check_value(inner, f"{place}.{key}".lstrip("."), finite)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            check_value(inner, f"{place}.{index}".lstrip("."), finite)
    elif finite and isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}; write a finite number")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{place} is larger than {LARGEST:,}; write a smaller number")
    elif isinstance(value, str) and value.endswith(".py"):
        raise ValueError(f"{place} names a Python file, {_shown(value)}; {_REMEDY}")


_REMEDY = "name what tasks/ or the Python file of a paper's folder registers"


def _check_key(key: str, value: Any, place: str) -> None:
    if key in _CODE:
        raise ValueError(f"{place} would run Python; {_REMEDY}")
    if key not in _NAMES or value is None:
        return
    if key == "type" and isinstance(value, Mapping):
        return  # a setting that happens to be called `type`
    if not isinstance(value, str) or not _REGISTERED.fullmatch(value) or _is_module(value):
        raise ValueError(f"{place} is {_shown(value)}, which is not a name in a registry; {_REMEDY}")


@functools.lru_cache(maxsize=4096)
def _is_module(name: str) -> bool:
    """Whether a name is that of a module, which mmengine would import if no registry has it."""
    return "." not in name and name not in PACKAGES and importlib.util.find_spec(name) is not None


def _shown(value: object) -> str:
    return printable(repr(value), 60)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    check_value(settings)
    try:
        Length.model_validate(settings)
    except ValidationError as error:
        place, first = first_fault(error)
        raise ValueError(f"{place} is {_shown(first['input'])}; {first['msg']}") from None
    return settings


def _checked_arguments(value: Any) -> Any:
    check_value(value, finite=False)
    return value


Settings = Annotated[dict[str, Any], AfterValidator(_checked)]
"""Settings of a zoo's config."""

Arguments = Annotated[dict[str, Any], AfterValidator(_checked_arguments)]
"""Hyper-parameters of a loss: plain values that name no Python. Only a run shows how a loss reacts to NaN."""
