"""The folders that variables of the environment name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from suite import paths
from suite.cli import main
from suite.errors import SuiteError

FOLDERS: dict[str, Callable[[], Path]] = {
    "SUITE_RESULTS": paths.results_dir,
    "SUITE_WORK": paths.work_dir,
    "SUITE_DATA": paths.datasets_dir,
    "SUITE_WEIGHTS": paths.weights_dir,
}


@pytest.mark.parametrize("variable", FOLDERS)
def test_an_empty_variable_is_as_one_that_is_not_set(variable: str, monkeypatch: pytest.MonkeyPatch):
    for name in FOLDERS:
        monkeypatch.delenv(name, raising=False)
    default = FOLDERS[variable]()
    monkeypatch.setenv(variable, "")
    assert FOLDERS[variable]() == default
    assert default.is_relative_to(paths.home())


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_tilde_is_the_home_folder(variable: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv(variable, "~/suite")
    assert FOLDERS[variable]() == Path("/somewhere/suite")


def test_a_home_folder_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("SUITE_RESULTS", "~nobody-of-that-name/x")
    with pytest.raises(SuiteError, match="SUITE_RESULTS=~nobody-of-that-name/x: there is no such home"):
        paths.results_dir()
    assert main(["status"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
