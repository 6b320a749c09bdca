import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from suite import environment
from suite.errors import SuiteError
from suite.paths import LOCK_FILE, ROOT


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_versions_are_those_of_the_imported_packages():
    import numpy
    import sklearn

    versions = environment.installed_versions()
    assert versions["numpy"] == numpy.__version__
    assert versions["scikit-learn"] == sklearn.__version__
    assert versions["mmcv"] == importlib.metadata.version("onedl-mmcv")


def test_a_distribution_that_is_absent_has_no_version():
    assert environment.installed_version("no-such-distribution") is None


def test_what_a_caller_does_to_the_versions_does_not_reach_the_next_caller():
    environment.installed_versions()["numpy"] = "0"
    assert environment.installed_versions()["numpy"] != "0"


def test_importing_and_asking_needs_neither_torch_nor_numpy():
    code = (
        "import sys; from suite.environment import *; "
        "installed_versions(), host_facts(), lock_hash(), git_state(); "
        "print([name for name in ('torch', 'numpy', 'pandas', 'pydantic') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_lock_hash_is_the_sha256_of_the_file():
    assert environment.lock_hash() == hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()


def test_lock_lines_keep_their_markers(tmp_path: Path):
    lock = tmp_path / "requirements.lock"
    lock.write_text('# about\n\nnumpy==2.2.6\npandas==2.3.3 ; python_version < "3.11"\n')
    assert environment.locked_versions(lock) == [
        ("numpy", "2.2.6", None),
        ("pandas", "2.3.3", 'python_version < "3.11"'),
    ]


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "numpy @ file:///somewhere", "--find-links somewhere"])
def test_a_lock_line_that_pins_nothing_is_named(tmp_path: Path, line: str):
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"torch==2.10.0\n{line}\n")
    with pytest.raises(SuiteError, match=r"requirements\.lock, line 2.*make lock") as caught:
        environment.locked_versions(lock)
    assert line in str(caught.value)


def test_a_missing_lock_is_named(tmp_path: Path):
    with pytest.raises(SuiteError, match=r"cannot read the lock .*absent"):
        environment.locked_versions(tmp_path / "absent")


def test_host_facts_describe_this_process():
    facts = environment.host_facts()
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert isinstance(facts["cores"], int)
    assert facts["cores"] >= 1
    assert isinstance(facts["memory_gib"], float)
    assert facts["cpu"]
    assert facts["hostname"]


def test_a_clean_repository_has_its_commit(repository: Path):
    assert environment.git_state(repository) == environment.CodeState(
        commit=git(repository, "rev-parse", "HEAD"), dirty=False
    )


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_changed_and_new_files_are_dirty(repository: Path, name: str):
    (repository / name).write_text("2\n")
    assert environment.git_state(repository).dirty is True


def test_records_of_earlier_runs_are_not_dirty(repository: Path):
    (repository / "results").mkdir()
    (repository / "results" / "record.json").write_text("{}")
    assert environment.git_state(repository).dirty is False


def test_without_a_repository_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.git_state(tmp_path) == environment.CodeState(None, None)
