"""The identity of a run: everything that defines its number, and nothing else.

A run id is the hash of an explicit, typed list of what the number depends on (`Identity`), never of
"everything but". Import paths, titles, names of models and methods, taps that no loss reads, packages of
other tasks and the machine are not part of it: they may change, and every recorded run keeps its id. A field
that is added later gets a default, and defaults are left out of the hash. ``tests/planning/golden_ids.json``
holds ids that must not change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from suite.contract import (
    Checkpoint,
    ComposedLoss,
    ComposedMethod,
    ComposedModel,
    ComposedRecipe,
    Resources,
    Scale,
    Tap,
    modules_of,
)
from suite.strict import Strict

DIGITS = 16
"""Hexadecimal digits of a run id."""

_NOT_TRAINED_ON = ("val_dataloader", "val_evaluator", "val_cfg")
"""Parts of a zoo's config that no run uses: no checkpoint is ever selected by a validation score."""


class NetworkIdentity(Strict):
    """A network, defined by the zoo's config that it starts from and the changes to it.

    Attributes:
        zoo: ``<package>::<path>``; the release of the package fixes its content.
        scale: which section of the model's file applies.
        overrides: what is changed in the network.
        config: what is changed outside the network.
    """

    zoo: str
    scale: Scale
    overrides: dict[str, Any] = {}
    config: dict[str, Any] = {}


class LossIdentity(Strict):
    """One loss.

    Attributes:
        loss: the name that it is registered under.
        version: raised by its author when its numbers change.
        inputs: what it takes, with taps replaced by their modules.
        arguments: hyper-parameters, after scaling.
        channels: argument -> input whose number of channels it is set to, or several inputs.
        sizes: argument -> input whose height it is set to.
        data: argument -> name of what the task reads from the whole training data set for it.
        each_level: whether it is applied to every level.
    """

    loss: str
    version: PositiveInt
    inputs: list[str]
    arguments: dict[str, Any] = {}
    channels: dict[str, str | list[str]] = {}
    sizes: dict[str, str] = {}
    data: dict[str, str] = {}
    each_level: bool = False


class MethodIdentity(Strict):
    """A method: its losses in their order, and its other settings.

    Attributes:
        losses: the losses.
        task_loss_weight: factor on the student's own losses.
        inherit: whether the student starts from the teacher's neck and head.
        config: what the method changes in the zoo's config.
    """

    losses: list[LossIdentity]
    task_loss_weight: float = 1.0
    inherit: bool = False
    config: dict[str, Any] = {}


class DataIdentity(Strict):
    """The data, identified by content, or by name for a published data set.

    Attributes:
        fingerprint: hash of names and contents; ``published:<name>`` for a published data set.
        pipeline: loaders, transforms and evaluators.
    """

    fingerprint: str
    pipeline: dict[str, Any] = {}


class CheckpointIdentity(Strict):
    """Weights that a run learns from, starts from or scores, instead of training them.

    Attributes:
        sha256: SHA-256 of the file, or as many digits as its publisher gives; None for a run of ours.
        run: the run that trained them; None for a file.
        claim: the claim that a file is scored for, if the user named the file.
    """

    sha256: str | None = None
    run: str | None = None
    claim: str | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> CheckpointIdentity | None:
        """The part of a checkpoint that defines a number: its content, not its name."""
        if checkpoint is None:
            return None
        return cls(sha256=checkpoint.sha256, run=checkpoint.run, claim=checkpoint.claim)


class Identity(Strict):
    """Everything that defines a number.

    Attributes:
        task: id of the task.
        adapter_version: version of the task's adapter, raised when its numbers change.
        student: the network that is trained and scored.
        teacher: the checkpoint of its teacher, for a distilled student.
        method: how it is distilled.
        data: what it is trained and scored on.
        schedule: optimiser, schedule and length.
        resources: the user's resources, where they differ from the published ones.
        checkpoint: the checkpoint that is scored, if nothing is trained.
        start: the checkpoint whose backbone it starts from.
        seed: seed of initial weights, data order and every random draw.
        repetition: 0 for the first measurement, 1 for the second of exactly the same (``--again``), ...
        releases: import name -> release of the packages that compute the number, without local suffixes.
    """

    task: str
    adapter_version: PositiveInt
    student: NetworkIdentity
    teacher: CheckpointIdentity | None = None
    method: MethodIdentity | None = None
    data: DataIdentity
    schedule: dict[str, Any] = {}
    resources: Resources = Resources()
    checkpoint: CheckpointIdentity | None = None
    start: CheckpointIdentity | None = None
    seed: NonNegativeInt
    repetition: NonNegativeInt = 0
    releases: dict[str, str]

    @property
    def run_id(self) -> str:
        """The id of the run, in hexadecimal."""
        return _hash(self.model_dump(exclude_defaults=True))

    @property
    def series(self) -> str:
        """The hash without seed and repetition: runs of one series differ only in these."""
        return _hash(self.model_dump(exclude_defaults=True, exclude={"seed", "repetition"}))


def identify(
    recipe: ComposedRecipe,
    *,
    seed: int,
    adapter_version: int,
    loss_versions: Mapping[str, int],
    releases: Mapping[str, str],
    teacher: Checkpoint | None = None,
    checkpoint: Checkpoint | None = None,
    start: Checkpoint | None = None,
    repetition: int = 0,
) -> Identity:
    """The identity of a run.

    Args:
        recipe: the composed recipe.
        seed: seed of the run.
        adapter_version: version of the task's adapter.
        loss_versions: name of a loss -> its version.
        releases: import name -> release of the packages that matter for the task; local suffixes are dropped.
        teacher: the checkpoint of the teacher.
        checkpoint: weights that are scored instead of trained; then method, schedule and resources are left
            out.
        start: the checkpoint whose backbone the training starts from.
        repetition: how often the same has been measured before.

    Raises:
        KeyError: a loss of the recipe has no version.
    """
    trains = checkpoint is None
    return Identity(
        task=recipe.task,
        adapter_version=adapter_version,
        student=NetworkIdentity(
            # A network without a zoo config is identified by its kind, from which its adapter builds it.
            zoo=recipe.student.zoo or f"::{recipe.student.kind}",
            scale=recipe.scale,
            overrides=canonical(recipe.student.overrides),
            config=canonical(recipe.student.config),
        ),
        teacher=CheckpointIdentity.of(teacher),
        method=_method(recipe, loss_versions) if recipe.method and trains else None,
        data=DataIdentity(
            fingerprint=recipe.data.fingerprint or f"published:{recipe.data.name}",
            pipeline=canonical(
                {key: value for key, value in recipe.data.overrides.items() if key not in _NOT_TRAINED_ON}
            ),
        ),
        schedule=canonical(recipe.schedule) if trains else {},
        resources=recipe.resources if trains else Resources(),
        checkpoint=CheckpointIdentity.of(checkpoint),
        start=CheckpointIdentity.of(start),
        seed=seed,
        repetition=repetition,
        releases={name: release.partition("+")[0] for name, release in sorted(releases.items())},
    )


def _method(recipe: ComposedRecipe, versions: Mapping[str, int]) -> MethodIdentity:
    assert recipe.method is not None
    method: ComposedMethod = recipe.method
    sides = {"student": recipe.student, "teacher": recipe.teacher}
    return MethodIdentity(
        losses=[_loss(loss, sides, recipe.data.scales, versions) for loss in method.losses.values()],
        task_loss_weight=method.task_loss_weight,
        inherit=method.inherit,
        config=canonical(method.config),
    )


def _loss(
    loss: ComposedLoss,
    sides: Mapping[str, ComposedModel | None],
    scales: Mapping[str, float],
    versions: Mapping[str, int],
) -> LossIdentity:
    factors = {argument: scales.get(kind, 1.0) for argument, kind in loss.scaled.items()}
    arguments = {
        name: value * factors[name] if name in factors else value for name, value in loss.arguments.items()
    }
    return LossIdentity(
        loss=loss.type,
        version=versions[loss.type],
        inputs=[_resolved(word, sides) for word in loss.inputs],
        arguments=canonical(arguments),
        channels={
            name: _resolved(words, sides)
            if isinstance(words, str)
            else [_resolved(word, sides) for word in words]
            for name, words in sorted(loss.channels.items())
        },
        sizes={name: _resolved(word, sides) for name, word in sorted(loss.sizes.items())},
        data=dict(sorted(loss.data.items())),
        each_level=loss.each_level,
    )


def _resolved(word: str, sides: Mapping[str, ComposedModel | None]) -> str:
    """An input with the name of a tap replaced by the tap's modules; any other input unchanged."""
    side, _, name = word.partition(".")
    model = sides.get(side)
    tap: Tap | None = model.taps.get(name) if model else None
    if tap is None:
        return word
    pooled = "" if tap.pooling == "none" else f" {tap.pooling}"
    last = "" if tap.calls == "all" else " last call"
    return f"{side}.{tap.side}:{'|'.join(modules_of(tap))}{pooled}{last}"


def canonical(value: Any) -> Any:
    """A setting in canonical form: classes without their module, and whole numbers as integers."""
    if isinstance(value, Mapping):
        return {
            str(key): item.rpartition(".")[2] if key == "type" and isinstance(item, str) else canonical(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
