"""Checks what is installed and what is missing: Python, packages, operators, GPU, data sets, disk, code.

Nothing here requires a package outside the standard library, so that it can report their absence; torch and
mmcv are imported in a separate process, which may fail or crash without harm.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from suite import __version__
from suite.environment import (
    DISTRIBUTION,
    NUMBER_PACKAGES,
    LockedVersion,
    declared_requirements,
    git_state,
    installed_version,
    locked_versions,
    normalised,
)
from suite.paths import CHECKOUT, LOCK_FILE, work_dir

State = Literal["ok", "note", "gap", "blocked"]

PYTHONS = ((3, 10), (3, 12))
"""Oldest and newest supported Python."""

MINI_GIB = 2
"""Free disk space, in GiB, that the mini profile needs for its data, checkpoints and logs."""

_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({"cuda": torch.version.cuda, "gpus": names}), flush=True)
import mmcv.ops
print(json.dumps({"operators": mmcv.ops.get_compiling_cuda_version()}))
"""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        area: `python`, `package`, `operators`, `gpu`, `data`, `disk`, `cluster` or `code`.
        name: what was checked.
        state: `ok`; `note`: only other profiles, devices or tools need it; `gap`: the mini profile runs,
            but not as it should; `blocked`: the mini profile cannot run.
        found: what is there.
        wanted: what should be there, if that is a single value.
        remedy: what to do about it; empty when the state is ok.
    """

    area: str
    name: str
    state: State
    found: str
    wanted: str = ""
    remedy: str = ""


def examine() -> list[Finding]:
    """Runs all checks, in the order in which their findings are best fixed."""
    return [
        check_python(),
        *check_packages(locked_versions(), direct_dependencies()),
        *check_training(),
        *check_torch(),
        check_embedded_data(),
        *check_datasets(),
        check_disk(),
        check_slurm(),
        check_code(),
    ]


def is_ready(findings: Iterable[Finding]) -> bool:
    """Whether the mini profile can run."""
    return all(finding.state != "blocked" for finding in findings)


def check_python() -> Finding:
    """Checks the interpreter of this process against the supported versions."""
    supported = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    return Finding(
        "python",
        "Python",
        "ok" if supported else "blocked",
        ".".join(map(str, sys.version_info[:3])),
        "3.10 to 3.12",
        ""
        if supported
        else "create the environment with a supported Python: make doctor PYTHON=/path/to/python3",
    )


def direct_dependencies() -> frozenset[str]:
    """Normalised names of the distributions that the suite requires to run and to train."""
    return _required_by("", "train")


def training_dependencies() -> frozenset[str]:
    """Normalised names of the distributions that only training requires."""
    return _required_by("train") - _required_by("")


def _required_by(*extras: str) -> frozenset[str]:
    declared = declared_requirements()
    lines = [line for extra in extras for line in declared.get(extra, ())]
    return frozenset(normalised(match.group()) for line in lines if (match := re.match(r"[\w.-]+", line)))


def lacks_training() -> bool:
    """Whether none of the core training packages is installed: neither PyTorch nor any mm package."""
    core = ("torch", "mmengine", "mmcv", "mmdet", "mmseg", "mmpretrain")
    return all(installed_version(NUMBER_PACKAGES[name]) is None for name in core)


def check_packages(lock: Iterable[LockedVersion], direct: frozenset[str]) -> list[Finding]:
    """Checks every locked distribution that applies to this Python against what is installed.

    Args:
        lock: lines of the lock.
        direct: normalised names of the distributions without which nothing runs.

    Returns:
        One finding per distribution; a single one if none is installed at all. If no core training package
        is installed, distributions that only training needs are left out: `check_training` reports them.
    """
    if installed_version("packaging") is None or all(installed_version(name) is None for name in direct):
        remedy = "run 'make doctor': it creates the environment in .venv and checks again from there"
        return [Finding("package", "all packages", "blocked", f"missing in {sys.prefix}", "", remedy)]
    from packaging.markers import Marker

    untrained = lacks_training()
    direct = direct - training_dependencies() if untrained else direct
    needed = _requirements_of(direct)
    findings = [
        _check_package(pin, direct, needed)
        for pin in lock
        if pin.marker is None or Marker(pin.marker).evaluate()
    ]
    # Development tools belong in a clone; elsewhere a package that nothing installed requires is not missing.
    if untrained or CHECKOUT is None:
        return [
            finding
            for finding in findings
            if finding.state != "note" or installed_version(finding.name) is not None
        ]
    return findings


def _requirements_of(roots: Iterable[str]) -> frozenset[str]:
    """The roots and their transitive requirements, as far as they are installed."""
    from packaging.requirements import Requirement

    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        parsed = map(Requirement, requirements)
        waiting += [
            normalised(r.name) for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    return frozenset(seen)


def _check_package(pin: LockedVersion, direct: frozenset[str], needed: frozenset[str]) -> Finding:
    name, found = normalised(pin.name), installed_version(pin.name)
    # A build for one kind of device is the same release: 2.10.0+cpu is 2.10.0.
    if found is not None and found.split("+")[0] == pin.version:
        return Finding("package", pin.name, "ok", found, pin.version)
    state: State = "gap" if name in needed else "note"
    if found is None and name in direct:
        state = "blocked"
    flags = "--no-build-isolation " if name == NUMBER_PACKAGES["mmcv"] else ""
    remedy = f"{sys.executable} -m pip install {flags}--constraint {LOCK_FILE} {pin.name}"
    return Finding("package", pin.name, state, found or "not installed", pin.version, remedy)


def check_training() -> list[Finding]:
    """Reports in one finding what training lacks and how to get it, if no core training package is installed.

    Returns:
        Empty if any of them is installed, since each package then has a finding of its own, or if nothing is
        installed at all.
    """
    if installed_version("packaging") is None or not lacks_training():
        return []
    absent = sorted(name for name in training_dependencies() if installed_version(name) is None)
    if CHECKOUT is not None:
        remedy = (
            "run 'make doctor': it creates the environment in .venv, compiles mmcv and checks again from "
            "there"
        )
    else:
        pip = f"{sys.executable} -m pip install --constraint {LOCK_FILE}"
        mmcv = NUMBER_PACKAGES["mmcv"]
        # In this order: mmcv compiles its operators against the installed torch, which it only sees without
        # build isolation.
        remedy = (
            f"{pip} torch torchvision ninja psutil setuptools wheel && CFLAGS=-g0 {pip} --no-build-isolation "
            f"{mmcv} && {pip} '{DISTRIBUTION}[train]' (a C++ compiler and 10 GB; ten to twenty minutes)"
        )
    return [Finding("package", "training", "blocked", f"not installed: {', '.join(absent)}", "", remedy)]


def check_torch() -> list[Finding]:
    """Checks what torch was built for, the GPUs it sees, and whether mmcv's compiled operators load.

    Returns:
        No finding for a package that is not installed, since `check_packages` reports it.
    """
    if installed_version("torch") is None:
        return []
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    facts: dict[str, Any] = {}
    for line in probe.stdout.splitlines():
        if line.startswith("{"):
            facts |= json.loads(line)
    error = _last_line(probe.stderr) or f"the process ended with status {probe.returncode}"
    if "cuda" not in facts:
        return [Finding("gpu", "torch", "blocked", error, "", _remedy_for_import(error, "torch"))]
    findings = [check_gpu(facts["cuda"], facts["gpus"])]
    if installed_version(NUMBER_PACKAGES["mmcv"]) is not None:
        findings.append(check_operators(facts.get("operators"), error, on_gpu=bool(facts["gpus"])))
    return findings


def check_gpu(cuda: str | None, gpus: list[str]) -> Finding:
    """Reports the GPUs that torch sees.

    Args:
        cuda: the CUDA release torch was built for; None for a build without CUDA.
        gpus: their names.
    """
    build = f"torch for CUDA {cuda}" if cuda else "torch without CUDA"
    driver = _driver_version()
    if gpus:
        return Finding("gpu", "GPU", "ok", f"{', '.join(gpus)}; driver {driver or 'unknown'}; {build}")
    if driver is None:
        remedy = "none needed for the mini profile; published protocols need a CUDA device and its driver"
        return Finding("gpu", "GPU", "note", f"none; {build}", "", remedy)
    remedy = "install a driver for that CUDA release, or a torch for this driver; check CUDA_VISIBLE_DEVICES"
    return Finding("gpu", "GPU", "gap", f"driver {driver}, but torch sees no device; {build}", "", remedy)


def _driver_version() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.split("\n")[0].strip() or None


def check_operators(compiled_for: str | None, error: str, *, on_gpu: bool) -> Finding:
    """Reports the compiled operators of mmcv, without which no detector can be built.

    Args:
        compiled_for: the CUDA release they were compiled for, ``not available`` for CPU operators only;
            None when they do not load.
        error: why they do not load.
        on_gpu: whether torch sees a GPU.
    """
    name = "mmcv operators"
    if compiled_for is None:
        return Finding(
            "operators", name, "blocked", error, "", _remedy_for_import(error, NUMBER_PACKAGES["mmcv"])
        )
    if compiled_for != "not available":
        return Finding("operators", name, "ok", f"compiled for the CPU and CUDA {compiled_for}")
    if on_gpu:
        remedy = "detectors need them on the GPU: with nvcc on the PATH, " + _rebuild(NUMBER_PACKAGES["mmcv"])
        return Finding("operators", name, "gap", "compiled for the CPU only", "CPU and CUDA", remedy)
    return Finding("operators", name, "ok", "compiled for the CPU")


def _rebuild(distribution: str) -> str:
    # --no-cache-dir: pip's cache may hold the very wheel that does not work.
    return (
        f"CFLAGS=-g0 {sys.executable} -m pip install --no-cache-dir --force-reinstall --no-deps "
        f"--no-build-isolation --constraint {LOCK_FILE} {distribution}"
    )


def _remedy_for_import(error: str, distribution: str) -> str:
    if "cannot open shared object file" in error:
        return "install the system library it names (Debian, Ubuntu: apt install libgl1 libglib2.0-0)"
    if "No module named" in error and "mmcv" not in error:
        return "install the package that is missing, see above"
    return _rebuild(distribution)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def check_embedded_data() -> Finding:
    """Reports which embedded data sets are built; the first run that needs one builds it."""
    folder = work_dir() / "data"
    built = sorted(path.name for path in folder.glob("*") if path.is_dir()) if folder.is_dir() else []
    found = f"built: {', '.join(built)}" if built else "built on first use"
    return Finding("data", "embedded", "ok", f"{found} ({folder})")


def check_datasets() -> list[Finding]:
    """Checks whether the published data sets are present and verified."""
    if any(installed_version(name) is None for name in ("pydantic", "PyYAML")):
        return []
    from suite.datasets import presence, read_published

    found = []
    for name, dataset in read_published().items():
        state = presence(name)
        if state == "absent":
            remedy = f"only published protocols need it: {dataset.how_to_get(dataset.root)}"
            found.append(Finding("data", dataset.title, "note", "missing or incomplete", "", remedy))
        elif state == "unverified":
            remedy = f"python -m suite data verify {name}"
            found.append(Finding("data", dataset.title, "gap", f"{dataset.root}, not verified", "", remedy))
        else:
            found.append(Finding("data", dataset.title, "ok", f"{dataset.root}, verified"))
    return found


def check_disk() -> Finding:
    """Checks the free space and write permission of the work folder."""
    folder = work_dir().absolute()
    # The first run creates the work folder; until then its closest existing ancestor is checked.
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    found, wanted = f"{free:.0f} GiB free for {folder}", f"{MINI_GIB} GiB"
    if not os.access(there, os.W_OK):
        found = f"{there} is not writable"
    elif free >= MINI_GIB:
        return Finding("disk", "work folder", "ok", found, wanted)
    return Finding("disk", "work folder", "blocked", found, wanted, "name another folder with SUITE_WORK")


def check_slurm() -> Finding:
    """Checks whether runs can be submitted from here, which takes Slurm's sbatch and submitit."""
    program, submitit = shutil.which("sbatch"), installed_version("submitit")
    found = f"{program or 'no sbatch'}, {f'submitit {submitit}' if submitit else 'no submitit'}"
    if program is None:
        remedy = "only --launcher slurm needs one: work on a machine that submits to a Slurm cluster"
        return Finding("cluster", "Slurm", "note", found, "", remedy)
    if submitit is None:
        pip = f"{sys.executable} -m pip install --constraint {LOCK_FILE} submitit"
        remedy = f"only --launcher slurm needs it: {pip}"
        return Finding("cluster", "Slurm", "note", found, "", remedy)
    return Finding("cluster", "Slurm", "ok", found)


def check_code() -> Finding:
    """Reports what records will say about the code: its commit, and whether it has uncommitted changes."""
    if CHECKOUT is None:
        remedy = "records will name no commit: train results for publication in a clone"
        return Finding("code", "suite", "note", f"version {__version__}, installed as a package", "", remedy)
    state = git_state()
    if state.commit is None:
        remedy = "records will name no commit: work in a clone, with git installed"
        return Finding("code", "git", "note", "no commit can be read", "", remedy)
    commit = f"commit {str(state.commit)[:12]}"
    if state.dirty:
        remedy = "records will say so: commit before a run that is to be published"
        return Finding("code", "git", "note", f"{commit}, with changes that are not committed", "", remedy)
    return Finding("code", "git", "ok", commit)
