import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import rich

from suite import doctor
from suite.cli import main
from suite.environment import LockedVersion, installed_version
from suite.paths import ROOT


def run_doctor(python: Path | str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "suite", "doctor", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    work = str(tmp_path_factory.mktemp("work"))
    answer = run_doctor(sys.executable, "--format", "json", SUITE_WORK=work)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    report = json.loads(answer.stdout)
    assert report["ready"] is True
    return {finding["name"]: finding for finding in report["findings"]}


@pytest.mark.train
def test_the_test_environment_can_run_the_mini_profile(findings: dict[str, dict[str, str]]):
    assert findings["torch"]["state"] == "ok"
    assert findings["mmcv operators"]["found"].startswith("compiled for the CPU")
    assert findings["GPU"]["state"] in {"ok", "note"}
    assert findings["COCO 2017"]["state"] == "note"
    assert findings["work folder"]["state"] == "ok"


@pytest.mark.train
def test_every_gap_comes_with_a_remedy(findings: dict[str, dict[str, str]]):
    assert [name for name, f in findings.items() if (f["state"] == "ok") is bool(f["remedy"])] == []


@pytest.mark.train
def test_the_table_ends_with_the_answer(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "onedl-mmcv" in out
    assert out.endswith("The mini profile can run.\n")


def test_without_any_package_it_says_so_once_and_what_to_do(bare_python: Path):
    answer = run_doctor(bare_python)
    assert answer.returncode == 1
    assert answer.stderr == ""
    assert "blocked: all packages: run 'make doctor'" in answer.stdout
    assert answer.stdout.endswith("fix what is 'blocked'.\n")


@pytest.mark.train
def test_without_torch_one_line_tells_how_to_install_it(bare_python: Path):
    # The test environment as another Python sees it, all but torch and torchvision.
    packages = bare_python.parents[1] / "packages"
    packages.mkdir()
    for path in Path(rich.__file__).parents[1].iterdir():
        if not path.name.startswith(("torch", "__editable__")):
            (packages / path.name).symlink_to(path)
    answer = run_doctor(bare_python, PYTHONPATH=str(packages))
    assert answer.returncode == 1
    assert answer.stderr == ""
    lines = [line for line in answer.stdout.splitlines() if line.startswith("blocked: ")]
    assert [line.split(": ")[1] for line in lines] == ["torch", "torchvision"]
    assert lines[0].endswith("requirements.lock torch")


def test_another_version_than_the_locked_one_is_a_gap_where_runs_need_it():
    installed = str(installed_version("numpy"))
    lock = [
        LockedVersion("numpy", "1.0", None),
        LockedVersion("NumPy", installed, None),
        LockedVersion("pytest", "1.0", None),
        LockedVersion("numpy", "3.0", 'python_version < "3.0"'),
    ]
    found = doctor.check_packages(lock, frozenset({"numpy"}))
    assert [finding.state for finding in found] == ["gap", "ok", "note"]
    assert found[0].remedy.endswith(" numpy")


def test_what_nothing_runs_without_blocks_when_it_is_absent():
    lock = [LockedVersion("no-such-distribution", "1.0", None)]
    (finding,) = doctor.check_packages(lock, frozenset({"no-such-distribution", "numpy"}))
    assert finding.state == "blocked"
    assert finding.found == "not installed"


def test_direct_dependencies_are_those_of_pyproject():
    direct = doctor.direct_dependencies()
    assert {"torch", "onedl-mmcv", "pyyaml", "jinja2", "scikit-learn"} <= direct
    assert "pytest" not in direct
    assert "ninja" not in direct


@pytest.mark.parametrize(
    ("compiled_for", "on_gpu", "state"),
    [
        (None, False, "blocked"),
        ("not available", False, "ok"),
        ("not available", True, "gap"),
        ("12.8", True, "ok"),
    ],
)
def test_operators_block_when_they_do_not_load_and_fall_short_on_a_gpu_they_were_not_compiled_for(
    compiled_for: str | None, on_gpu: bool, state: str
):
    error = "ModuleNotFoundError: No module named 'mmcv._ext'"
    finding = doctor.check_operators(compiled_for, error, on_gpu=on_gpu)
    assert finding.state == state
    assert (state == "ok") is ("--no-build-isolation" not in finding.remedy)


def test_a_missing_system_library_is_not_fixed_by_compiling():
    error = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    finding = doctor.check_operators(None, error, on_gpu=False)
    assert "libGL.so.1" in finding.found
    assert finding.remedy.startswith("install the system library")


def test_a_data_set_is_found_where_the_variable_points_and_has_to_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))
    states = {finding.name: finding.state for finding in doctor.check_datasets()}
    assert set(states.values()) == {"note"}
    assert "COCO 2017" in states
    for part in ("train2017", "val2017", "annotations"):
        (tmp_path / "data" / "coco" / part).mkdir(parents=True)
    for part in ("train", "val"):
        file = tmp_path / "data" / "coco" / "annotations" / f"instances_{part}2017.json"
        file.write_text("{}", encoding="utf-8")
    found = {finding.name: finding for finding in doctor.check_datasets()}["COCO 2017"]
    assert found.state == "gap"
    assert found.remedy == "python -m suite data verify coco"


def test_a_work_folder_that_cannot_hold_a_run_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "not" / "yet"))
    assert doctor.check_disk().state == "ok"
    monkeypatch.setattr(doctor, "MINI_GIB", 10**9)
    finding = doctor.check_disk()
    assert finding.state == "blocked"
    assert "SUITE_WORK" in finding.remedy


def test_a_machine_that_submits_to_a_cluster_has_sbatch_and_submitit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor.check_slurm()
    assert finding.state == "note"
    assert finding.found.startswith("no sbatch, ")
    assert "work on a machine that submits to a Slurm cluster" in finding.remedy
    (tmp_path / "sbatch").touch(0o755)
    monkeypatch.setattr(doctor, "installed_version", lambda name: None)
    assert "pip install --constraint" in doctor.check_slurm().remedy
    monkeypatch.setattr(doctor, "installed_version", lambda name: "1.5.4")
    assert doctor.check_slurm().found == f"{tmp_path / 'sbatch'}, submitit 1.5.4"


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--format", "csv"]) == 2
    assert "csv" in capsys.readouterr().err
