"""Loads untrusted checkpoint files: without running code from them, and with a report of every key.

Supported are what mmengine and mmcv save (`{state_dict: ...}`), bare state dicts, the prefix `module.` of
`DistributedDataParallel`, averaged weights together with those that they are the average of, and distillers,
of which only `student.` is kept. Keys that the zoo has renamed since are renamed by the networks themselves
as they load.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suite.contract import BlockedError
from tasks.training.safe_reading import RefusedCheckpointError, read_file, unpickle

_STUDENT = "student."
_WRAPPED = "module."
_AVERAGED = "ema_"
"""Prefix under which mmdet 2 saved, beside averaged weights, those that they are the average of."""


class _Ignored:
    """Stand-in for an object beside the weights that is not needed: accepts any content, does nothing."""

    def __new__(cls, *_: Any) -> _Ignored:
        """Accepts the arguments of the original object."""
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        """Accepts the same arguments, as Python calls both."""

    def __setstate__(self, _: Any) -> None:
        """Accepts the state of the original object."""


_HARMLESS = (
    # Losses of the last iterations, in the message hub that mmengine saves beside the weights.
    "mmengine.logging.history_buffer.HistoryBuffer",
    # How a pickle refers to the methods of that log; the stand-in looks nothing up.
    "builtins.getattr",
    # Arrays of that log; the module has another name since NumPy 2.
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    # Seeds, accuracies and learning rates as NumPy numbers, with their type.
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
"""Objects in zoo checkpoints that PyTorch refuses to build; `_Ignored` is built instead."""


@dataclass(frozen=True)
class LoadReport:
    """What happened to every key.

    Attributes:
        loaded: keys of the model that were loaded from the file.
        missing: keys of the model that the file lacks.
        unknown: keys of the file that the model lacks.
        wrong_shape: key of both -> both shapes, in words.
        not_finite: loaded keys with a value that is infinite or NaN.
        left_out: first part of the keys that were skipped -> their number: what is not the student of a
            distiller, or not the requested part of a network.
        config: text of the config that the file says it was trained with; None if it has none.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    wrong_shape: dict[str, str]
    left_out: dict[str, int]
    not_finite: tuple[str, ...] = ()
    config: str | None = None

    @property
    def faults(self) -> list[str]:
        """Everything that does not fit, key by key; empty if file and model fit."""
        return [
            *(f"missing {key}" for key in self.missing),
            *(f"unknown {key}" for key in self.unknown),
            *(f"{shapes} in {key}" for key, shapes in self.wrong_shape.items()),
            *(f"NaN or infinite values in {key}" for key in self.not_finite),
        ]

    def refuse_faults(self, name: str, path: Path) -> None:
        """Raises an error unless the file fits key by key.

        Args:
            name: of the model, for the message.
            path: the file.

        Raises:
            BlockedError: a key is missing, unknown, of another shape or not finite; names the first of them.
        """
        if faults := self.faults:
            more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
            raise BlockedError(f"{path.name} does not fit {name}: {', '.join(faults[:4])}{more}")

    def summary(self) -> dict[str, Any]:
        """How many keys were loaded and left out, and the faults, as a record stores them."""
        return {"loaded": len(self.loaded), "left_out": self.left_out, "faults": self.faults}


def read_checkpoint(path: Path) -> OrderedDict[str, Tensor]:
    """Reads the weights of a checkpoint, under the keys of the plain model and with its modules' versions.

    Raises:
        RefusedCheckpointError: the file is damaged, holds no weights, or needs code to be run.
        OSError: it cannot be opened.
    """
    return _read(path).state


def load_weights(
    model: nn.Module, path: Path, sha256: str | None = None, below: str | None = None
) -> LoadReport:
    """Loads the weights that fit, and reports what happened to every key.

    Args:
        model: changed in place.
        path: the checkpoint.
        sha256: the first hexadecimal digits that the file's SHA-256 must have; None to skip the check.
        below: the part of the file's network that is loaded, such as `backbone`; None for all of it. Keys are
            reported without this prefix.

    Raises:
        BlockedError: the file has another SHA-256.
        RefusedCheckpointError: see `read_checkpoint`.
    """
    held = _read(path, sha256)
    if below is not None:
        held = held.part(below)
    wrong: dict[str, str] = {}

    def take_out_wrong_shapes(module: nn.Module, keys: dict[str, Any], prefix: str, *_: Any) -> None:
        """Removes tensors of the wrong shape, after all hooks that rename and resize a module's own keys."""
        for name, value in [*module._parameters.items(), *module._buffers.items()]:
            key = prefix + name
            if value is None or key not in keys or keys[key].shape == value.shape:
                continue
            wrong[key] = f"{tuple(keys.pop(key).shape)} instead of {tuple(value.shape)}"

    hooks = [part.register_load_state_dict_pre_hook(take_out_wrong_shapes) for part in model.modules()]
    try:
        found = model.load_state_dict(held.state, strict=False)
    finally:
        for hook in hooks:
            hook.remove()
    missing = tuple(key for key in found.missing_keys if key not in wrong)
    loaded = tuple(key for key in model.state_dict() if key not in wrong and key not in set(missing))
    not_finite = tuple(key for key in non_finite_weights(model) if key in set(loaded))
    unknown = tuple(found.unexpected_keys)
    return LoadReport(loaded, missing, unknown, wrong, held.left_out, not_finite, held.config)


def non_finite_weights(model: nn.Module) -> list[str]:
    """Keys of a model's tensors that have an infinite or NaN value."""
    return [
        key
        for key, value in model.state_dict().items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]


def load_all_weights(model: nn.Module, path: Path, name: str, sha256: str | None = None) -> LoadReport:
    """Loads a checkpoint that has to fit key by key.

    Args:
        model: changed in place.
        path: the checkpoint.
        name: of the model, for the message.
        sha256: as for `load_weights`.

    Raises:
        BlockedError: the file has another SHA-256, or a key is missing, unknown, of another shape or not
            finite; the first of them are named.
        RefusedCheckpointError: see `read_checkpoint`.
    """
    report = load_weights(model, path, sha256)
    report.refuse_faults(name, path)
    return report


@dataclass(frozen=True)
class _Content:
    """The contents of a checkpoint: weights of the plain model, and the rest as in `LoadReport`."""

    state: OrderedDict[str, Tensor]
    left_out: dict[str, int]
    config: str | None

    def part(self, name: str) -> _Content:
        """Only one part of the network; the number of keys outside it is added to `left_out`."""
        prefix = f"{name}."
        others = Counter(_first_part(key) for key in self.state if not key.startswith(prefix))
        state = _below(prefix, self.state)
        state._metadata = _below(prefix, getattr(self.state, "_metadata", {}))  # type: ignore[attr-defined]
        return _Content(state, {**self.left_out, **others}, self.config)


def _read(path: Path, sha256: str | None = None) -> _Content:
    """Reads a checkpoint; see `load_weights`."""
    written = read_file(path)
    if sha256 is not None and not hashlib.sha256(written).hexdigest().startswith(sha256):
        raise BlockedError(
            f"{path} has changed since it was checked: its SHA-256 no longer begins with {sha256[:12]}; run "
            "the same command again, which checks it again"
        )
    content = unpickle(written, path.name, [(_Ignored, name) for name in _HARMLESS])
    found = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise RefusedCheckpointError(f"{path.name} holds no weights, but a {type(found).__name__}")
    state, left_out = _student_alone(found)
    strange = next((key for key, value in state.items() if not isinstance(value, Tensor)), None)
    if strange is not None or not state:
        held = f"{strange!r} is not a tensor" if strange is not None else "nothing is in it"
        raise RefusedCheckpointError(
            f"{path.name} holds no weights ({held}): neither 'state_dict' nor tensors by name"
        )
    return _Content(state, left_out, _config_in(content))


def _config_in(content: dict[str, Any]) -> str | None:
    """The config that mmengine (`cfg`) or mmcv (`config`) saved beside the weights; None without one."""
    meta = content.get("meta")
    texts = [meta.get(name) for name in ("cfg", "config")] if isinstance(meta, dict) else []
    return next((text for text in texts if isinstance(text, str)), None)


def _student_alone(found: dict[str, Any]) -> tuple[OrderedDict[str, Any], dict[str, int]]:
    """Weights under the plain model's keys, and the number of skipped keys by their first part."""
    state, versions = OrderedDict(found), getattr(found, "_metadata", None)
    versions = versions if isinstance(versions, dict) else {}
    if state and all(key.startswith(_WRAPPED) for key in state):
        state, versions = _below(_WRAPPED, state), _below(_WRAPPED, versions)
    left_out: dict[str, int] = {}
    if any(key.startswith(_STUDENT) for key in state):
        left_out = dict(Counter(_first_part(key) for key in state if not key.startswith(_STUDENT)))
        state, versions = _below(_STUDENT, state), _below(_STUDENT, versions)
    if doubles := [key for key in state if key.startswith(_AVERAGED)]:
        left_out["averages"] = len(doubles)
        state = OrderedDict((key, value) for key, value in state.items() if key not in set(doubles))
    # These tell modules which older names of their keys to expect.
    state._metadata = versions  # type: ignore[attr-defined]
    return state, left_out


def _below(prefix: str, keys: dict[str, Any]) -> OrderedDict[str, Any]:
    """The entries under a prefix, without it."""
    return OrderedDict(
        (key[len(prefix) :], value) for key, value in keys.items() if f"{key}.".startswith(prefix)
    )


def _first_part(key: str) -> str:
    return key.partition(".")[0]
