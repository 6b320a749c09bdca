"""Parses overrides: what a user changes in a recipe, which trainings of a claim that affects, and the result.

======================================  ====================================================  ==============
override                                affects                                               result
======================================  ====================================================  ==============
``resources.*``                         every training                                        a departure
``student.*``, ``model@student=M``      the student, alone and distilled                      a variant
``teacher.*``, ``model@teacher=M``      the teacher's training, and what learns from it       a variant
``method.*``, ``method=M``              the distilled student                                 a variant
``data.*``, ``schedule.*``              every training                                        a variant
======================================  ====================================================  ==============

A backbone that networks start from is trained with its own recipe: only resources affect its training. Which
one it is follows from ``student.embedded.pretrained``, ``teacher.embedded.pretrained``, or the chosen model.

Resources are dictated by the machine: the result still counts for the claim, with departures. Everything else
makes a **variant**: a row of its own beside the claim's, which it never replaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from suite.contract import Arm
from suite.errors import SuiteError, did_you_mean, printable
from suite.published.recipes import Recipe, group_choices
from suite.yaml_objects import DEEPEST

_SHAPE = re.compile(
    r"^(?P<prefix>\+{1,2}|~)?(?P<key>[A-Za-z_][\w./-]*(?:@[A-Za-z_][\w.]*)?)(?:=(?P<value>.*))?$", re.DOTALL
)

_LONGEST = 10_000
"""Most characters of an override; longer ones belong in a file of a paper's folder."""

_ALL: frozenset[Arm] = frozenset({"student", "teacher", "distilled", "released"})
_ARMS: dict[str, frozenset[Arm]] = {
    "student": frozenset({"student", "distilled", "released"}),
    "teacher": frozenset({"teacher", "distilled"}),
    "method": frozenset({"distilled"}),
    "data": _ALL,
    "schedule": _ALL,
    "resources": _ALL | {"backbone"},
}
"""First word of a key -> the arms of a claim that it affects."""

_GROUPS = {"model@student": "student", "model@teacher": "teacher", "method": "method"}
"""Key of a group that a recipe makes a choice of -> the field of the recipe."""

_PRETRAINED = ("student.embedded.pretrained", "teacher.embedded.pretrained")
"""Keys that set the network whose backbone another starts from."""

_PROMISED = {
    "profile": "what a profile promises cannot be overridden; choose another profile with --profile",
    "task": "a claim's task is fixed; choose other claims",
    "cluster": "recipes have no cluster; only 'reproduce --launcher slurm' uses one; leave it out",
    "means": "the group is called 'resources' now",
}


@dataclass(frozen=True)
class Override:
    """One override as the user wrote it.

    Attributes:
        text: the complete text.
        key: what is overridden, without Hydra's ``+`` or ``~``.
        value: the new value; None if the key is deleted.
    """

    text: str
    key: str
    value: str | None

    @property
    def root(self) -> str:
        """The part of the recipe that it changes: `student`, `teacher`, `method`, `data`, ..."""
        group, _, package = self.key.partition("@")
        return package.partition(".")[0] or group.partition(".")[0].partition("/")[0]

    @property
    def chooses(self) -> str | None:
        """The field of a recipe whose value it replaces: `student`, `teacher`, `method`, or None."""
        return _GROUPS.get(self.key)

    @property
    def is_resource(self) -> bool:
        """Whether it declares a resource, which leaves the claim the same."""
        return self.root == "resources"

    def touches(self, arm: Arm) -> bool:
        """Whether it affects the training of an arm, or the choice of that training."""
        return arm in _ARMS[self.root] or (arm == "backbone" and self.chooses_backbone)

    @property
    def chooses_backbone(self) -> bool:
        """Whether it decides which backbone a network starts from."""
        return self.chooses in ("student", "teacher") or self.key in _PRETRAINED


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """Parses overrides; if two have the same key, the last one counts.

    Raises:
        SuiteError: one is not written like an override, changes what cannot be overridden, or names no part
            of a recipe.
    """
    found: dict[str, Override] = {}
    for text in texts:
        override = _parse(text)
        found.pop(override.key, None)
        found[override.key] = override
    return tuple(found.values())


def _parse(text: str) -> Override:
    if reason := _unreadable(text):
        raise SuiteError(f"override {printable(repr(text), 80)} {reason}")
    match = _SHAPE.match(text)
    if match is None or (match["value"] is None) != (match["prefix"] == "~"):
        raise SuiteError(
            f"override {text!r} is not written like key=value; see 'python -m suite plan --help'"
        )
    override = Override(text, match["key"], match["value"])
    if override.root in _PROMISED:
        raise SuiteError(f"override {text!r}: {_PROMISED[override.root]}")
    if override.root not in _ARMS:
        raise SuiteError(
            f"override {text!r}: a recipe has no {override.root!r}; {did_you_mean(override.root, _ARMS)}"
        )
    return override


def _unreadable(text: str) -> str | None:
    """Why an override cannot be read at all, or None."""
    if len(text) > _LONGEST:
        return f"has more than {_LONGEST:,} characters; keep such a setting in a file of a --papers folder"
    if not text.isprintable():
        return "has characters that cannot be printed; leave them out"
    depth = deepest = 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        deepest = max(deepest, depth)
    return f"nests values in more than {DEEPEST} levels; write it flatter" if deepest > DEEPEST else None


def variant_of(overrides: Iterable[Override], arm: Arm) -> tuple[str, ...]:
    """The overrides that make an arm a variant: those that affect it, except resources, sorted by key."""
    chosen = [entry for entry in overrides if entry.touches(arm) and not entry.is_resource]
    return tuple(entry.text for entry in sorted(chosen, key=lambda entry: entry.key))


def part_of_variant(variant: Sequence[str], arm: Arm) -> tuple[str, ...]:
    """The overrides of a claim's variant that affect one of its arms."""
    return variant_of(parse_overrides(variant), arm)


def applied_to(recipe: Recipe, overrides: Iterable[Override]) -> Recipe:
    """A recipe with the choices that overrides replace: another student, teacher or method.

    A recipe's own settings belong to its method, and are dropped if that is replaced.

    Raises:
        SuiteError: a choice does not exist.
    """
    for override in overrides:
        field = override.chooses
        if field is None or getattr(recipe, field) is None:
            continue
        choices = group_choices("method" if field == "method" else "model")
        if override.value not in choices:
            close = did_you_mean(str(override.value), choices)
            raise SuiteError(f"override {override.text!r}: no {field} {override.value!r}; {close}")
        changes: dict[str, object] = {field: override.value}
        if field == "method":
            changes |= {"overrides": (), "inherit": False, "title": None}
        recipe = recipe.model_copy(update=changes)
    return recipe


def for_arm(overrides: Iterable[Override], arm: Arm) -> tuple[Override, ...]:
    """The overrides of settings that apply to the composition of an arm, under their names there.

    A teacher is trained as the student of its own recipe, so overrides of the teacher become overrides of the
    student there. Choices of groups are left out: `applied_to` applies them.
    """
    chosen = [entry for entry in overrides if entry.touches(arm) and entry.chooses is None]
    if arm == "backbone":
        chosen = [entry for entry in chosen if entry.is_resource]
    return tuple(_as_student(entry) for entry in chosen) if arm == "teacher" else tuple(chosen)


def _as_student(override: Override) -> Override:
    if override.root != "teacher":
        return override
    prefix = override.text[: override.text.index(override.key)]
    key = f"student{override.key.removeprefix('teacher')}"
    value = "" if override.value is None else f"={override.value}"
    return replace(override, text=f"{prefix}{key}{value}", key=key)
