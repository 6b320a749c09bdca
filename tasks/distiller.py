"""Teacher, student, taps and losses as one mmengine model around any mm model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from tasks.adapter import BlockedError
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
    """One loss of a method, with where its inputs come from."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]


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
        probe: Callable[[nn.Module], Any],
        target: Callable[[Any], Tensor],
        teacher: BaseModel | None = None,
        teacher_taps: dict[str, Any] | None = None,
    ) -> None:
        """Builds the losses for the shapes that the taps really give.

        Args:
            student: the mm model to train.
            student_taps: the student's taps (see `Taps`).
            method: composed method: `task_loss_weight` and `losses`, each with `type`, `inputs`
                (`student.<tap>`, `teacher.<tap>` or `target`), `arguments` and `channels`
                (argument of the loss -> tap whose channels it takes).
            probe: runs one forward pass of a model on a small input.
            target: the labels of a batch of data samples, for losses that ask for `target`.
            teacher: the frozen mm model, already loaded; None for methods without one.
            teacher_taps: the teacher's taps.

        Raises:
            BlockedError: a tap does not exist, or the method needs a teacher and has none.
        """
        super().__init__()
        self.student = student
        self.data_preprocessor = student.data_preprocessor
        self.task_loss_weight = float(method["task_loss_weight"])
        self._target = target
        self._outside: dict[str, Any] = {"teacher": None}
        asked = [word for loss in method["losses"].values() for word in loss["inputs"]]
        if teacher is None and any(word.startswith("teacher.") for word in asked):
            raise BlockedError(f"method {method['name']} asks for a teacher, and the recipe names none")
        self._outside["student_taps"] = Taps(student, student_taps, _taps_of("student", asked))
        if teacher is not None:
            teacher.eval().requires_grad_(False)
            self._outside["teacher"] = teacher
            self._outside["teacher_taps"] = Taps(teacher, teacher_taps or {}, _taps_of("teacher", asked))
        shapes = self._probe(probe)
        self.losses = nn.ModuleDict()
        self._terms: list[Term] = []
        for name, loss in method["losses"].items():
            taps = loss.get("channels", {})
            channels = {argument: _channels(shapes[tap]) for argument, tap in taps.items()}
            module = LOSSES[loss["type"]](**loss["arguments"], **channels)
            self.losses[name] = module
            self._terms.append(Term(name, module, tuple(loss["inputs"])))

    @property
    def teacher(self) -> BaseModel | None:
        """The frozen teacher, or None."""
        found: BaseModel | None = self._outside["teacher"]
        return found

    @torch.no_grad()
    def _probe(self, probe: Callable[[nn.Module], Any]) -> dict[str, Feature]:
        # In eval mode, so that the probe leaves batch-norm statistics as they are.
        was_training = self.student.training
        self.student.eval()
        probe(self.student)
        self.student.train(was_training)
        found = {f"student.{name}": value for name, value in self._outside["student_taps"].take().items()}
        if self.teacher is not None:
            probe(self.teacher)
            taken = self._outside["teacher_taps"].take()
            found |= {f"teacher.{name}": value for name, value in taken.items()}
        return found

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
        available: dict[str, Any] = {
            f"student.{name}": value for name, value in self._outside["student_taps"].take().items()
        }
        if self.teacher is not None:
            with torch.no_grad():
                self.teacher(inputs, data_samples, mode="tensor")
            taken = self._outside["teacher_taps"].take()
            available |= {f"teacher.{name}": value for name, value in taken.items()}
        for term in self._terms:
            if "target" in term.inputs and "target" not in available:
                available["target"] = self._target(data_samples)
            losses[f"loss_{term.name}"] = term.module(*(available[word] for word in term.inputs))
        return losses


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
