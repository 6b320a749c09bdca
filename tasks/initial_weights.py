"""What a training starts from: random weights as its config says, published backbones from the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.model import BaseModel
from torch import nn

from suite.downloads import cached
from suite.weights import read_backbones
from tasks.adapter import BlockedError
from tasks.checkpoints import LoadReport, load_weights

_CLASSIFIER = "fc."
"""What a published backbone has and a detector has no use for: its ImageNet classifier."""

_NOT_IN_A_BACKBONE = ("conv_offset.", "num_batches_tracked")
"""What a backbone has and its published weights lack: offsets of deformable layers, counters of norms."""


def initialise(model: BaseModel, student: nn.Module) -> dict[str, dict[str, Any]]:
    """Gives a network its first weights.

    mmengine would fetch a published backbone by itself, read it in full trust, and only log the keys that do
    not fit. Here it comes from the cache, is read as weights only, and has to fit key by key.

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


def pretrained_parts(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Every part that starts from published weights, with what its config calls them."""
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
    found = load_weights(part, path)
    report = LoadReport(
        loaded=found.loaded,
        missing=tuple(key for key in found.missing if not any(text in key for text in _NOT_IN_A_BACKBONE)),
        unknown=tuple(key for key in found.unknown if not key.startswith(_CLASSIFIER)),
        wrong_shape=found.wrong_shape,
        left_out={"fc": sum(key.startswith(_CLASSIFIER) for key in found.unknown)},
    )
    report.refuse_faults(f"the {name}", path)
    return report
