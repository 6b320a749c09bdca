"""Set-up as a newcomer meets it: make, in a copy of the files it reads, on machines that lack something."""

from __future__ import annotations

import ast
import fcntl
import importlib.metadata
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from suite.cli import build_parser
from suite.doctor import PYTHONS
from suite.environment import declared_requirements, locked_versions, normalised
from suite.paths import ROOT
from tests.workflows import workflow, workflow_calls

TOOLS = "bash|cat|chmod|cksum|cp|dirname|env|find|flock|getconf|make|mkdir|mktemp|mv|nproc|rm|sh|tr|touch"
PYTHON_VERSIONS = [f"3.{minor}" for minor in range(PYTHONS[0][1], PYTHONS[1][1] + 1)]

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler as c++")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    for name in ("Makefile", "pyproject.toml", "requirements.lock", ".ci/setup", ".ci/run"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "suite", folder / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH with the tools of any Linux and neither a compiler nor a Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS.split("|"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def write_script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python_of_version(path: Path, version: tuple[int, int, int]) -> Path:
    """This test's Python, which says it is another one."""
    program = (
        f"import sys; sys.version_info = {version}; "
        "exec(sys.argv[2] if sys.argv[1] == '-c' else sys.stdin.read())"
    )
    return write_script(path, f'exec "{sys.executable}" -c "{program}" "$@"')


def bare_environment() -> dict[str, str]:
    """Nothing of what this test was itself started with, and nothing that pip could download from."""
    inherited = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    return {**inherited, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


def make(
    clone: Path, *words: str, path: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(shutil.which("make")), "--no-print-directory", *words],
        cwd=clone,
        env={**bare_environment(), **({} if path is None else {"PATH": str(path)}), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def complaint(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line that set-up ends with; make adds its own."""
    assert answer.returncode != 0
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, answer.stderr
    return lines[0]


@needs_compiler
def test_a_machine_with_python_and_a_compiler_is_ready(clone: Path):
    answer = make(clone, "check-setup", PYTHON=sys.executable)
    assert answer.returncode == 0
    assert "ready to install: Python 3." in answer.stderr


@pytest.mark.parametrize("target", ["test", "reproduce", "check-setup"])
@pytest.mark.parametrize("version", [(3, 9, 18), (3, 13, 0), (2, 7, 18)])
def test_another_python_is_refused_in_one_line_before_anything_is_made(
    clone: Path, tmp_path: Path, target: str, version: tuple[int, int, int]
):
    python = python_of_version(tmp_path / "python3", version)
    line = complaint(make(clone, target, PYTHON=str(python)))
    assert f"is version {'.'.join(map(str, version))}" in line
    assert "3.10, 3.11 or 3.12" in line
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("target", ["test", "reproduce", "check-setup"])
def test_a_missing_compiler_is_one_line_before_anything_is_made(clone: Path, bin_folder: Path, target: str):
    line = complaint(make(clone, target, path=bin_folder, PYTHON=sys.executable))
    assert "no working C++17 compiler ('c++')" in line
    assert "g++" in line
    assert not (clone / ".venv").exists()


def test_a_compiler_that_does_not_compile_is_no_compiler(clone: Path, tmp_path: Path):
    broken = write_script(tmp_path / "broken-c++", "exit 1")
    line = complaint(make(clone, "check-setup", PYTHON=sys.executable, CXX=str(broken)))
    assert f"no working C++17 compiler ('{broken}')" in line


def test_prebuilt_wheels_need_no_compiler(clone: Path, bin_folder: Path):
    answer = make(clone, "check-setup", path=bin_folder, PYTHON=sys.executable, WHEELS="/wheels")
    assert answer.returncode == 0
    assert "mmcv wheels from /wheels" in answer.stderr


def test_a_name_that_does_not_run_is_passed_over(clone: Path, bin_folder: Path):
    write_script(bin_folder / "python3.12", "exit 127")
    python_of_version(bin_folder / "python3.11", (3, 9, 18))
    (bin_folder / "python3").symlink_to(sys.executable)
    answer = make(clone, "check-setup", path=bin_folder, WHEELS="/wheels")
    assert answer.returncode == 0


def test_without_any_python_that_serves_each_one_tried_is_named(clone: Path, bin_folder: Path):
    write_script(bin_folder / "python3.12", "exit 127")
    python_of_version(bin_folder / "python3", (3, 13, 0))
    line = complaint(make(clone, "test", path=bin_folder))
    assert "python3.12 does not run; python3 is version 3.13.0" in line
    assert "PYTHON=" in line


def finish_set_up(clone: Path) -> None:
    """Leaves what a finished set-up leaves, with this test's Python as the environment's."""
    environment = clone / ".venv"
    (environment / "bin").mkdir(parents=True, exist_ok=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    files = [clone / name for name in ("requirements.lock", "pyproject.toml", ".ci/setup")]
    content = b"".join(path.read_bytes() for path in files)
    stamp = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout
    (environment / ".suite-setup").write_bytes(stamp)


def test_a_finished_set_up_is_not_done_again_until_what_it_came_from_changes(clone: Path, bin_folder: Path):
    finish_set_up(clone)
    before = seconds_of_work()
    assert make(clone, "setup", path=bin_folder).returncode == 0
    assert seconds_of_work() - before < 1
    with (clone / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert "no Python" in complaint(make(clone, "setup", path=bin_folder))


def seconds_of_work() -> float:
    """CPU time of all commands run so far: unlike the clock, it does not depend on what else goes on."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@needs_compiler
def test_a_second_set_up_waits_for_the_first_and_takes_its_result(clone: Path):
    (clone / ".venv").mkdir()
    with (clone / ".venv" / ".suite-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**bare_environment(), "PYTHON": sys.executable}
        second = subprocess.Popen(
            [".ci/setup"], cwd=clone, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert second.stderr is not None
        assert "another set-up is at work in .venv" in second.stderr.readline()
        finish_set_up(clone)
    assert second.wait(timeout=60) == 0
    assert second.stderr.read() == ""
    second.stderr.close()


def test_an_environment_of_ones_own_is_looked_at_and_left_alone(clone: Path, tmp_path: Path):
    environment = tmp_path / "mine"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    before = sorted(environment.rglob("*"))
    answer = make(clone, "test", VENV=str(environment))
    assert answer.returncode != 0
    assert "all packages: run 'make doctor'" in answer.stderr
    assert f"{environment} was not made by this set-up and is left alone" in answer.stderr
    assert sorted(environment.rglob("*")) == before


@pytest.mark.slow
@needs_compiler
def test_a_set_up_cut_off_while_it_made_the_environment_starts_that_anew(clone: Path):
    environment = clone / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to("/nowhere/python3")
    (environment / ".suite-setup").write_text("creating\n")
    answer = make(clone, "setup", PYTHON=sys.executable)
    assert answer.returncode != 0
    # Offline it gets as far as the first package, in an environment that works.
    assert "installing pip failed, see above" in answer.stderr
    assert (environment / ".suite-setup").read_text() == "creating\n"
    subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True
    )


@needs_compiler
def test_a_package_cut_off_while_it_was_installed_is_not_taken_for_complete(clone: Path):
    environment = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (environment / ".suite-setup").write_text("installing\n")
    (packages,) = (environment / "lib").glob("python*/site-packages")
    cut_off, complete = packages / "cut_off-1.0.dist-info", packages / "complete-1.0.dist-info"
    for folder in (cut_off, complete):
        folder.mkdir()
        (folder / "METADATA").write_text("Name: x\nVersion: 1.0\n")
    (complete / "RECORD").write_text("")
    make(clone, "setup", PYTHON=sys.executable)
    assert not cut_off.exists()
    assert complete.exists()


@pytest.mark.slow
@needs_compiler
def test_another_python_than_the_environments_is_refused(clone: Path, tmp_path: Path):
    make(clone, "setup", PYTHON=sys.executable)
    other = (3, 11, 0) if sys.version_info[:2] == (3, 10) else (3, 10, 0)
    python = python_of_version(tmp_path / "other", other)
    line = complaint(make(clone, "setup", PYTHON=str(python)))
    assert f".venv holds Python {sys.version_info[0]}.{sys.version_info[1]}" in line


def pyproject_requirements() -> list[Requirement]:
    """Everything pyproject.toml asks for: core, extras and build."""
    text = (ROOT / "pyproject.toml").read_text()
    (build,) = re.findall(r"^build = \[(.*?)\]$", text, re.MULTILINE)
    declared = [line for listed in declared_requirements().values() for line in listed]
    return [Requirement(line) for line in (*declared, *re.findall(r'"([^"]+)"', build))]


@pytest.mark.parametrize("version", PYTHON_VERSIONS)
def test_the_lock_satisfies_every_requirement_on_each_python(version: str):
    where = {"python_version": version, "python_full_version": f"{version}.0"}
    lock = {
        normalised(pin.name): pin.version
        for pin in locked_versions()
        if pin.marker is None or Marker(pin.marker).evaluate(where)
    }
    for requirement in pyproject_requirements():
        assert requirement.specifier.contains(lock[normalised(requirement.name)]), requirement


def test_the_lock_names_each_package_once_for_each_python():
    for version in PYTHON_VERSIONS:
        where = {"python_version": version, "python_full_version": f"{version}.0"}
        names = [
            normalised(pin.name)
            for pin in locked_versions()
            if pin.marker is None or Marker(pin.marker).evaluate(where)
        ]
        assert sorted(names) == sorted(set(names))


def imported_modules() -> Iterator[tuple[str, Path]]:
    """Every top-level module that the suite, the tasks and the tests import, with the importing file."""
    for folder in ("suite", "tasks", "tests", ".ci"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((alias.name.split(".")[0], path) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.split(".")[0], path


@pytest.mark.train
def test_everything_imported_is_declared():
    declared = {normalised(requirement.name) for requirement in pyproject_requirements()}
    providers = importlib.metadata.packages_distributions()
    ours = {"suite", "tasks", "tests", "conftest"}
    missing = {
        f"{path.relative_to(ROOT)} imports {module}"
        for module, path in imported_modules()
        if module not in ours | sys.stdlib_module_names
        # What is not installed, such as an extra of users alone, has the name of its module.
        and not declared & set(map(normalised, providers.get(module, [module])))
    }
    assert missing == set()


def core_imports() -> set[str]:
    """What the parts that need no PyTorch import as they are imported: top-level modules."""
    found: set[str] = set()
    # Imported where jobs are submitted, which says what it lacks.
    submits = ROOT / "suite" / "running" / "launchers" / "sbatch.py"
    for path in set((ROOT / "suite").rglob("*.py")) - {submits}:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"suite"}


def test_what_the_engine_imports_at_its_head_is_a_core_dependency():
    core = {normalised(Requirement(line).name) for line in declared_requirements()[""]}
    providers = importlib.metadata.packages_distributions()
    strange = {
        module for module in core_imports() if not core & set(map(normalised, providers.get(module, [])))
    }
    assert strange == set()


@pytest.mark.train
def test_every_dependency_is_imported_somewhere():
    """What nothing imports goes, but for what only a tool of the developer or another extra calls for."""
    imported = {module for module, _ in imported_modules()}
    modules: dict[str, set[str]] = {}
    for module, names in importlib.metadata.packages_distributions().items():
        for name in names:
            modules.setdefault(normalised(name), set()).add(module)
    declared = declared_requirements()
    unused = {
        requirement.name
        for extra in ("", "train")
        for requirement in map(Requirement, declared[extra])
        if not modules.get(normalised(requirement.name), set()) & imported
    }
    assert unused == set()


def test_make_alone_lists_the_targets_and_does_nothing(clone: Path, bin_folder: Path):
    before = sorted(clone.rglob("*"))
    answer = make(clone, path=bin_folder)
    assert answer.returncode == 0
    for target in ("reproduce", "test", "test-fast", "doctor", "lint", "check-setup", "lock"):
        assert f"make {target} " in answer.stdout
    assert "minutes" in answer.stdout
    assert sorted(clone.rglob("*")) == before


def test_the_fast_tests_run_in_the_environment_that_is_ready(clone: Path):
    finish_set_up(clone)
    answer = subprocess.run(
        [".ci/setup", "fast"], cwd=clone, env=bare_environment(), capture_output=True, text=True, check=True
    )
    assert answer.stdout == ".venv/bin/python\n"


@pytest.mark.slow
def test_the_fast_tests_need_no_compiler_and_no_environment_that_was_only_begun(
    clone: Path, bin_folder: Path
):
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".suite-setup").write_text("installing\n")
    environment = {**bare_environment(), "PATH": str(bin_folder), "PYTHON": sys.executable}
    answer = subprocess.run(
        [".ci/setup", "fast"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    # Offline it gets as far as the first package.
    assert answer.returncode != 0
    assert "installing pip failed" in answer.stderr
    assert (clone / ".venv-fast" / "bin" / "python").exists()


def test_continuous_integration_covers_the_supported_pythons():
    jobs = workflow("ci.yml")["jobs"]
    assert jobs["fast"]["strategy"]["matrix"]["python"] == PYTHON_VERSIONS
    assert jobs["fast"]["steps"][-1] == {"run": "make test-fast PYTHON=python${{ matrix.python }}"}
    assert {"run": ".ci/run"} in jobs["test"]["steps"]
    assert jobs["fast"]["needs"] == jobs["test"]["needs"] == "lint"


def test_continuous_integration_says_the_outcome_of_the_tests_last_whatever_the_checkers_say(
    clone: Path, tmp_path: Path
):
    tools = tmp_path / "tools"
    tools.mkdir()
    write_script(
        tools / "make",
        'echo "make $1"; [ "$1" = test ] && echo "== 3 passed, 1 skipped in 2.00s =="; [ "$1" != lint ]',
    )
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environment = {**bare_environment(), "PATH": path, "HOME": str(tmp_path), "PYTHON": sys.executable}
    answer = subprocess.run(
        [".ci/run"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    lines = answer.stdout.splitlines()
    assert lines[:5] == ["make setup", "make slurm", "make browser", "make lint", "make test"]
    assert lines[-2:] == ["ci: style or types failed", "== 3 passed, 1 skipped in 2.00s =="]
    assert answer.returncode != 0


def test_the_pages_are_the_site_of_the_reference_records():
    build = workflow("pages.yml")["jobs"]["build"]
    (words,) = workflow_calls("pages.yml")
    args = build_parser("report").parse_args(words)
    assert (args.format, args.paper, args.profile) == ("html", None, None)
    assert build["env"] == {"SUITE_RESULTS": "results/reference"}
    (upload,) = [step for step in build["steps"] if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"]["path"] == str(args.output)
    assert workflow("pages.yml")["jobs"]["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}


def test_the_nightly_fetches_teachers_first_and_stays_within_its_budget():
    job = workflow("nightly-gpu.yml")["jobs"]["nightly"]
    fetching, nightly = workflow_calls("nightly-gpu.yml")
    assert fetching == ["weights", "fetch", "--teachers"]
    args = build_parser("nightly").parse_args(nightly)
    # No selection: every paper. No device: a GPU, or no night.
    assert (args.paper, args.claim, args.device) == (None, [], "cuda")
    assert 60 * args.budget < job["timeout-minutes"]
    assert workflow("nightly-gpu.yml")["permissions"]["issues"] == "write"
