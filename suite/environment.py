"""What the numbers were computed with: package versions, the lock, the host and the state of the code.

Cheap to import and to call: versions are read from the distributions' metadata, and nothing is imported.
Results are cached, since they describe this process.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from suite.errors import SuiteError
from suite.paths import CHECKOUT, LOCK_FILE

DISTRIBUTION = "distillation-reproducibility"
"""The name that pip knows this project by."""

HOMEPAGE = "https://github.com/distillation-reproducibility/distillation-reproducibility"
"""Address of this project, named in everything that it exports."""

NUMBER_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
    "mmpretrain": "onedl-mmpretrain",
    "timm": "timm",
    "opencv-python": "opencv-python",
    "scikit-learn": "scikit-learn",
}
"""Packages whose version may change a result: the name a record uses -> the distribution that provides it."""

_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([\w.-]+)['"]""")
_EXACT = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)\s*==\s*(?P<version>[\w.+!-]+)\s*(?:;.*)?$")
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.+!-]+)(?: ; (?P<marker>.+))?$")


class LockedVersion(NamedTuple):
    """One line of the lock."""

    name: str
    version: str
    marker: str | None
    """The environment marker (PEP 508) that says where the line applies; None: everywhere."""


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution, or None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def normalised(name: str) -> str:
    """The normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def declared_requirements() -> Mapping[str, tuple[str, ...]]:
    """The requirements that the project itself declares.

    In a checkout they are read from its `pyproject.toml`, since an environment may be shared by several
    checkouts or have none installed; otherwise from the metadata of the installation.

    Returns:
        Extra -> its requirements (PEP 508; markers that only name the extra may be included); the key ``""``
        has what is always required. Empty if neither source can be read.
    """
    if CHECKOUT is not None:
        try:
            return _requirements_in((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return {}
    try:
        listed = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    return _by_extra(listed)


def _requirements_in(pyproject: str) -> dict[str, tuple[str, ...]]:
    # Parsed as text: tomllib needs Python 3.11, and the doctor must work where nothing is installed.
    found = {"": _array("dependencies", _table("project", pyproject))}
    optional = _table("project.optional-dependencies", pyproject)
    for name in re.findall(r"^([\w-]+) = \[", optional, re.MULTILINE):
        found[name] = _array(name, optional)
    return found


def _table(name: str, text: str) -> str:
    match = re.search(rf"^\[{re.escape(name)}\]$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    return match.group(1) if match else ""


def _array(name: str, table: str) -> tuple[str, ...]:
    """The strings of an array that ends with a bracket at the end of a line, without commented lines."""
    match = re.search(rf"^{re.escape(name)} = \[(.*?)\]$", table, re.MULTILINE | re.DOTALL)
    lines = match.group(1).splitlines() if match else []
    code = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return tuple(re.findall(r'"([^"]+)"', code))


def _by_extra(listed: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {"": ()}
    for requirement in listed:
        extra = _EXTRA.search(requirement)
        name = extra.group(1) if extra else ""
        found[name] = (*found.get(name, ()), requirement)
    return found


def pinned_version(distribution: str) -> str | None:
    """The exact version of a distribution that the project requires, whatever is installed.

    Args:
        distribution: its name, in any spelling.

    Returns:
        The version after ``==``, also in extras; None if the project does not require the distribution or
        allows more than one version of it.
    """
    for requirements in declared_requirements().values():
        for requirement in requirements:
            exact = _EXACT.match(requirement)
            if exact is not None and normalised(exact["name"]) == normalised(distribution):
                return exact["version"]
    return None


@functools.cache
def _installed_versions() -> tuple[tuple[str, str], ...]:
    found = ((name, installed_version(distribution)) for name, distribution in NUMBER_PACKAGES.items())
    return tuple((name, version) for name, version in found if version is not None)


def installed_versions() -> dict[str, str]:
    """Versions of the packages that may change a result (`NUMBER_PACKAGES`), as far as they are installed."""
    return dict(_installed_versions())


@functools.cache
def lock_hash() -> str:
    """SHA-256 of ``requirements.lock``, in hexadecimal.

    Raises:
        SuiteError: the lock cannot be read.
    """
    return hashlib.sha256(_lock_text(LOCK_FILE).encode()).hexdigest()


def locked_versions(path: Path = LOCK_FILE) -> list[LockedVersion]:
    """The pins of the lock, in its order; markers are kept and not evaluated.

    Raises:
        SuiteError: the lock cannot be read, or a line does not pin one exact version.
    """
    pins = []
    for number, line in enumerate(_lock_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _PIN.match(line)
        if match is None:
            raise SuiteError(
                f"{line!r} in {path.name}, line {number}, is not 'name==version': regenerate the lock with "
                "'make lock'"
            )
        pins.append(LockedVersion(**match.groupdict()))
    return pins


def _lock_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise SuiteError(
            f"cannot read the lock {path}: {reason}; run the suite from a complete clone"
        ) from error


@functools.cache
def _host_facts() -> tuple[tuple[str, str | int | float], ...]:
    return (
        ("python", platform.python_version()),
        ("os", platform.platform()),
        ("cpu", _cpu_model()),
        ("cores", _usable_cores()),
        ("memory_gib", _memory_gib()),
        ("hostname", socket.gethostname()),
    )


def host_facts() -> dict[str, str | int | float]:
    """The machine that this process runs on.

    Returns:
        ``python`` and ``os`` (versions), ``cpu`` (model), ``cores`` (those this process may use),
        ``memory_gib`` (installed memory in GiB; 0.0 if the system does not report it) and ``hostname``.
    """
    return dict(_host_facts())


def _cpu_model() -> str:
    # platform.processor() is empty on most Linux systems, where /proc names the model.
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else platform.machine()


def _usable_cores() -> int:
    # A batch system or a container may allow fewer cores than the machine has; macOS does not report that.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return 0.0


@functools.cache
def _git_state(root: Path) -> tuple[str | None, bool | None]:
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results")
    if commit is None or changed is None:
        return None, None
    return commit, changed != ""


class CodeState(NamedTuple):
    """The version of the code that this process runs.

    Attributes:
        commit: full hash of the commit that is checked out; None without a repository or git.
        dirty: whether anything that could change a number differs from that commit; None likewise.
    """

    commit: str | None
    dirty: bool | None


def git_state(root: Path | None = CHECKOUT) -> CodeState:
    """The state of the code that is checked out at `root`, as of the first call.

    Files under ``results/`` do not count as dirty: every run leaves a record there, and none of them
    changes what the next run computes.

    Both fields are None if `root` is: an installed package has no commit, and a repository that happens to
    contain its environment is not its own.
    """
    return CodeState(None, None) if root is None else CodeState(*_git_state(root))


def commit_named(name: str, root: Path | None = CHECKOUT) -> str | None:
    """The full hash of the commit that a name stands for in git (`main`, `HEAD~3`, a tag), or None."""
    return None if root is None else _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        # Without optional locks: a status must not disturb a concurrent commit.
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
