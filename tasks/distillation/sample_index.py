"""Passes the index of each sample in the training data set on to the losses that request it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor

from suite.contract import BlockedError

WORD = "sample_index"
_KEY = "sample_idx"
"""The key under which mmengine's data sets pass the index through their pipeline."""


def asks_for_sample_index(method: Mapping[str, Any]) -> bool:
    """Whether a loss of a composed method names `sample_index` among its inputs."""
    return any(WORD in loss["inputs"] for loss in method["losses"].values())


def carry_sample_index(dataset: Any) -> None:
    """Makes the packing steps of a data set keep the index of each sample; mmdet's and mmseg's drop it.

    An image mixed from several (mosaic) has the index of the first. In a repeated data set, an index is that
    in the original one.

    Args:
        dataset: its config, changed in place; transforms are looked up in the current registry scope.

    Raises:
        BlockedError: data sets are concatenated, so that an index would not identify one sample, or a
            transform of the pipeline is unknown.
    """
    if "datasets" in dataset:
        raise BlockedError(
            f"input {WORD!r}: the training data join {len(dataset['datasets'])} data sets, whose indices "
            "overlap; train on one"
        )
    if "dataset" in dataset:
        carry_sample_index(dataset["dataset"])
    for step in _steps(dataset.get("pipeline") or ()):
        accepted = inspect.signature(_transform(step["type"])).parameters
        if "meta_keys" in accepted:
            keys = step.get("meta_keys", accepted["meta_keys"].default)
            step["meta_keys"] = (*keys, *({_KEY} - set(keys)))


def sample_index(data_samples: Any) -> Tensor:
    """Index of each sample of a batch in the training data set, `N` integers."""
    return torch.tensor([sample.metainfo[_KEY] for sample in data_samples], dtype=torch.long)


def _transform(kind: Any) -> Any:
    """The class of a pipeline step, which its config gives by name or directly."""
    if not isinstance(kind, str):
        return kind
    with TRANSFORMS.switch_scope_and_registry(None) as registry:
        found = registry.get(kind)
    if found is None:
        raise BlockedError(f"no transform {kind!r} in the registry of {registry.scope}; correct the pipeline")
    return found


def _steps(pipeline: Any) -> list[Any]:
    """The steps of a pipeline, including those nested in others."""
    found = []
    for step in pipeline:
        if isinstance(step, Mapping):
            found.append(step)
            for inner in step.values():
                if isinstance(inner, list | tuple):
                    found += _steps(inner)
        elif isinstance(step, list | tuple):
            found += _steps(step)
    return [step for step in found if "type" in step]
