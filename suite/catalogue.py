"""Finds the published facts: ``baselines/``, its paper folders, and paper folders outside the checkout.

A **paper folder** is named like its paper and has ``claims.yaml``. It may have ``recipes.yaml``,
``rows.csv``, files that add to the shared ones of ``baselines/`` (`ADDED`), Hydra groups in ``conf/``, and
Python files with its losses and adapters. The paper folders in ``baselines/papers/`` are always read; those
below the folders that ``SUITE_PAPERS`` names (``--papers``) are added. A name must be unique across all of
them.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeVar

from suite import paths
from suite.errors import SuiteError, did_you_mean, one_line
from suite.strict_yaml import Location, line_of, refuse, shown

VARIABLE = "SUITE_PAPERS"
"""Environment variable that lists folders of papers outside the checkout, separated by `os.pathsep`."""

CLAIMS = "claims.yaml"
"""The file that makes a folder a paper folder."""

ADDED = (
    *("models.yaml", "metrics.yaml", "tasks.yaml", "roles.yaml", "datasets.yaml"),
    *("priors.yaml", "weights.yaml", "protocol.yaml", "literature.yaml"),
)
"""Files of ``baselines/`` that a paper folder may add to, with a file of the same name."""

_PACKAGE = "suite_papers"
"""Package under which the Python files of papers are imported: ``suite_papers.<paper>.<file>``."""

_REFUSED = "refused: "
_IMPORT = f"""
from suite.catalogue import import_python_files
from suite.errors import SuiteError
try:
    import_python_files()
except SuiteError as error:
    raise SystemExit("{_REFUSED}" + str(error))
"""
"""Code that a separate process runs to check that the Python files of papers can be imported."""

Entry = TypeVar("Entry")


class Catalogue(NamedTuple):
    """The folders that are read.

    Attributes:
        shared: laid out like ``baselines/``.
        outside: paper folders outside it.
    """

    shared: Path
    outside: tuple[Path, ...] = ()

    @property
    def papers(self) -> tuple[Path, ...]:
        """All paper folders: those of the shared folder by name, then those outside in the order given."""
        own = sorted(path.parent for path in (self.shared / "papers").glob(f"*/{CLAIMS}"))
        return (*own, *self.outside)

    def in_papers(self, name: str) -> list[Path]:
        """The files of this name in paper folders."""
        return [folder / name for folder in self.papers if os.path.lexists(folder / name)]

    def files(self, name: str) -> list[Path]:
        """The shared file of this name, whether or not it exists, and those that add to it."""
        return [self.shared / name, *self.in_papers(name)]


def current() -> Catalogue:
    """The current catalogue, as `suite.paths.BASELINES` and ``SUITE_PAPERS`` define it.

    Raises:
        SuiteError: ``SUITE_PAPERS`` names a folder that does not exist or has no paper.
    """
    named = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    return _catalogue(paths.BASELINES, tuple(os.path.abspath(name) for name in named))


def papers_folders() -> tuple[Path, ...]:
    """Every paper folder, see `Catalogue.papers`."""
    return current().papers


def conf_folders() -> list[Path]:
    """Folders with Hydra groups: the suite's own, then those of paper folders."""
    return [paths.CONF, *(folder / "conf" for folder in papers_folders() if (folder / "conf").is_dir())]


def python_files() -> list[Path]:
    """The Python files directly in paper folders, which define losses and adapters."""
    return [path for folder in papers_folders() for path in sorted(folder.glob("*.py"))]


@functools.lru_cache(maxsize=32)
def _catalogue(shared: Path, named: tuple[str, ...]) -> Catalogue:
    found: list[Path] = []
    for folder in map(Path, named):
        if not folder.is_dir():
            raise SuiteError(f"{folder}: there is no such folder of papers; correct --papers or {VARIABLE}")
        papers = [folder] if os.path.lexists(folder / CLAIMS) else _below(folder)
        if not papers:
            raise SuiteError(f"{folder}: no paper here; a paper is a folder with a {CLAIMS}")
        for paper in papers:
            _refuse_unread(paper)
        found += [paper for paper in papers if paper not in found]
    return Catalogue(shared, tuple(found))


def _refuse_unread(paper: Path) -> None:
    """Refuses a YAML file with an unknown name, which would otherwise be ignored silently."""
    known = (CLAIMS, "recipes.yaml", *ADDED)
    for path in sorted(paper.glob("*.y*ml")):
        if path.name not in known:
            raise SuiteError(f"{shown(path)}:1: no such file is read; {did_you_mean(path.name, known)}")


def _below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{CLAIMS}"))


def collect(
    kind: str,
    files: Iterable[Path],
    read: Callable[[Path], Mapping[str, Entry]],
    under: Location = (),
) -> dict[str, tuple[Path, Entry]]:
    """Merges the entries of several files, whose names must be unique.

    Args:
        kind: what an entry is, for the message.
        files: the files, in the order in which their entries are returned.
        read: reads one of them.
        under: location of the entries in a file; the top level by default.

    Returns:
        Name -> the file that has the entry, and the entry.

    Raises:
        SuiteError: two files have an entry of the same name; names both places.
    """
    found: dict[str, tuple[Path, Entry]] = {}
    for path in files:
        for name, entry in read(path).items():
            if name in found:
                first = found[name][0]
                where = f"{shown(first)}:{line_of(first, (*under, name))}"
                refuse(
                    path,
                    (*under, name),
                    f"{kind} {name!r} is already in {where}; give one of them another name",
                )
            found[name] = (path, entry)
    return found


def entries(found: Mapping[str, tuple[Path, Entry]]) -> dict[str, Entry]:
    """The entries that `collect` found, without their files."""
    return {name: entry for name, (_, entry) in found.items()}


def import_file(reference: str) -> ModuleType:
    """Imports a Python file of a paper, ``<paper>/<file>.py``, once per process.

    Raises:
        SuiteError: there is no such file, or it cannot be imported; names the file and the line at fault.
    """
    files = {f"{path.parent.name}/{path.name}": path for path in python_files()}
    if reference not in files:
        raise SuiteError(f"no Python file {reference!r} in a paper folder; {did_you_mean(reference, files)}")
    return import_path(files[reference])


def import_python_files() -> None:
    """Imports every Python file of the papers, so that what they register is available; once per process.

    Raises:
        SuiteError: one cannot be imported; names the file and the line at fault.
    """
    for path in python_files():
        import_path(path)


def check_python_files() -> None:
    """Makes sure that the Python files of papers can be imported, before any run starts.

    They are imported in another process: planning and executing must not import PyTorch.

    Raises:
        SuiteError: one cannot be imported; names the file and the line at fault.
    """
    if not python_files():
        return
    found = subprocess.run(
        [sys.executable, "-c", _IMPORT],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if found.returncode:
        lines = found.stderr.strip().splitlines() or [f"importing them ended with {found.returncode}"]
        raise SuiteError(lines[-1].removeprefix(_REFUSED))


@functools.lru_cache(maxsize=256)
def import_path(path: Path) -> ModuleType:
    """Imports the Python file of a paper, once per process, so that what it registers is available.

    Raises:
        SuiteError: it cannot be imported; names the file and the line at fault.
    """
    name = f"{_PACKAGE}.{path.parent.name}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SuiteError(f"{shown(path)}: cannot be imported; is it a Python file?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, SuiteError):
            raise
        text = one_line(error)
        where = f"{shown(path)}:{_line_at_fault(error, path)}"
        raise SuiteError(f"{where}: cannot be imported ({type(error).__name__}: {text}); fix it") from error
    return module


def _line_at_fault(error: BaseException, path: Path) -> int:
    """The line of the file at which its import failed, counted from 1."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return (lines[-1] if lines else None) or 1
