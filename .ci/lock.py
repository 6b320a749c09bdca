"""Writes requirements.lock: exact versions for Linux and every supported Python, no addresses.

Run it with ``make lock``. Versions in the existing lock are kept if pyproject.toml still allows
them; to update to newer versions, delete their lines first.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PYTHONS = ("3.10", "3.11", "3.12")

# torch pins the exact versions of the CUDA libraries that it was built with. Locking them here as well would
# only rule out a torch for another CUDA release in the user's own environment.
CUDA_LIBRARIES = re.compile(r"^(nvidia-.*|cuda-bindings|triton)$")

HEADER = """\
# Constraints: the exact version of every package, for Python 3.10 to 3.12. Written by 'make lock' from
# pyproject.toml; used as 'pip install --constraint requirements.lock'. The CUDA libraries are not here:
# torch itself requires each of them in one exact version.
"""


def resolve(lock: Path) -> list[Requirement]:
    """Resolves all packages for all platforms and Pythons at once; prefers the pins in `lock`."""
    command = ["uv", "pip", "compile", str(ROOT / "pyproject.toml"), "--universal"]
    command += ["--all-extras", "--group", str(ROOT / "pyproject.toml") + ":build"]
    command += ["--python-version", PYTHONS[0], "--python", sys.executable, "--no-python-downloads"]
    command += ["--no-annotate", "--no-header", "--quiet", "--output-file", str(lock)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines]


def pythons(marker: Marker | None) -> tuple[str, ...]:
    """Returns the supported Pythons to which a line with this marker applies on Linux."""
    platform = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    platform |= {"platform_machine": "x86_64", "platform_python_implementation": "CPython"}
    return tuple(
        version
        for version in PYTHONS
        if marker is None
        or marker.evaluate({**platform, "python_version": version, "python_full_version": f"{version}.9"})
    )


def marker_for(versions: tuple[str, ...]) -> str:
    """Returns the shortest marker for these Pythons: nothing, ``< "3.11"`` or ``>= "3.11"``.

    Raises:
        ValueError: `versions` is not a prefix or suffix of the supported Pythons.
    """
    if versions == PYTHONS:
        return ""
    if versions == PYTHONS[: len(versions)]:
        return f' ; python_version < "{PYTHONS[len(versions)]}"'
    if versions == PYTHONS[-len(versions) :]:
        return f' ; python_version >= "{versions[0]}"'
    raise ValueError(f"no marker for Python {', '.join(versions)}")


def main() -> int:
    """Resolves, drops what no supported platform installs, and writes the lock."""
    lines = []
    for requirement in resolve(LOCK):
        versions = pythons(requirement.marker)
        if versions and not CUDA_LIBRARIES.match(requirement.name):
            lines.append(f"{requirement.name}{requirement.specifier}{marker_for(versions)}\n")
    LOCK.write_text(HEADER + "".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
