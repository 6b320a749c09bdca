"""The wheel as a user installs it: without PyTorch, without a compiler, away from any checkout."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import resource
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from suite import __version__, environment
from suite.cli import main
from suite.environment import DISTRIBUTION, HOMEPAGE, declared_requirements, normalised, pinned_version
from suite.paths import LOCK_FILE, ROOT
from suite.published.finding import load_papers
from tests.conftest import built_once

SOURCES = (
    *("suite", "tasks", "baselines", "results/reference"),
    *("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements.lock"),
)

Installed = Callable[..., subprocess.CompletedProcess[str]]


def pip(*words: str, folder: Path, python: Path | str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Runs pip in a folder of its own.

    In a checkout that is installed as editable, or with one on its path, pip takes the suite for installed.
    """
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *words]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def copy_sources(folder: Path) -> None:
    """What a wheel is made from; the checkout itself is not built in, so that nothing is left there."""
    for name in SOURCES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)


@pytest.fixture(scope="session")
def wheel(common_folder: Path) -> Path:
    """The wheel, built with this environment's setuptools where it is new enough, else with a fresh one."""

    def build(folder: Path) -> None:
        copy_sources(folder / "sources")
        setuptools = Version(importlib.metadata.version("setuptools"))
        here = ["--no-build-isolation"] if setuptools >= Version("77") else []
        done = pip(
            "wheel", "--no-deps", *here, "--wheel-dir", str(folder), str(folder / "sources"), folder=folder
        )
        if done.returncode != 0 and not here:
            pytest.skip(f"setuptools {setuptools} builds no such wheel, and pip reaches no index for another")
        assert done.returncode == 0, done.stderr

    (found,) = built_once(common_folder / "wheel", build).glob("*.whl")
    return found


def requirements_of(names: Iterable[str]) -> set[str]:
    """Normalised names of these distributions and of all that they require here, extras aside."""
    found: set[str] = set()
    waiting = [normalised(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        parsed = map(Requirement, importlib.metadata.requires(name) or [])
        waiting += [
            normalised(r.name) for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    return found


def link_distribution(name: str, folder: Path) -> None:
    """Puts links to the files of an installed distribution into a folder."""
    distribution = importlib.metadata.distribution(name)
    for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
        target = Path(str(distribution.locate_file(top)))
        if not (folder / top).exists() and target.exists():
            (folder / top).symlink_to(target)


def make_linked(folder: Path, wheel: Path) -> None:
    """An environment with nothing but the wheel and what it requires, linked from this one: no download."""
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    python = str(folder / "bin" / "python")
    done = pip("--python", python, "install", "--no-index", "--no-deps", str(wheel), folder=folder)
    assert done.returncode == 0, done.stderr
    for name in requirements_of(Requirement(line).name for line in declared_requirements()[""]):
        link_distribution(name, packages)


def make_with_pip(folder: Path, wheel: Path) -> None:
    """An environment as users make it: ``pip install`` of the wheel, its requirements from the index."""
    venv.create(folder, symlinks=True, with_pip=True)
    python = folder / "bin" / "python"
    done = pip("install", "--constraint", str(LOCK_FILE), str(wheel), folder=folder, python=python)
    if "No matching distribution" in done.stderr or "connection" in done.stderr.lower():
        pytest.skip(f"pip reaches no index that has what the wheel requires: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def run_in(python_folder: Path, cwd: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    command = [str(python_folder / "bin" / "distill-repro"), *words]
    return subprocess.run(
        command, cwd=cwd, env={**kept, **variables}, capture_output=True, text=True, check=False
    )


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(make_linked, id="linked"),
        pytest.param(make_with_pip, id="pip", marks=pytest.mark.slow),
    ],
)
def environment_folder(request: pytest.FixtureRequest, wheel: Path, common_folder: Path) -> Path:
    """An environment in which the wheel is installed."""
    make = request.param
    return built_once(common_folder / f"environment-{make.__name__}", lambda folder: make(folder, wheel))


@pytest.fixture
def installed(environment_folder: Path, tmp_path: Path) -> Installed:
    """Runs ``distill-repro`` in an empty folder."""
    return functools.partial(run_in, environment_folder, tmp_path)


def test_the_installed_command_lists_shows_plans_and_reports_in_an_empty_folder(
    installed: Installed, tmp_path: Path
):
    assert installed("--version").stdout == f"{DISTRIBUTION} {__version__}\n"
    shown = installed("show", "mgd-resnet18")
    assert shown.returncode == 0, shown.stderr
    assert "resnet34" in shown.stdout
    planned = installed("plan", "--paper", "mgd")
    assert planned.returncode == 0, planned.stderr
    # The reference records are in the wheel: the hours of embedded trainings are known.
    assert "seconds a step of the reference records" in planned.stdout
    reported = installed("report")
    assert reported.returncode == 0, reported.stderr
    assert "resnet34" in reported.stdout + "".join(
        path.read_text(encoding="utf-8") for path in (tmp_path / "results").rglob("*.md")
    )
    listed = installed("list")
    assert listed.returncode == 0, listed.stderr
    assert "mgd-resnet18" in listed.stdout


def test_what_it_writes_goes_below_the_current_folder_or_where_the_variables_point(
    installed: Installed, tmp_path: Path
):
    assert installed("report", "--paper", "mgd").returncode == 0
    assert (tmp_path / "results" / "mgd.md").is_file()
    assert f"{tmp_path}/.work" in installed("doctor", "--format", "json").stdout
    elsewhere = tmp_path / "elsewhere"
    variables = {"SUITE_RESULTS": str(elsewhere / "results"), "SUITE_WORK": str(elsewhere / "work")}
    assert installed("report", "--paper", "nkd", **variables).returncode == 0
    assert (elsewhere / "results" / "nkd.md").is_file()
    assert not (tmp_path / "results" / "nkd.md").exists()
    assert f"{elsewhere}/work" in installed("doctor", "--format", "json", **variables).stdout


def test_the_doctor_says_once_what_training_lacks_and_how_to_get_it(installed: Installed):
    answer = installed("doctor")
    assert answer.returncode == 1
    assert answer.stderr == ""
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("blocked: ")]
    assert line.startswith("blocked: training: ")
    steps = [step for step in line.split(" && ") if "pip install" in step]
    assert ["torch" in steps[0], "onedl-mmcv" in steps[1], f"{DISTRIBUTION}[train]" in steps[2]] == [True] * 3
    assert "--no-build-isolation" in steps[1]
    assert "installed as a package" in answer.stdout
    assert answer.stdout.endswith("The mini profile cannot run: training is 'blocked'.\n")


def test_a_training_without_what_trains_is_refused_in_one_line_and_leaves_no_record(
    installed: Installed, tmp_path: Path
):
    answer = installed("reproduce", "--claim", "nkd-resnet18-student", "--profile", "smoke")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == (
        "suite: training needs PyTorch and the mm packages, and none is installed: 'python -m suite doctor' "
        "says how to install them\n"
    )
    assert not (tmp_path / "results").exists()


def test_an_environment_inside_of_a_repository_does_not_lend_the_suite_its_commit(
    installed: Installed, environment_folder: Path
):
    subprocess.run(["git", "init", "--quiet", environment_folder], check=True)
    answer = installed("doctor")
    assert "installed as a package" in answer.stdout


def seconds_of_work() -> float:
    """CPU time of all commands run so far: unlike the clock, it hardly depends on what else goes on."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_list_takes_at_most_twice_as_long_as_the_packages_it_imports(
    installed: Installed, environment_folder: Path
):
    python = str(environment_folder / "bin" / "python")

    def ours() -> None:
        assert installed("list").returncode == 0

    def theirs() -> None:
        subprocess.run([python, "-c", "import pandas, pydantic, yaml"], check=True)

    def seconds(work: Callable[[], None]) -> float:
        before = seconds_of_work()
        work()
        return seconds_of_work() - before

    # The first one compiles the modules that pip left as they are.
    ours()
    # In turns, so that a busy machine is busy for both.
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(3)]
    assert min(time for time, _ in pairs) < 2 * min(time for _, time in pairs)


def test_the_wheel_holds_code_data_and_templates_and_no_tests(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for folder in ("suite", "tasks")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in {".py", ".yaml", ".j2", ".css", ".js"}
    }
    wanted |= {
        f"suite/bundle/{path.relative_to(ROOT)}" for path in (ROOT / "baselines").rglob("*") if path.is_file()
    }
    wanted |= {"suite/bundle/requirements.lock", "suite/py.typed", "tasks/py.typed"}
    assert wanted - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"suite", "tasks"}


def test_the_metadata_of_the_wheel_declare_what_the_checkout_does(environment_folder: Path, tmp_path: Path):
    code = (
        "from suite.environment import declared_requirements, pinned_version as pin\n"
        "from packaging.requirements import Requirement\n"
        "print({extra: sorted(Requirement(r).name for r in listed)"
        " for extra, listed in declared_requirements().items()})\n"
        "print(pin('torch'), pin('onedl_mmcv'), pin('timm'), pin('no-such-distribution'))"
    )
    command = [str(environment_folder / "bin" / "python"), "-c", code]
    answer = subprocess.run(
        command, cwd=tmp_path, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    declared = {
        extra: sorted(Requirement(line).name for line in listed)
        for extra, listed in declared_requirements().items()
    }
    first, second = answer.stdout.splitlines()
    assert first == str(declared)
    assert second == f"{pinned_version('torch')} {pinned_version('onedl-mmcv')} None None"


def test_the_command_line_says_its_name_and_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{DISTRIBUTION} {__version__}\n"


def test_the_text_of_pyproject_is_read_as_a_toml_parser_reads_it():
    tomllib = pytest.importorskip("tomllib", reason="needs tomllib, which begins with Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parsed = {"": tuple(project["dependencies"])}
    parsed |= {name: tuple(listed) for name, listed in project["optional-dependencies"].items()}
    assert dict(declared_requirements()) == parsed


def test_a_pin_is_found_whatever_the_spelling_and_only_where_one_version_is_allowed():
    assert pinned_version("torch") == "2.10.0"
    assert pinned_version("Onedl_MMCV") == pinned_version("onedl-mmcv") == "2.3.6"
    assert pinned_version("numpy") is None
    assert pinned_version("no-such-distribution") is None


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        ("thing==1.2", "1.2"),
        ("thing == 1.2 ; extra == 'train'", "1.2"),
        ('Thing==1.2+cpu; extra == "train"', "1.2+cpu"),
        ("thing==1.*", None),
        ("thing==1.2,!=1.2.1", None),
        ("thing>=1.2", None),
        ("thing-more==1.2", None),
    ],
)
def test_a_pin_is_one_exact_version(requirement: str, version: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment, "declared_requirements", lambda: {"train": (requirement,)})
    assert pinned_version("thing") == version


def test_the_citation_is_of_this_release_and_this_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["version"] == __version__
    assert f'Homepage = "{HOMEPAGE}"' in project
    assert citation["repository-code"] == HOMEPAGE
    assert f'license = "{citation["license"]}"' in project
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    # What papers are called stands in baselines, once.
    assert not any(paper.title in citation["message"] for paper in load_papers().values())
