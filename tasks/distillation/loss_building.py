"""Builds the losses of a method for the shapes of their inputs, and refuses what does not fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from suite.contract import BlockedError
from suite.errors import SuiteError, did_you_mean
from tasks.distillation.taps import Feature, tensors_of
from tasks.methods.registry import find_loss


def build_loss(
    name: str,
    loss: Mapping[str, Any],
    shapes: Mapping[str, Feature],
    scales: Mapping[str, float],
    features: Sequence[str],
    training_data: Mapping[str, Callable[[], Any]],
) -> nn.Module:
    """Builds the loss module of one entry of a method; with `each_level`, one module per level.

    Args:
        name: of the entry.
        loss: the entry.
        shapes: what the taps caught for the example, by word.
        scales: factors for loss weights.
        features: those of its inputs that are in `shapes`.
        training_data: name -> function that reads it from the whole training data set.

    Raises:
        BlockedError: the loss is unknown, refuses its arguments, or needs something that does not exist.
    """
    arguments = dict(loss.get("arguments", {}))
    for argument, scale in loss.get("scaled", {}).items():
        if argument not in arguments:
            raise BlockedError(f"loss {name!r}: scaled {argument!r}: {did_you_mean(argument, arguments)}")
        arguments[argument] *= scales.get(scale, 1.0)
    for argument, source in loss.get("data", {}).items():
        if source not in training_data:
            raise BlockedError(f"loss {name!r}: no data {source!r}: {did_you_mean(source, training_data)}")
        arguments[argument] = training_data[source]()
    words = measured_words(loss)
    _check_measured(name, loss, shapes)
    try:
        kind = find_loss(loss["type"])
        if not loss.get("each_level", False):
            return _checked(name, kind(**arguments, **_measured(loss, shapes)), loss["inputs"])
        counts = {
            word: len(shapes[word]) if isinstance(shapes[word], list) else 1 for word in (*features, *words)
        }
        if not counts or len(set(counts.values())) > 1 or not isinstance(shapes[next(iter(counts))], list):
            found = ", ".join(f"{word} has {count}" for word, count in counts.items()) or "none"
            raise BlockedError(
                f"loss {name!r} is built for each level; numbers of levels found: {found}; list as many "
                "modules in every tap, or name modules with one output per level"
            )
        return nn.ModuleList(
            _checked(
                name,
                kind(**arguments, **_measured(loss, {word: shapes[word][level] for word in words})),
                loss["inputs"],
            )
            for level in range(len(shapes[features[0]]))
        )
    except (TypeError, ValueError, SuiteError) as error:
        raise BlockedError(f"loss {name!r} of type {loss['type']}: {error}") from None


def _checked(name: str, module: nn.Module, inputs: Sequence[str]) -> nn.Module:
    """Returns a loss if it takes as many inputs as its method names.

    Raises:
        BlockedError: it does not; says what it takes.
    """
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*inputs)
    except TypeError:
        raise BlockedError(
            f"loss {name!r}: {type(module).__name__} takes {', '.join(signature.parameters)}, but the "
            f"method names {len(inputs)} inputs: {', '.join(inputs)}"
        ) from None
    return module


def check_task_weight(name: str, module: nn.Module, task_loss_weight: float) -> None:
    """Checks that the task's own loss has the weight that a distillation loss requires (`ce_weight`).

    Raises:
        BlockedError: it has another weight.
    """
    asked = getattr(module, "ce_weight", None)
    if asked is not None and abs(asked - task_loss_weight) > 1e-9:
        raise BlockedError(
            f"loss {name!r} needs task_loss_weight {asked:g}, but the method has {task_loss_weight:g}; "
            "override both"
        )


def check_levels(name: str, compared: Sequence[str], shapes: Mapping[str, Feature]) -> None:
    """Checks that a loss compares maps of equal size.

    A student's feature is checked against the teacher's of the same name; if a loss takes only one of each,
    these two are checked.

    Raises:
        BlockedError: number or size of the levels differ; says where.
    """
    own, others = ([word for word in compared if word.startswith(side)] for side in ("student.", "teacher."))
    if len(own) == len(others) == 1:
        _compare_levels(name, own[0], others[0], shapes)
        return
    for word in own:
        if (other := f"teacher.{word.partition('.')[2]}") in others:
            _compare_levels(name, word, other, shapes)


def _compare_levels(name: str, student: str, teacher: str, shapes: Mapping[str, Feature]) -> None:
    """Checks that two features have the same number of levels, of the same sizes.

    Raises:
        BlockedError: they do not.
    """
    ours, theirs = (tensors_of(shapes[word]) for word in (student, teacher))
    if len(ours) != len(theirs):
        raise BlockedError(
            f"loss {name!r}: {student} has {len(ours)} levels and {teacher} has {len(theirs)}; list as many "
            "modules in both taps, or set same_size: false for a loss that accepts them"
        )
    for level, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one.ndim == other.ndim == 4 and one.shape[2:] != other.shape[2:]:
            sizes = ["{} x {}".format(*feature.shape[2:]) for feature in (one, other)]
            raise BlockedError(
                f"loss {name!r}: level {level} of {student} is {sizes[0]} and of {teacher} {sizes[1]}; tap "
                "modules of the same stride, or set same_size: false for a loss that accepts them"
            )


def measured_words(loss: Mapping[str, Any]) -> list[str]:
    """The inputs that determine the channels or sizes a loss is built for."""
    channels = [_listed(words) for words in loss.get("channels", {}).values()]
    return [*(word for words in channels for word in words), *loss.get("sizes", {}).values()]


def _check_measured(name: str, loss: Mapping[str, Any], shapes: Mapping[str, Feature]) -> None:
    """Checks that a loss takes channels and sizes only from features that have them.

    Raises:
        BlockedError: it does not; names the argument and the word.
    """
    for what in ("channels", "sizes"):
        for argument, words in loss.get(what, {}).items():
            for word in _listed(words):
                if word not in shapes:
                    raise BlockedError(
                        f"loss {name!r}: {what} of {argument!r} are those of a module or parameter "
                        f"{word!r}; name a tap, an output or an input"
                    )
                if what == "sizes" and tensors_of(shapes[word])[0].ndim != 4:
                    raise BlockedError(
                        f"loss {name!r}: sizes of {argument!r} are those of {word!r}, which is not a map; "
                        "name one of N x C x H x W"
                    )


def _measured(loss: Mapping[str, Any], shapes: Mapping[str, Feature]) -> dict[str, int | list[int]]:
    """The arguments of a loss that are channels or sizes of features."""
    found: dict[str, int | list[int]] = {}
    for argument, words in loss.get("channels", {}).items():
        if isinstance(words, str):
            found[argument] = _channels(shapes[words])
        else:
            tensors = [tensor for word in words for tensor in tensors_of(shapes[word])]
            found[argument] = [_channels(tensor) for tensor in tensors]
    for argument, word in loss.get("sizes", {}).items():
        found[argument] = int(tensors_of(shapes[word])[0].shape[2])
    return found


def _listed(words: str | Sequence[str]) -> Sequence[str]:
    return [words] if isinstance(words, str) else words


def _channels(feature: Feature) -> int:
    """Channels of a tapped tensor: dimension 1 of a map or of logits, the last one of tokens."""
    one = tensors_of(feature)[0]
    return int(one.shape[2] if one.ndim == 3 else one.shape[1])
