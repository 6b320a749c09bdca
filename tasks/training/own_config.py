"""Compares the config inside a checkpoint with that of the network it is loaded into.

Two networks can have the same weights by name and shape and compute different things with them: in a ResNet
of Caffe's style the stride is in another convolution than in PyTorch's, and images may be normalised with
other numbers. Files of mmengine and mmcv carry the config of their training as text. It is read as data: only
literals, lists and ``dict(...)`` of them are understood, and nothing in it is executed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

_BESIDE_WEIGHTS = frozenset(
    {
        # Of backbones.
        *("type", "depth", "style", "strides", "dilations", "out_indices", "avg_down"),
        # Of necks and heads.
        *("start_level", "in_index", "pool_scales", "dilation", "align_corners"),
        *("octave_base_scale", "scales_per_octave", "ratios", "target_means", "target_stds"),
    }
)
"""Settings that can change what a network computes without changing a name or shape of its weights."""

_PARTS = ("backbone", "neck", "head", "rpn_head", "roi_head", "bbox_head", "mask_head", "decode_head")
_NESTED = frozenset({"anchor_generator", "bbox_coder", "bbox_head", "mask_head"})
_NORMALISATION = ("mean", "std")
_LONGEST = 2**20


def contradictions(text: str | None, config: Mapping[str, Any]) -> list[str]:
    """Lists where the config in a checkpoint contradicts that of our network.

    Args:
        text: the config; None if the checkpoint has none. What is not understood in it is skipped.
        config: of the network that the weights are loaded into, merged.

    Returns:
        ``<setting> is <theirs> in its own config and <ours> here``, in order; empty where nothing is known.
    """
    theirs = _settings(text or "")
    found = dict(_differences(theirs.get("model"), config.get("model")))
    found |= _other_normalisation(theirs, config)
    return [f"{name} is {was!r} in its own config and {ours!r} here" for name, (was, ours) in found.items()]


def _differences(theirs: Any, ours: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Setting -> its value there and here, where both have one and they differ."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for part in _PARTS:
            yield from _differences_in(part, theirs.get(part), ours.get(part))


def _differences_in(place: str, theirs: Any, ours: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if not (isinstance(theirs, Mapping) and isinstance(ours, Mapping)):
        return
    for key in sorted(theirs.keys() & ours.keys() & _BESIDE_WEIGHTS):
        one, other = _plain(theirs[key]), _plain(ours[key])
        if key == "type":
            # `mmpretrain.ResNet` is what mmpretrain itself calls `ResNet`.
            one, other = (str(name).rpartition(".")[2] for name in (one, other))
        if type(one) is type(other) and one != other:
            yield f"{place}.{key}", (one, other)
    for key in sorted(theirs.keys() & ours.keys() & _NESTED):
        yield from _differences_in(f"{place}.{key}", theirs[key], ours[key])


def _other_normalisation(theirs: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Differences in the mean and standard deviation of images, wherever configs of either age have them."""
    said, ours = _preprocessor(theirs) or theirs.get("img_norm_cfg") or {}, _preprocessor(config)
    found = {}
    for name in _NORMALISATION:
        one, other = _plain(said.get(name)), _plain(ours.get(name))
        if isinstance(one, list) and isinstance(other, list) and one != other:
            found[f"{name} of the images"] = (one, other)
    return found


def _preprocessor(config: Mapping[str, Any]) -> Mapping[str, Any]:
    model = config.get("model")
    inner = model.get("data_preprocessor") if isinstance(model, Mapping) else None
    found = inner or config.get("data_preprocessor")
    return found if isinstance(found, Mapping) else {}


def _plain(value: Any) -> Any:
    """A value in which tuples are lists and numbers are of one kind, so that configs of any age compare."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _settings(text: str) -> dict[str, Any]:
    """The top-level settings of a config that are plain data, by name."""
    try:
        statements = ast.parse(text).body if len(text) <= _LONGEST else []
        return {
            target.id: _value(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _value(node: ast.expr) -> Any:
    """The value of an expression of literals; None for any other expression."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            return {word.arg: _value(word.value) for word in node.keywords if word.arg}
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {key.value: _value(value) for key, value in pairs if isinstance(key, ast.Constant)}
        case ast.List() | ast.Tuple():
            return [_value(item) for item in node.elts]
        case ast.Constant():
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
    return None
