"""Losses are found by name: where they lie, what is refused, and files from outside of the checkout."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tasks.methods
from suite.catalogue import import_path
from suite.errors import SuiteError
from suite.paths import ROOT
from tasks.methods import registry
from tasks.methods.registry import find_loss, registered_losses

FOLDER = ROOT / "tasks" / "methods"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Takes back what a test registers."""
    registered_losses()
    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(*body: str) -> Path:
        head = ("from torch import nn", "from tasks.methods.registry import register_loss")
        path = tmp_path / "outside.py"
        path.write_text("\n".join((*head, *body, "")))
        return path

    return make


LOSS = ('@register_loss("OutsideLoss", version=3)', "class Anything(nn.Module):", "    pass")


def declared() -> dict[str, tuple[int, str]]:
    """Name -> version and file, as the sources say, read without importing them."""
    found = {}
    for path in FOLDER.glob("*.py"):
        classes = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ClassDef)
        ]
        for call in [decorator for node in classes for decorator in node.decorator_list]:
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "register_loss":
                (name,), (version,) = call.args, call.keywords
                assert version.arg == "version"
                found[ast.literal_eval(name)] = (ast.literal_eval(version.value), path.name)
    return found


def test_what_the_sources_declare_is_what_is_registered() -> None:
    built_in = {name: of for name, of in registered_losses().items() if of.file.parent == FOLDER}
    assert declared() == {name: (of.version, of.file.name) for name, of in built_in.items()}
    assert {"FGDLoss", "MGDLoss", "NKDLoss", "TFNKDLoss"} <= built_in.keys()
    assert all(of.loss.__name__ == name for name, of in built_in.items())


def test_every_loss_can_be_imported_from_the_package() -> None:
    for name, of in registered_losses().items():
        assert getattr(tasks.methods, name) is of.loss
        assert name in dir(tasks.methods)
    with pytest.raises(AttributeError, match="FGDLos'"):
        _ = tasks.methods.FGDLos


def test_the_registry_is_read_without_importing_torch() -> None:
    code = "import sys, tasks.methods.registry; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(SuiteError, match=r"no loss 'FGDlos' is registered: did you mean 'FGDLoss'"):
        find_loss("FGDlos")


def test_a_file_from_outside_registers_its_losses_once(write: Callable[..., Path]) -> None:
    path = write(*LOSS)
    import_path(path)
    loss = find_loss("OutsideLoss")
    import_path(path)
    assert find_loss("OutsideLoss") is loss
    assert loss.__name__ == "Anything"
    found = registered_losses()["OutsideLoss"]
    assert (found.version, found.place) == (3, f"{path}:3")


def test_a_name_that_is_taken_is_refused_with_both_places(write: Callable[..., Path]) -> None:
    path = write('@register_loss("MGDLoss", version=1)', "class Other(nn.Module):", "    pass")
    before = dict(registered_losses())
    text = rf"^{path}:3: loss 'MGDLoss' is registered in tasks/methods/mgd\.py:\d+ too; rename one of them$"
    with pytest.raises(SuiteError, match=text):
        import_path(path)
    assert registered_losses() == before


@pytest.mark.parametrize("version", ["0", "-1", "True", "'1'", "1.0"])
def test_a_version_that_is_no_whole_number_from_one_is_refused(
    version: str, write: Callable[..., Path]
) -> None:
    path = write(f'@register_loss("OutsideLoss", version={version})', "class Other(nn.Module):", "    pass")
    text = rf"^{path}:3: version {version} of loss 'OutsideLoss': give a whole number of at least 1$"
    with pytest.raises(SuiteError, match=text):
        import_path(path)


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        (("import not_installed_anywhere",), 3, "ModuleNotFoundError: No module named 'not_installed_"),
        (
            (
                "",
                "def broken(:",
            ),
            4,
            "SyntaxError: invalid syntax",
        ),
        ((*LOSS, "1 / 0"), 6, "ZeroDivisionError: division by zero"),
        (("raise SystemExit('stop')",), 3, "SystemExit: stop"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_in_one_line(
    body: tuple[str, ...], line: int, reason: str, write: Callable[..., Path]
) -> None:
    path = write(*body)
    with pytest.raises(SuiteError) as refusal:
        import_path(path)
    assert str(refusal.value).startswith(f"{path}:{line}: cannot be imported ({reason}")
    assert "\n" not in str(refusal.value)
    # Once the file is corrected, it can be imported in the same process.
    import_path(write(*LOSS, "# of another length than before"))
    assert find_loss("OutsideLoss").__name__ == "Anything"
