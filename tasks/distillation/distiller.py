"""Teacher, student, taps and losses as one mmengine model around any mm model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from suite.contract import BlockedError
from suite.errors import did_you_mean
from tasks.distillation.inheriting import Inherited, inherit
from tasks.distillation.inputs import ModelWord, Side, model_word
from tasks.distillation.loss_building import build_loss, check_levels, check_task_weight, measured_words
from tasks.distillation.probes import observe_loss, signs
from tasks.distillation.seen import Seen
from tasks.distillation.taps import Depth, Feature, Taps, find_module, find_parameter
from tasks.distillation.teacher_memory import TeacherMemory

LOSS_KEYS = (
    *("type", "inputs", "arguments", "channels", "sizes", "data"),
    *("each_level", "same_size", "scaled"),
)
"""The keys that a loss may have in a method file."""


@dataclass(frozen=True)
class Term:
    """One loss of a method and the words of its inputs.

    Attributes:
        name: the term is logged as `loss_<name>`.
        module: the loss, or one loss per level.
        inputs: the words of its inputs, in the order of its arguments.
        levels: those of `inputs` that have one entry per level, if the loss is built for each level.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    levels: frozenset[str] = frozenset()

    def __call__(self, available: Mapping[str, Any]) -> Tensor:
        """The loss of one batch, summed over the levels if there are several.

        Args:
            available: every input by its word.
        """
        if not isinstance(self.module, nn.ModuleList):
            return cast(Tensor, self.module(*(available[word] for word in self.inputs)))
        levels = [
            loss(
                *(available[word][level] if word in self.levels else available[word] for word in self.inputs)
            )
            for level, loss in enumerate(self.module)
        ]
        return torch.stack(levels).sum()


class Distiller(BaseModel):
    """Trains a student with the losses of a method; only the student predicts and is saved.

    The teacher lives outside of PyTorch's module tree: no optimiser, no checkpoint, no
    `DistributedDataParallel` and no call of `train()` can reach it. It is frozen and in eval mode for its
    whole life, and its own forward pass is outside of autograd. A loss may pass the student's features
    through modules of the teacher, which stay frozen: gradients then flow through them to the student.

    A loss names its inputs by words:

    - `student.<tap>`, `teacher.<tap>`: a tap that the model's file declares;
    - `student.output:<path>`, `student.input:<path>` (and `teacher.`): the output of a module, or its first
      positional input;
    - `teacher.module:<path>`, `teacher.parameter:<path>` (and `student.`): the module or parameter itself;
    - an annotation that the task's adapter offers, such as `target`, `boxes` or `sample_index`;
    - `iteration` and `epoch`: the number of completed ones, 0 in the first. An iteration-based training has
      no `epoch`.
    """

    def __init__(
        self,
        student: BaseModel,
        student_taps: Mapping[str, Any],
        method: Mapping[str, Any],
        example: Tensor,
        features: Callable[[BaseModel, Tensor, Depth], Any],
        annotations: Mapping[str, Callable[[Any], Any]],
        teacher: BaseModel | None = None,
        teacher_taps: Mapping[str, Any] | None = None,
        scales: Mapping[str, float] | None = None,
        progress: Mapping[str, Callable[[], int]] | None = None,
        training_data: Mapping[str, Callable[[], Any]] | None = None,
        memory: TeacherMemory | None = None,
    ) -> None:
        """Builds the losses for the shapes that the taps actually produce.

        Args:
            student: the mm model to train.
            student_taps: the student's taps (see `Taps`).
            method: composed method: `task_loss_weight`, `inherit` (whether the student starts from the
                teacher's neck and head) and `losses`, each with `type` (registered name), `inputs` (words,
                see above, in the order of the arguments of its `forward`), `arguments`, `channels` (argument
                of the loss -> word whose channels it takes, or words, for a list of the channels of all
                their tensors), `sizes` (likewise the height of a map), `data` (argument -> name in
                `training_data`), `each_level` (one loss for every level of the taps, summed), `same_size`
                (false for a loss that takes a student's and a teacher's maps of different number or size)
                and `scaled` (argument -> key of `scales` that it is multiplied by).
            example: one batch as the student's data preprocessor returns it.
            features: runs a model on a batch, as far as it is asked to.
            annotations: name -> function that reads class indices, boxes, ... from a batch of data samples.
            teacher: the frozen mm model, already loaded; None for methods without one.
            teacher_taps: the teacher's taps.
            scales: factors for loss weights, where the feature maps are smaller than the published ones.
            progress: name (`epoch`, `iteration`) -> function that returns the number of completed ones.
            training_data: name -> function that reads it from the whole training data set, for losses that
                are built from such data.
            memory: answers for the teacher where images come again unchanged; None runs it in every step.

        Raises:
            BlockedError: an input is unknown, names a module or parameter that does not exist or a tap that
                never fires; levels disagree; a loss is unknown or refuses its arguments; the method needs a
                teacher and has none.
        """
        super().__init__()
        self.student = student
        self.data_preprocessor = student.data_preprocessor
        self.task_loss_weight = float(method["task_loss_weight"])
        self._features = features
        self._annotations = annotations
        self._progress = progress or {}
        self._inherits = bool(method.get("inherit", False))
        self.inherited: Inherited | None = None
        self._outside: dict[str, Any] = {"teacher": None, "seen": Seen(), "memory": memory}
        self._words = self._read_words(method["losses"])
        if teacher is None and (
            self._inherits or any(word.side == "teacher" for word in self._words.values())
        ):
            raise BlockedError(f"method {method['name']} needs a teacher, but the recipe names none")
        self._outside["student_taps"] = Taps(student, student_taps, self._tapped("student"))
        if teacher is not None:
            teacher.eval().requires_grad_(False)
            self._outside["teacher"] = teacher
            self._outside["teacher_taps"] = Taps(teacher, teacher_taps or {}, self._tapped("teacher"))
        self._handed()
        shapes = self.caught(example)
        self.signs = signs(shapes)
        self.losses = nn.ModuleDict()
        self._terms: list[Term] = []
        for name, loss in method["losses"].items():
            features_of = [word for word in loss["inputs"] if word in shapes]
            if loss.get("same_size", True):
                check_levels(name, features_of, shapes)
            module = build_loss(name, loss, shapes, scales or {}, features_of, training_data or {})
            levels = frozenset(features_of if isinstance(module, nn.ModuleList) else ())
            self.losses[name] = module
            self._terms.append(Term(name, module, tuple(loss["inputs"]), levels))
            check_task_weight(name, module, self.task_loss_weight)

    def _read_words(self, losses: Mapping[str, Any]) -> dict[str, ModelWord]:
        """The inputs of all losses that come from a model, by word.

        Raises:
            BlockedError: an input is not a known word, or a loss has an unknown key.
        """
        words: dict[str, ModelWord] = {}
        others = [*self._annotations, *self._progress]
        for name, loss in losses.items():
            for key in loss:
                if key not in LOSS_KEYS:
                    raise BlockedError(f"loss {name!r}: no key {key!r}: {did_you_mean(key, LOSS_KEYS)}")
            for text in (*loss["inputs"], *measured_words(loss)):
                if word := model_word(text):
                    words[text] = word
                elif text not in others:
                    raise BlockedError(
                        f"loss {name!r}: no input {text!r}: {did_you_mean(text, others)}; what comes from a "
                        "model begins with 'student.' or 'teacher.'"
                    )
        return words

    def _tapped(self, side: Side) -> list[str]:
        return sorted({word.tap for word in self._words.values() if word.side == side and word.is_feature})

    @property
    def teacher(self) -> BaseModel | None:
        """The frozen teacher, or None."""
        found: BaseModel | None = self._outside["teacher"]
        return found

    @property
    def seen(self) -> Seen:
        """What has been observed of the method in the steps so far."""
        found: Seen = self._outside["seen"]
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
    def observed(self) -> dict[str, dict[str, Any]]:
        """Loss -> how it behaves when it is probed (see `observe_loss`)."""
        return {
            term.name: observe_loss(term.module, term.inputs)
            for term in self._terms
            if not isinstance(term.module, nn.ModuleList)
        }

    @property
    def tapped(self) -> dict[str, dict[str, str | list[str]]]:
        """Side (`student`, `teacher`) -> tap -> the modules that are listened to."""
        sides = {"student": "student_taps", "teacher": "teacher_taps"}
        return {side: self._outside[key].paths for side, key in sides.items() if key in self._outside}

    def init_weights(self) -> None:
        """Initialises the student as its zoo config says; then lets it inherit, if the method requires it."""
        super().init_weights()
        if self._inherits and self.inherited is None:
            assert self.teacher is not None
            self.inherited = inherit(self.student, self.teacher)

    @torch.no_grad()
    def caught(self, inputs: Tensor) -> dict[str, Feature]:
        """Runs both models on a batch outside of autograd; returns what the taps catch.

        The student is in eval mode meanwhile, so that batch-norm statistics stay as they are.

        Returns:
            Feature by word, `student.<tap>` and `teacher.<tap>`.
        """
        was_training = self.student.training
        self.student.eval()
        taps = self._outside["student_taps"]
        with taps.listening():
            self._features(self.student, inputs, taps.depth)
        self.student.train(was_training)
        return self._caught("student") | self.run_teacher(inputs)

    @torch.no_grad()
    def run_teacher(self, inputs: Tensor) -> dict[str, Feature]:
        """Runs the teacher on a batch, no further than its taps need; returns what they catch.

        What its memory knows is not computed again.

        Args:
            inputs: a batch as the student's data preprocessor returns it.

        Returns:
            Feature by word, `teacher.<tap>`; empty without a teacher or if nothing of it is tapped.
        """
        if self.teacher is None or not self._tapped("teacher"):
            return {}
        memory: TeacherMemory | None = self._outside["memory"]
        return memory.features(inputs, self._run_teacher) if memory else self._run_teacher(inputs)

    def _run_teacher(self, inputs: Tensor) -> dict[str, Feature]:
        taps = self._outside["teacher_taps"]
        with taps.listening():
            self._features(self.teacher, inputs, taps.depth)
        return self._caught("teacher")

    def _caught(self, side: str) -> dict[str, Feature]:
        return {f"{side}.{name}": value for name, value in self._outside[f"{side}_taps"].take().items()}

    def _fired(self) -> dict[str, int]:
        """Tap (`student.<tap>`, `teacher.<tap>`) -> how often its modules ran in the latest pass."""
        return {
            f"{side}.{tap}": times
            for side in self.tapped
            for tap, times in self._outside[f"{side}_taps"].fired.items()
        }

    def _handed(self) -> dict[str, nn.Module | nn.Parameter]:
        """The modules and parameters that losses take as inputs, by word.

        They are looked up anew in every step: a model may be moved or copied.
        """
        found: dict[str, nn.Module | nn.Parameter] = {}
        for text, word in self._words.items():
            model = self.student if word.side == "student" else self.teacher
            if model is not None and word.kind == "module":
                found[text] = find_module(model, word.name, what="module")
            elif model is not None and word.kind == "parameter":
                found[text] = find_parameter(model, word.name)
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Distiller:
        """Copies student and losses, for averaged weights, say; teacher, taps and functions are shared."""
        shared = (self._outside, self._features, self._annotations, self._progress)
        memo |= {id(one): one for one in shared}
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
            inputs: a batch as the student's data preprocessor returns it.
            data_samples: annotations of the batch.
            mode: `loss`, `predict` or `tensor`, as for every mmengine model.

        Returns:
            In mode `loss` a dictionary of scalars: the student's own, weighted, and one
            `loss_<name>` per term of the method. Otherwise what the student returns.
        """
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode)
        taps: Taps = self._outside["student_taps"]
        count = self._progress.get("iteration")
        iteration = count() if count else -1
        looks = iteration in self.seen.looked_at
        with taps.listening(tracing=looks):
            own = self.student(inputs, data_samples, mode="loss")
        edges = {f"student.{name}": found for name, found in taps.edges.items()}
        losses = {
            name: _scaled(value, self.task_loss_weight) if "loss" in name else value
            for name, value in own.items()
        }
        features = self._caught("student") | self.run_teacher(inputs)
        method = self.compare(features, data_samples)
        self.seen.count(self._fired())
        if looks and edges:
            self.seen.measure(iteration, edges, self.parse_losses(losses)[0], self.parse_losses(method)[0])
        return losses | method

    def compare(self, features: Mapping[str, Feature], data_samples: Any) -> dict[str, Tensor]:
        """Computes the losses of the method only.

        Args:
            features: what the taps caught, `student.<tap>` and `teacher.<tap>`.
            data_samples: annotations of the batch.

        Returns:
            One scalar `loss_<name>` per term.
        """
        asked = {word for term in self._terms for word in term.inputs}
        device = next(self.student.parameters()).device
        available: dict[str, Any] = {**features, **self._handed()}
        for name, read in self._annotations.items():
            if name in asked:
                value = read(data_samples)
                available[name] = value.to(device) if isinstance(value, Tensor) else value
        available |= {name: count() for name, count in self._progress.items() if name in asked}
        return {f"loss_{term.name}": term(available) for term in self._terms}


def _scaled(value: Any, weight: float) -> Any:
    if weight == 1.0:
        return value
    return [part * weight for part in value] if isinstance(value, list) else value * weight
