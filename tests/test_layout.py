"""The direction in which packages import one another: one way, and no package reaches back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from suite.paths import ROOT

SUITE = (
    ("errors", "strict", "paths", "csv_cells", "generated", "verdicts"),
    ("catalogue", "contract", "settings", "strict_yaml", "yaml_objects", "environment"),
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
"""Packages and modules of the engine, from the ground up: none imports from a row below its own."""

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


def edges(package: str) -> Iterator[tuple[str, str, str]]:
    """Room that imports, room that is imported, and where."""
    rooms = {room(path, package) for path in files(package)}
    for path in files(package):
        for module, line, _ in imports(path):
            parts = module.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] in rooms:
                yield room(path, package), parts[1], f"{path.relative_to(ROOT)}:{line} imports {module}"


def backward(package: str, rows: tuple[tuple[str, ...], ...]) -> list[str]:
    """Imports against the direction of the rows."""
    height = {name: number for number, row in enumerate(rows) for name in row}
    return [where for own, other, where in edges(package) if height.get(other, 0) > height[own]]


@pytest.mark.parametrize(("package", "rows"), [("suite", SUITE), ("tasks", TASKS)])
def test_every_package_has_its_place_and_none_reaches_back(package: str, rows: tuple[tuple[str, ...], ...]):
    placed = {name for row in rows for name in row}
    assert {room(path, package) for path in files(package)} - {"conf"} == placed
    assert backward(package, rows) == []


@pytest.mark.parametrize("package", ["suite", "tasks"])
def test_no_packages_import_one_another_in_a_circle(package: str):
    graph: dict[str, set[str]] = {}
    for own, other, _ in edges(package):
        if own != other:
            graph.setdefault(own, set()).add(other)
    list(TopologicalSorter(graph).static_order())


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
    trains = ("agent", "attempt", "first_steps", "ranks")
    assert importing == {(f"suite/running/{name}.py", False) for name in trains}


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
