"""The direction in which packages import one another: one way, and no package reaches back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.paths import ROOT

SUITE = (
    ("errors", "strict", "paths", "verdicts"),
    ("contract", "strict_yaml", "environment"),
    ("published",),
    ("planning",),
    ("store",),
    ("datasets",),
    ("cost",),
    ("audit",),
    ("running",),
    ("evidence",),
    ("report",),
    ("doctor",),
    ("cli",),
)
"""Packages and modules of the engine, from the ground up: each imports from its own row and those above it."""

TASKS = (
    ("methods", "networks", "data", "embedded"),
    ("distillation",),
    ("training",),
    ("adapters",),
)

FOR_TASKS = ("suite.contract", "suite.store", "suite.datasets", "suite.published.weights", "suite.errors")
"""What of the engine a task may import."""

HEAVY = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmseg", "mmpretrain", "timm")


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Every module that a file imports, with the line, and whether it does so as it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno, id(node) not in inside
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno, id(node) not in inside
            for name in node.names:
                yield f"{node.module}.{name.name}", node.lineno, id(node) not in inside


def room(path: Path, package: str) -> str:
    """The package below `package` that a file is in, or the module that it is."""
    return path.relative_to(ROOT / package).parts[0].removesuffix(".py")


def files(package: str) -> list[Path]:
    return [
        path
        for path in sorted((ROOT / package).rglob("*.py"))
        if room(path, package) not in ("__init__", "__main__")
    ]


def backward(package: str, rows: tuple[tuple[str, ...], ...]) -> list[str]:
    """Imports against the direction of the rows."""
    height = {name: number for number, row in enumerate(rows) for name in row}
    found = []
    for path in files(package):
        own = room(path, package)
        for module, line, _ in imports(path):
            parts = module.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] in height and parts[1] != own:
                if height[parts[1]] > height[own] or (
                    height[parts[1]] == height[own] and len(rows[height[own]]) == 1
                ):
                    found.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    return found


@pytest.mark.parametrize(("package", "rows"), [("suite", SUITE), ("tasks", TASKS)])
def test_every_package_has_its_place_and_none_reaches_back(package: str, rows: tuple[tuple[str, ...], ...]):
    placed = {name for row in rows for name in row}
    assert {room(path, package) for path in files(package)} - {"conf"} == placed
    assert backward(package, rows) == []


def test_the_engine_imports_nothing_of_the_tasks_and_no_mm_package():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / "suite").rglob("*.py"))
        for module, line, _ in imports(path)
        if module.split(".")[0] in {"tasks", *HEAVY} - {"torch"}
    ]
    assert wrong == []


def test_pytorch_is_imported_by_what_trains_alone_and_late():
    importing = {
        (path.relative_to(ROOT).as_posix(), at_the_top)
        for path in sorted((ROOT / "suite").rglob("*.py"))
        for module, _, at_the_top in imports(path)
        if module.split(".")[0] == "torch"
    }
    assert importing == {("suite/running/worker.py", False)}


def test_tasks_import_of_the_engine_what_is_there_for_them():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files("tasks")
        for module, line, _ in imports(path)
        if module.split(".")[0] == "suite" and module != "suite"
        if not any(module == name or module.startswith(f"{name}.") for name in FOR_TASKS)
        # `from suite.published import weights` names the package first.
        and not any(name.startswith(f"{module}.") for name in FOR_TASKS)
    ]
    assert wrong == []
