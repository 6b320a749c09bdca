"""Teacher, student, taps and losses as one mmengine model around any mm model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from suite.contract import BlockedError
from tasks.distillation.inheriting import Inherited, inherit
from tasks.methods import LOSSES

Feature = Tensor | list[Tensor]


def _pooled_tokens(tokens: Tensor) -> Tensor:
    return tokens.mean(dim=1)


def _class_token(tokens: Tensor) -> Tensor:
    return tokens[:, 0]


def _patch_tokens(tokens: Tensor) -> Tensor:
    """The last square number of tokens: class and distillation tokens stand in front."""
    side = int(tokens.shape[1] ** 0.5)
    return tokens[:, -side * side :]


def _pooled(feature_map: Tensor) -> Tensor:
    return feature_map.mean(dim=(2, 3))


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "as_is": lambda feature: feature,
    "pooled": _pooled,
    "pooled_tokens": _pooled_tokens,
    "class_token": _class_token,
    "patch_tokens": _patch_tokens,
}
"""What a tap makes of a module's output: `N x C x H x W` or `N x L x C` -> what the loss takes."""


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path; a number is an index, from the end when negative.

    Raises:
        BlockedError: the path names no module; says how far it leads.
    """
    module = model
    walked = type(model).__name__
    for part in path.split("."):
        children = dict(module.named_children())
        if part.lstrip("-").isdigit() and isinstance(module, nn.ModuleList | nn.Sequential):
            index = int(part)
            found = module[index] if -len(module) <= index < len(module) else None
        else:
            found = children.get(part)
        if found is None:
            there = ", ".join(children) or "no modules"
            raise BlockedError(f"tap {path!r}: {walked} has no {part!r}, only {there}")
        module = found
        walked = f"{walked}.{part}"
    return module


class Taps:
    """Catches the outputs of named modules during a forward pass."""

    def __init__(self, model: nn.Module, taps: dict[str, Any], wanted: Sequence[str]) -> None:
        """Hooks the modules of the taps that are wanted.

        Args:
            model: the model to listen to; it is not edited.
            taps: tap name -> `{module: path or list of paths, form: name of a form}`.
            wanted: names of the taps to listen to.

        Raises:
            BlockedError: a wanted tap is not declared for the model, or names no module.
        """
        self._caught: dict[tuple[str, int], Tensor] = {}
        self._several: dict[str, int | None] = {}
        self.paths: dict[str, str | list[str]] = {
            name: taps[name]["module"] for name in wanted if name in taps
        }
        for name in wanted:
            if name not in taps:
                declared = ", ".join(taps)
                raise BlockedError(
                    f"tap {name!r} is not declared for {type(model).__name__}, only {declared}"
                )
            paths = taps[name]["module"]
            form = FORMS[taps[name].get("form", "as_is")]
            self._several[name] = None if isinstance(paths, str) else len(paths)
            for position, path in enumerate([paths] if isinstance(paths, str) else paths):
                module = find_module(model, path)
                module.register_forward_hook(self._hook(name, position, form))

    def _hook(self, name: str, position: int, form: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def catch(module: nn.Module, inputs: Any, output: Any) -> None:
            # A stage may return its output size beside the feature.
            self._caught[name, position] = form(output[0] if isinstance(output, tuple) else output)

        return catch

    def take(self) -> dict[str, Feature]:
        """What was caught since the last call, by tap name; a tap of several modules gives a list."""
        taken: dict[str, Feature] = {}
        for name, count in self._several.items():
            if count is None:
                taken[name] = self._caught[name, 0]
            else:
                taken[name] = [self._caught[name, position] for position in range(count)]
        self._caught.clear()
        return taken


@dataclass(frozen=True)
class Term:
    """One loss of a method, with where its inputs come from.

    Attributes:
        name: the term is logged as `loss_<name>`.
        module: the loss, or one loss a level.
        inputs: what it takes, in the order of its arguments.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]

    def __call__(self, available: dict[str, Any]) -> Tensor:
        """The loss of one batch; of several levels the sum.

        Args:
            available: what the taps caught (`student.<tap>`, `teacher.<tap>`) and the annotations.
        """
        if not isinstance(self.module, nn.ModuleList):
            return cast(Tensor, self.module(*(available[word] for word in self.inputs)))
        levels = [
            loss(*(available[word][level] if _is_tap(word) else available[word] for word in self.inputs))
            for level, loss in enumerate(self.module)
        ]
        return torch.stack(levels).sum()


class Distiller(BaseModel):
    """Trains a student with the losses of a method; alone it predicts, and it alone is saved.

    The teacher lives outside of PyTorch's module tree: no optimiser, no checkpoint, no
    `DistributedDataParallel` and no call of `train()` can reach it. It is frozen, in eval mode and
    outside of autograd for its whole life.
    """

    def __init__(
        self,
        student: BaseModel,
        student_taps: dict[str, Any],
        method: dict[str, Any],
        example: Tensor,
        features: Callable[[BaseModel, Tensor], Any],
        annotations: Mapping[str, Callable[[Any], Any]],
        teacher: BaseModel | None = None,
        teacher_taps: dict[str, Any] | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        """Builds the losses for the shapes that the taps really give.

        Args:
            student: the mm model to train.
            student_taps: the student's taps (see `Taps`).
            method: composed method: `task_loss_weight`, `inherit` (whether the student starts from the
                teacher's neck and head) and `losses`, each with `type`, `inputs` (`student.<tap>`,
                `teacher.<tap>` or the name of an annotation), `arguments`, `channels` (argument of the
                loss -> tap whose channels it takes), `each_level` (one loss for every level of the taps,
                summed) and `scaled` (argument -> key of `scales` it is multiplied with).
            example: one batch as the student's data preprocessor gives it.
            features: a forward pass of a model on a batch that reaches every tapped module.
            annotations: name -> what it is in a batch of data samples: class indices, boxes, ...
            teacher: the frozen mm model, already loaded; None for methods without one.
            teacher_taps: the teacher's taps.
            scales: factors of loss weights, where the feature maps are smaller than the published ones.

        Raises:
            BlockedError: a tap does not exist, levels disagree, or the method needs a teacher and has
                none.
        """
        super().__init__()
        self.student = student
        self.data_preprocessor = student.data_preprocessor
        self.task_loss_weight = float(method["task_loss_weight"])
        self._features = features
        self._annotations = annotations
        self._inherits = bool(method.get("inherit", False))
        self.inherited: Inherited | None = None
        self._outside: dict[str, Any] = {"teacher": None}
        asked = [word for loss in method["losses"].values() for word in loss["inputs"]]
        if teacher is None and (self._inherits or any(word.startswith("teacher.") for word in asked)):
            raise BlockedError(f"method {method['name']} asks for a teacher, and the recipe names none")
        self._outside["student_taps"] = Taps(student, student_taps, _taps_of("student", asked))
        if teacher is not None:
            teacher.eval().requires_grad_(False)
            self._outside["teacher"] = teacher
            self._outside["teacher_taps"] = Taps(teacher, teacher_taps or {}, _taps_of("teacher", asked))
        shapes = self.caught(example)
        self.losses = nn.ModuleDict()
        self._terms: list[Term] = []
        for name, loss in method["losses"].items():
            _check_levels(name, loss["inputs"], shapes)
            self.losses[name] = _build_loss(name, loss, shapes, scales or {})
            self._terms.append(Term(name, self.losses[name], tuple(loss["inputs"])))

    @property
    def teacher(self) -> BaseModel | None:
        """The frozen teacher, or None."""
        found: BaseModel | None = self._outside["teacher"]
        return found

    @property
    def detector(self) -> BaseModel:
        """The student, by the name under which hooks of mmdet look for it inside other models."""
        return self.student

    @property
    def inherits(self) -> bool:
        """Whether the student's neck and head start from the teacher's."""
        return self._inherits

    @property
    def tapped(self) -> dict[str, dict[str, str | list[str]]]:
        """Side (`student`, `teacher`) -> tap -> the modules that are listened to."""
        sides = {"student": "student_taps", "teacher": "teacher_taps"}
        return {side: self._outside[key].paths for side, key in sides.items() if key in self._outside}

    def init_weights(self) -> None:
        """Initialises the student as its zoo config says; then lets it inherit, where the method does."""
        super().init_weights()
        if self._inherits and self.inherited is None:
            assert self.teacher is not None
            self.inherited = inherit(self.student, self.teacher)

    @torch.no_grad()
    def caught(self, inputs: Tensor) -> dict[str, Feature]:
        """What the taps give for a batch (`student.<tap>`, `teacher.<tap>`), outside of autograd.

        In eval mode, so that batch-norm statistics stay as they are.
        """
        was_training = self.student.training
        self.student.eval()
        self._features(self.student, inputs)
        self.student.train(was_training)
        found = self._caught("student")
        if self.teacher is not None:
            self._features(self.teacher, inputs)
            found |= self._caught("teacher")
        return found

    def _caught(self, side: str) -> dict[str, Feature]:
        return {f"{side}.{name}": value for name, value in self._outside[f"{side}_taps"].take().items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Distiller:
        """A copy with weights of its own, such as averaged ones; teacher, taps and annotations are shared."""
        memo |= {id(shared): shared for shared in (self._outside, self._features, self._annotations)}
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distiller:
        """Moves the teacher along when the model changes device or precision."""
        super()._apply(fn, recurse)
        if self.teacher is not None:
            self.teacher._apply(fn, recurse)
        return self

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """The student's forward pass; in mode `loss`, its own losses and those of the method.

        Args:
            inputs: a batch as the student's data preprocessor gives it.
            data_samples: annotations of the batch.
            mode: `loss`, `predict` or `tensor`, as for every mmengine model.

        Returns:
            In mode `loss` a dictionary of scalars: the student's own, weighted, and one
            `loss_<name>` a term of the method. Otherwise what the student returns.
        """
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode)
        losses = {
            name: _scaled(value, self.task_loss_weight) if "loss" in name else value
            for name, value in self.student(inputs, data_samples, mode="loss").items()
        }
        features = self._caught("student")
        if self.teacher is not None:
            with torch.no_grad():
                self._features(self.teacher, inputs)
            features |= self._caught("teacher")
        return losses | self.compare(features, data_samples)

    def compare(self, features: Mapping[str, Feature], data_samples: Any) -> dict[str, Tensor]:
        """The losses of the method alone.

        Args:
            features: what the taps caught, `student.<tap>` and `teacher.<tap>`.
            data_samples: annotations of the batch.

        Returns:
            One scalar `loss_<name>` a term.
        """
        asked = {word for term in self._terms for word in term.inputs}
        annotations = {name: read(data_samples) for name, read in self._annotations.items() if name in asked}
        return {f"loss_{term.name}": term({**features, **annotations}) for term in self._terms}


def _build_loss(
    name: str, loss: dict[str, Any], shapes: dict[str, Feature], scales: Mapping[str, float]
) -> nn.Module:
    """The loss module of one entry of a method; with `each_level`, one module a level."""
    arguments = dict(loss["arguments"])
    for argument, kind in loss.get("scaled", {}).items():
        arguments[argument] *= scales.get(kind, 1.0)
    taps = loss.get("channels", {})
    kind = LOSSES[loss["type"]]
    if not loss.get("each_level", False):
        return kind(**arguments, **{argument: _channels(shapes[tap]) for argument, tap in taps.items()})
    listed = [shapes[word] for word in loss["inputs"] if _is_tap(word)]
    if not all(isinstance(maps, list) for maps in listed):
        raise BlockedError(f"loss {name!r} is built for each level; its taps must list their modules")
    return nn.ModuleList(
        kind(**arguments, **{argument: _channels(shapes[tap][level]) for argument, tap in taps.items()})
        for level in range(len(listed[0]))
    )


def _check_levels(name: str, inputs: Sequence[str], shapes: dict[str, Feature]) -> None:
    """Makes sure that a loss compares maps of equal size.

    Raises:
        BlockedError: number or size of the levels differ; says where.
    """
    compared = [word for word in inputs if _is_tap(word)]
    if [word.partition(".")[0] for word in sorted(compared)] != ["student", "teacher"]:
        return
    ours, theirs = (shapes[word] if isinstance(shapes[word], list) else [shapes[word]] for word in compared)
    if len(ours) != len(theirs):
        raise BlockedError(
            f"loss {name!r}: {compared[0]} has {len(ours)} levels and {compared[1]} has {len(theirs)}; "
            "list as many modules in both taps"
        )
    for level, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one.ndim == other.ndim == 4 and one.shape[2:] != other.shape[2:]:
            sizes = ["{} x {}".format(*feature.shape[2:]) for feature in (one, other)]
            raise BlockedError(
                f"loss {name!r}: level {level} of {compared[0]} is {sizes[0]} and of {compared[1]} "
                f"{sizes[1]}; tap modules of the same stride"
            )


def _is_tap(word: str) -> bool:
    return "." in word


def _taps_of(side: str, words: Sequence[str]) -> list[str]:
    return sorted({word.partition(".")[2] for word in words if word.startswith(f"{side}.")})


def _channels(feature: Feature) -> int:
    """Channels of a tapped output: dimension 1 of a map or of logits, the last one of tokens."""
    one = feature[0] if isinstance(feature, list) else feature
    return int(one.shape[2] if one.ndim == 3 else one.shape[1])


def _scaled(value: Any, weight: float) -> Any:
    if weight == 1.0:
        return value
    return [part * weight for part in value] if isinstance(value, list) else value * weight
