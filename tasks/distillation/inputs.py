"""The words with which a loss names its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from suite.contract import BlockedError
from suite.errors import did_you_mean

Side = Literal["student", "teacher"]
Kind = Literal["tap", "output", "input", "module", "parameter"]

SIDES: tuple[Side, ...] = ("student", "teacher")
EXPLICIT: tuple[Kind, ...] = ("output", "input", "module", "parameter")
"""Kinds that are written out, `<side>.<kind>:<path>`; without one, the word names a tap of the model."""


@dataclass(frozen=True)
class ModelWord:
    """An input that comes from a model.

    Attributes:
        text: the word itself.
        side: which model it comes from.
        kind: `tap` for a named tap; `output` or `input` of a module in the forward pass; the `module` or
            `parameter` itself.
        name: the tap's name, or the dotted path of the module or parameter.
    """

    text: str
    side: Side
    kind: Kind
    name: str

    @property
    def is_feature(self) -> bool:
        """Whether it is caught during a forward pass, anew in every step."""
        return self.kind in ("tap", "output", "input")

    @property
    def tap(self) -> str:
        """Its name in `Taps`: that of the tap, or `<kind>:<path>`."""
        return self.name if self.kind == "tap" else f"{self.kind}:{self.name}"


def model_word(text: str) -> ModelWord | None:
    """Reads a word such as `student.neck`, `teacher.input:backbone.layer4` or `teacher.module:bbox_head`.

    Returns:
        Its parts; None for a word without a side: an annotation, or the progress of the training.

    Raises:
        BlockedError: the kind before the colon is unknown, or no name follows.
    """
    side, _, rest = text.partition(".")
    if side not in SIDES:
        return None
    kind, colon, path = rest.partition(":")
    if not colon:
        kind, path = "tap", rest
    elif kind not in EXPLICIT:
        raise BlockedError(f"input {text!r}: no kind {kind!r}: {did_you_mean(kind, EXPLICIT)}")
    if not path:
        raise BlockedError(f"input {text!r} names nothing; write {side}.TAP or {side}.output:PATH.OF.MODULE")
    return ModelWord(text, side, cast(Kind, kind), path)
