"""Which tests need PyTorch and the mm packages (the marker `train`), and what other markers ask for.

A test is marked by where it stands or by what it imports, so that nobody has to keep a list: everything below
``tests/tasks`` and ``tests/methods``, every module that imports what trains, every test whose own body does,
and every test that asks for a fixture that trains. Only a test that trains by way of the command line, in
another process, names the marker itself.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tests import chromium, slurm_cluster

TRAINING_PACKAGES = frozenset(
    {
        *("torch", "torchvision", "timm", "cv2", "pycocotools", "sklearn"),
        *("mmengine", "mmcv", "mmdet", "mmseg", "mmpretrain"),
    }
)
"""Top-level modules that come with the extra `train`."""

TRAINING_FOLDERS = ("tasks", "methods")
"""Folders of `tests` in which everything needs them."""

TRAINING_FIXTURES = frozenset({"undisturbed", "copy_of_undisturbed"})
"""Fixtures that train."""

NEEDS_TRAINING = "needs PyTorch and the mm packages: 'make doctor' installs them"

TESTS = Path(__file__).resolve().parent


def can_train() -> bool:
    """Whether this Python has what trains."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "mmengine", "mmcv"))


@functools.cache
def module_trains(path: Path) -> bool:
    """Whether all tests of a file need what trains: by its folder, or since importing it does."""
    if path.is_relative_to(TESTS) and path.relative_to(TESTS).parts[0] in TRAINING_FOLDERS:
        return True
    return bool(_imported(_tree(path).body) & TRAINING_PACKAGES)


@functools.cache
def functions_that_train(path: Path) -> frozenset[str]:
    """Names of the functions of a file that import what trains in their own body."""
    return frozenset(
        node.name
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(_imported([inner]) & TRAINING_PACKAGES for inner in ast.walk(node))
    )


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Top-level names of what these statements import; what stands inside of them does not count."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def _sees_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


MACHINE: dict[str, tuple[Callable[[], bool], str]] = {
    "gpu": (_sees_gpu, "needs a CUDA device, and torch sees none"),
    "slurm": (lambda: slurm_cluster.lacks() is None, slurm_cluster.lacks() or ""),
    "browser": (lambda: chromium.lacks() is None, chromium.lacks() or ""),
    "campaign": (
        lambda: os.environ.get("SUITE_CAMPAIGN") == "1",
        "takes more than ten minutes: set SUITE_CAMPAIGN=1 to run it",
    ),
}
"""Marker -> whether this machine has what it needs, and what a skipped test says otherwise."""
