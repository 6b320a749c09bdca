"""Losses by name: each registers itself with the version of its arithmetic.

The declaration is read in two ways. A training imports the module, which runs the decorator. Planning and
listing read the same line from the source, without importing PyTorch, so it always has this form::

    @register_loss("FGDLoss", version=1)
    class FGDLoss(nn.Module): ...

with a string literal first and an integer literal as ``version``. The author of a loss raises the version
when the loss computes other numbers than before; it is part of the identity of every run that uses the loss.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from suite.errors import SuiteError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    Loss = TypeVar("Loss", bound=nn.Module)

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class RegisteredLoss:
    """A loss and its declaration.

    Attributes:
        name: by which method files refer to it.
        version: raised by its author when it computes other numbers than before; at least 1.
        loss: the class.
        file: where it is registered.
        line: line of the declaration in that file.
    """

    name: str
    version: int
    loss: type[nn.Module]
    file: Path
    line: int

    @property
    def place(self) -> str:
        """File and line; the path is relative to the checkout if the file is inside it."""
        root = _FOLDER.parents[1]
        return f"{self.file.relative_to(root) if self.file.is_relative_to(root) else self.file}:{self.line}"


_registered: dict[str, RegisteredLoss] = {}


def register_loss(name: str, *, version: int) -> Callable[[type[Loss]], type[Loss]]:
    """Registers the class below under a name that method files can use.

    Args:
        name: a string literal, usually the name of the class.
        version: an integer literal of at least 1; see the module's docstring.

    Returns:
        A decorator that leaves the class as it is.

    Raises:
        SuiteError: another class has the name, or the version is not a whole number of at least 1.
    """
    # `inspect.stack` would look up the module of every frame, which takes up to a second for all losses.
    caller = sys._getframe(1)
    file, line = Path(caller.f_code.co_filename).resolve(), caller.f_lineno

    def register(loss: type[Loss]) -> type[Loss]:
        entry = RegisteredLoss(name, version, loss, file, line)
        if type(version) is not int or version < 1:
            raise SuiteError(
                f"{entry.place}: version {version!r} of loss {name!r}: give a whole number of at least 1"
            )
        other = _registered.get(name)
        if other is not None and not _is_the_same(entry, other):
            raise SuiteError(
                f"{entry.place}: loss {name!r} is registered in {other.place} too; rename one of them"
            )
        _registered[name] = entry
        return loss

    return register


def _is_the_same(entry: RegisteredLoss, other: RegisteredLoss) -> bool:
    """Whether two registrations are one: a module that is imported again, or a copy of its file elsewhere."""
    if entry.line != other.line:
        return False
    return entry.file == other.file or entry.file.read_bytes() == other.file.read_bytes()


def registered_losses() -> Mapping[str, RegisteredLoss]:
    """Every loss by name: those of this folder, and those of papers whose files were imported.

    Raises:
        SuiteError: two losses have one name, or a version is below 1.
    """
    _import_folder()
    return MappingProxyType(_registered)


def find_loss(name: str) -> type[nn.Module]:
    """The class that is registered under a name.

    Raises:
        SuiteError: there is none; names the closest ones.
    """
    known = registered_losses()
    if name not in known:
        raise SuiteError(f"no loss {name!r} is registered: {did_you_mean(name, known)}")
    return known[name].loss


@functools.cache
def _import_folder() -> None:
    """Imports every module of this folder, so that its losses register."""
    for module in pkgutil.iter_modules([str(_FOLDER)]):
        importlib.import_module(f"{__package__}.{module.name}")
