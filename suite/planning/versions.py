"""The versions of losses and packages that are part of a run's identity.

Losses declare name and version where they are defined, ``@register_loss("MGDLoss", version=1)``. The
declaration is parsed from the source text, since planning has to work without PyTorch.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from suite.catalogue import python_files
from suite.environment import NUMBER_PACKAGES, installed_version, pinned_version
from suite.errors import SuiteError, did_you_mean
from suite.paths import PACKAGE
from suite.strict_yaml import read_text, shown, state_of

_DECORATOR = "register_loss"

EVERY_TASK = ("torch", "mmengine", "mmcv")
"""Packages that compute the numbers of every task; a task adds its own (``tasks.yaml``)."""


def loss_version(name: str) -> int:
    """The version of a loss.

    Raises:
        SuiteError: no loss of that name is registered, or a source file cannot be read.
    """
    known = loss_versions()
    if name not in known:
        raise SuiteError(f"no loss {name!r} is registered; {did_you_mean(name, known)}")
    return known[name]


def loss_versions() -> dict[str, int]:
    """Every registered loss with its version: those of ``tasks/methods/`` and of the papers' own files.

    Raises:
        SuiteError: a source file cannot be read, registers without name and version, or a name twice.
    """
    found: dict[str, int] = {}
    seen: dict[str, str] = {}
    for path in _sources():
        for name, version, line in _declared(path, state_of(path)):
            place = f"{shown(path)}:{line}"
            if name in found:
                raise SuiteError(f"{place}: loss {name!r} is registered in {seen[name]} too; rename one")
            found[name], seen[name] = version, place
    return found


def _sources() -> list[Path]:
    return [*sorted((PACKAGE.parent / "tasks" / "methods").glob("*.py")), *python_files()]


@functools.lru_cache(maxsize=1024)
def _declared(path: Path, state: tuple[int, int]) -> tuple[tuple[str, int, int], ...]:
    """Name, version and line of every loss that a file registers; `state` only serves as a cache key."""
    text = read_text(path)
    if _DECORATOR not in text:
        return ()
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise SuiteError(f"{shown(path)}:{error.lineno}: {error.msg}; correct that line") from None
    except (ValueError, RecursionError, MemoryError) as error:
        # A file with a NUL byte, or an expression with thousands of nested brackets.
        reason = str(error) or "nested too deeply"
        raise SuiteError(f"{shown(path)}: is not valid Python ({reason}); correct that file") from None
    return tuple(_declarations(tree, path))


def _declarations(tree: ast.Module, path: Path) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(tree):
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else []:
            if not (isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == _DECORATOR):
                continue
            name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
            version = next(
                (
                    word.value.value
                    for word in call.keywords
                    if word.arg == "version" and isinstance(word.value, ast.Constant)
                ),
                None,
            )
            if not isinstance(name, str) or type(version) is not int or version < 1:
                raise SuiteError(
                    f"{shown(path)}:{call.lineno}: a loss is registered as "
                    f'@{_DECORATOR}("Name", version=1), with both written out; write it so'
                )
            yield name, version, call.lineno


def releases_of(packages: tuple[str, ...]) -> dict[str, str]:
    """Import name -> release of the packages that compute a task's numbers.

    For a package that is not installed it is the release that this project pins, so that a plan made without
    PyTorch has the same run ids as the runs themselves.

    Args:
        packages: the task's own, in addition to those of every task.
    """
    found = {}
    for name in (*EVERY_TASK, *packages):
        distribution = NUMBER_PACKAGES.get(name, name)
        if release := installed_version(distribution) or pinned_version(distribution):
            found[name] = release
    return found
