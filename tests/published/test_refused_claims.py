"""Claims files that are broken: each fault is one line that names file and line and says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from suite import paths
from suite.cli import main
from suite.errors import SuiteError
from suite.published import finding
from suite.published.checks import read_papers
from suite.published.finding import load_papers

HERE = Path(__file__).parent
TINY = (HERE / "tiny.yaml").read_text(encoding="utf-8")
REFUSALS = yaml.safe_load((HERE / "refusals.yaml").read_text(encoding="utf-8"))
MODELS = """\
small: {title: Small, task: classification}
large: {title: Large, task: classification}
"""
RECIPES = """\
small: {task: classification, student: small}
large: {task: classification, student: large}
small-tiny-large: {task: classification, student: small, method: tiny, teacher: large}
small-tiny: {task: classification, student: small, method: tiny}
small-scenes: {task: detection, student: small}
"""


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    files = {
        "papers/tiny/claims.yaml": TINY,
        "papers/tiny/recipes.yaml": RECIPES,
        "models.yaml": MODELS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("metrics.yaml", "tasks.yaml", "datasets.yaml", "roles.yaml"):
        shutil.copy(paths.BASELINES / name, tmp_path / name)
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        read_papers(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message.removeprefix(f"{folder}/")


def test_a_sound_file_is_read(baselines):
    paper = read_papers(baselines)["tiny"]
    distilled = paper.claims[2]
    assert distilled.metrics["top1"].model_dump() == {"value": 71.0, "decimals": 2, "gain": 1.1}
    assert distilled.metrics["top5"].model_dump() == {"value": 90.1, "decimals": 2, "gain": None}
    assert distilled.sources[0].printed == {"top1": "71.00", "top5": "90.10"}
    assert distilled.hyperparameters == {"paper": {"alpha": 0.0005}}
    assert paper.document(paper.protocols[0]) == "arXiv 2601.00001"
    assert [quoted.row for quoted in paper.quoted_about("tiny-distilled")] == ["tiny-quote"]


@pytest.mark.parametrize("fault", REFUSALS, ids=[fault["what"] for fault in REFUSALS])
def test_a_broken_file_is_refused_at_its_line(baselines, fault):
    assert TINY.count(fault["old"]) == 1
    broken = TINY.replace(fault["old"], fault["new"])
    path = baselines / "papers" / "tiny" / "claims.yaml"
    path.write_text(broken, encoding="utf-8")
    line = max(number for number, text in enumerate(broken.splitlines(), 1) if fault["at"] in text)
    assert refusal(baselines).startswith(f"papers/tiny/claims.yaml:{line}: {fault['says'].format(file=path)}")


def test_a_quoted_row_with_models_needs_a_table_that_tells_the_data_set(baselines):
    several = TINY.replace("datasets: [imagenet-1k]", "datasets: [imagenet-1k, cifar-100]")
    text = several.replace("about: tiny-distilled, method", "models: {student: small}, method")
    (baselines / "papers" / "tiny" / "claims.yaml").write_text(text, encoding="utf-8")
    says = "table 'tiny-t1' has several data sets; say with 'about' what 'tiny-quote' concerns"
    assert re.match(rf"papers/tiny/claims\.yaml:\d+: {says}", refusal(baselines))


def test_ids_are_unique_over_all_papers(baselines):
    first = baselines / "papers" / "other" / "claims.yaml"
    first.parent.mkdir()
    first.write_text(TINY.replace("id: tiny\n", "id: other\n"), encoding="utf-8")
    message = f"id 'tiny-t1' is already in use (tables, {first}:9); give one of them another"
    assert refusal(baselines) == f"papers/tiny/claims.yaml:9: {message}"


def test_a_broken_or_missing_file_of_recipes_is_refused(baselines):
    recipes = baselines / "papers" / "tiny" / "recipes.yaml"
    recipes.write_text("- small\n", encoding="utf-8")
    message = "papers/tiny/recipes.yaml:1: file: input should be a valid dictionary; fix that entry"
    assert refusal(baselines) == message
    recipes.unlink()
    assert refusal(baselines) == "papers/tiny/claims.yaml:23: there is no recipe 'small'; add it"


def test_a_broken_or_missing_file_of_models_is_refused(baselines):
    (baselines / "models.yaml").write_text("small:\n  title: Small\n  taks: detection\n", encoding="utf-8")
    assert refusal(baselines).startswith("models.yaml:3: unknown key 'taks'; did you mean 'task'")
    (baselines / "models.yaml").unlink()
    assert refusal(baselines) == "models.yaml: there is no such file; restore it from the repository"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{title: S, task: detektion}", "unknown task 'detektion'; did you mean 'detection'"),
        ("{title: S, task: detection, dataset: coco}", "unknown data set 'coco'; did you mean 'coco-2017'"),
    ],
)
def test_a_model_of_an_unknown_task_or_data_set_is_refused(baselines, text, message):
    (baselines / "models.yaml").write_text(f"{MODELS}other: {text}\n", encoding="utf-8")
    assert refusal(baselines).startswith(f"models.yaml:3: {message}")


def test_a_role_whose_arm_measures_nothing_that_it_names_is_refused(baselines):
    with (baselines / "roles.yaml").open("a", encoding="utf-8") as roles:
        roles.write("idle: {title: a, plural: b, arm: teacher, requires: [student], turn: 0}\n")
    line = len((baselines / "roles.yaml").read_text(encoding="utf-8").splitlines())
    message = "arm 'teacher' measures a teacher; put it into 'requires'"
    assert refusal(baselines) == f"roles.yaml:{line}: idle: {message}"


def test_a_rival_with_a_recipe_is_judged_and_one_without_is_quoted(baselines):
    path = baselines / "papers" / "tiny" / "claims.yaml"
    path.write_text(TINY.replace("role: ours", "role: rival"), encoding="utf-8")
    assert read_papers(baselines)["tiny"].claims[2].judged
    path.write_text(
        TINY.replace("role: ours", "role: rival").replace("    recipe: small-tiny-large\n", ""),
        encoding="utf-8",
    )
    assert not read_papers(baselines)["tiny"].claims[2].judged


def test_a_folder_without_claims_is_refused(tmp_path):
    assert refusal(tmp_path) == "papers: no papers here; restore the folder from the repository"


def test_the_command_line_tells_a_broken_file_in_one_line_with_status_2(baselines, monkeypatch, capsys):
    path = baselines / "papers" / "tiny" / "claims.yaml"
    path.write_text(TINY.replace("role: ours", "role: our"), encoding="utf-8")
    monkeypatch.setattr(paths, "BASELINES", baselines)
    assert main(["list"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"suite: {path}:36: unknown role 'our'; did you mean 'ours'?")
    assert output.err.count("\n") == 1


def test_reading_works_without_libyaml():
    code = "import yaml; del yaml.CSafeLoader; from suite.published.finding import load_papers; "
    code += "print(len(load_papers()))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(len(load_papers()))


def test_papers_are_read_once_a_process(monkeypatch):
    first = load_papers()
    monkeypatch.setattr(finding, "read_papers", lambda *folders: pytest.fail("read again"))
    assert load_papers() is first
