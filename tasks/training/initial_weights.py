"""Initialises a network: random weights as its config says, or the backbone of another network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel
from torch import nn

from suite.contract import BlockedError
from suite.published.weights import read_backbones
from suite.store.downloads import cached
from tasks.training.weights import LoadReport, load_weights

BACKBONE = "backbone"
"""The part of a network that can start from the same part of another network."""

_NOT_NEEDED = (re.compile(r"fc\.(weight|bias)"), re.compile(r"(layer\d\.\d+\.)?(conv\d|downsample\.0)\.bias"))
"""Keys of published backbones that a detector does not need: the ImageNet classifier, and in Caffe's a bias
of every convolution, which the published trainings left out too (yzd-v/FGD, issues 8 and 62)."""

_OFFSETS = "conv_offset."
"""Keys that a deformable convolution has and a plain one lacks: the layer that predicts its offsets."""

_NOT_PUBLISHED = "num_batches_tracked"
"""Keys of a backbone that published weights lack: counters of norms."""


def initialise(model: BaseModel, student: nn.Module) -> dict[str, dict[str, Any]]:
    """Initialises the weights of a network, partly from published weights where its config names them.

    mmengine would download a published backbone by itself, unpickle it without restrictions, and only log the
    keys that do not fit. Here it comes from the cache, is read as weights only, and has to fit key by key.

    Args:
        model: what is trained: the student, or a distiller around it.
        student: the network whose parts may start from published weights.

    Returns:
        Part that starts from published weights -> `from`, and how many keys were loaded and left out.

    Raises:
        BlockedError: published weights are not in the cache, or do not fit.
    """
    parts = dict(pretrained_parts(student))
    configs = {name: student.get_submodule(name).init_cfg for name in parts}
    try:
        for name in parts:
            student.get_submodule(name).init_cfg = None  # type: ignore[assignment]
        model.init_weights()
    finally:
        for name, config in configs.items():
            student.get_submodule(name).init_cfg = config
    return {
        name: {"from": source, **_load(student.get_submodule(name), name, source).summary()}
        for name, source in parts.items()
    }


def start_from(student: nn.Module, network: str, weights: Path, sha256: str | None) -> dict[str, Any]:
    """Loads the weights of another network's backbone into the backbone of a network, key by key.

    Args:
        student: the network, initialised; changed in place.
        network: ``<task>/<model>`` of the other, as records name it.
        weights: the file that its run has left.
        sha256: the first digits that the SHA-256 of the file must have; None to skip the check.

    Returns:
        An entry as of `initialise`, with the SHA-256.

    Raises:
        BlockedError: the student has no backbone, the file has changed, or a key of either is missing in the
            other, of another shape or not finite; names the first of them.
        RefusedCheckpointError: see `tasks.training.weights.read_checkpoint`.
    """
    backbone = getattr(student, BACKBONE, None)
    if not isinstance(backbone, nn.Module):
        raise BlockedError(f"{type(student).__name__} has no backbone that could start from {network}")
    found = load_weights(backbone, weights, sha256, below=BACKBONE)
    for key in found.missing:
        if _OFFSETS in key:
            # As published: a deformable convolution starts as the plain one that it was trained as.
            nn.init.zeros_(backbone.get_parameter(key))
    report = _but_for_offsets(found)
    report.refuse_faults(f"the backbone, which starts from {network}", weights)
    return {"from": network, "sha256": sha256, **report.summary()}


def pretrained_parts(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Every part that starts from published weights, with the name that its config gives them."""
    for name, module in model.named_modules():
        configs = getattr(module, "init_cfg", None) or []
        for config in [configs] if isinstance(configs, Mapping) else configs:
            if config.get("type") == "Pretrained":
                yield name, config["checkpoint"]


def _load(part: nn.Module, name: str, source: str) -> LoadReport:
    backbone = read_backbones().get(source)
    if backbone is None:
        raise BlockedError(f"the {name} starts from {source}, which is not in baselines/backbones.yaml")
    path = cached(backbone)
    if path is None:
        raise BlockedError(
            f"the {name} starts from {backbone.file_name}, which is not here: fetch it with "
            f"'python -m suite weights fetch {source}'"
        )
    found = _but_for_offsets(load_weights(part, path, backbone.sha256))
    report = replace(
        found,
        missing=tuple(key for key in found.missing if _NOT_PUBLISHED not in key),
        unknown=tuple(key for key in found.unknown if not _is_not_needed(key)),
        left_out={"not needed": sum(map(_is_not_needed, found.unknown))},
    )
    report.refuse_faults(f"the {name}", path)
    return report


def _but_for_offsets(report: LoadReport) -> LoadReport:
    """A report that does not count the offsets of deformable convolutions as missing."""
    return replace(report, missing=tuple(key for key in report.missing if _OFFSETS not in key))


def _is_not_needed(key: str) -> bool:
    return any(pattern.fullmatch(key) for pattern in _NOT_NEEDED)
