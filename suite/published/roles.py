"""The roles that a claim can have in its paper: ``baselines/roles.yaml``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, RootModel, model_validator

from suite.catalogue import Catalogue, collect, current, entries
from suite.errors import SuiteError, did_you_mean
from suite.strict import Strict
from suite.strict_yaml import parse

Part = Literal["teacher", "student", "method"]
"""What a claim may name."""


class Role(Strict):
    """A role, and what follows from it.

    Attributes:
        title: in words, with an article: `an ablation`.
        plural: in words.
        arm: the training that measures a claim with this role.
        requires: what such a claim must name.
        excludes: what it must not name.
        own: whether the paper presents the claim as its own result: then it counts in the sign tests, and has
            a row in the summary.
        ranked: whether it is ranked among the methods on its teacher and student.
        turn: its priority under a budget; the lowest number comes first.
    """

    title: str
    plural: str
    arm: Literal["teacher", "student", "distilled"]
    requires: list[Part]
    excludes: list[Part] = []
    own: bool = False
    ranked: bool = False
    turn: NonNegativeInt

    @property
    def distilled(self) -> bool:
        """Whether it is about a distilled student, not a model trained alone."""
        return self.arm == "distilled"

    @model_validator(mode="after")
    def _names_what_it_measures(self) -> Role:
        measured: tuple[Part, ...] = ("student", "method") if self.arm == "distilled" else (self.arm,)
        for part in measured:
            if part not in self.requires or part in self.excludes:
                raise ValueError(f"arm {self.arm!r} measures a {part}; put it into 'requires'")
        return self


class _Roles(RootModel[dict[str, Role]]):
    """One file of roles."""


def load_roles() -> dict[str, Role]:
    """The roles by name; read once per catalogue.

    Raises:
        SuiteError: a file breaks the schema, or two have the same role; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, Role]:
    return read_roles(*catalogue)


def read_roles(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, Role]:
    """The roles of a catalogue; see `load_roles`."""
    files = Catalogue(shared, outside).files("roles.yaml")
    return entries(collect("role", files, lambda path: parse(_Roles, path).root))


def find_role(name: str) -> Role:
    """The role with this name.

    Raises:
        SuiteError: there is none; names the closest ones.
    """
    known = load_roles()
    if name not in known:
        raise SuiteError(f"unknown role {name!r}; {did_you_mean(name, known)}")
    return known[name]
