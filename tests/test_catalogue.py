"""Papers outside of the checkout: found, added to what there is, and refused with file and line."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from suite.catalogue import conf_folders, import_file, papers_folders, python_files
from suite.cli import build_parser, main
from suite.cli.selection import command_of
from suite.errors import SuiteError
from suite.paths import CONF, ROOT
from suite.published.finding import load_papers, select
from suite.published.metrics import find_metric, load_metrics
from suite.published.models import load_models
from suite.published.priors import find_prior, load_priors
from suite.published.protocols import load_protocols
from suite.published.recipes import group_choices, load_recipes
from suite.published.tasks import find_task, load_tasks
from suite.published.weights import read_weights

PAPERS = ROOT / "tests" / "papers"


@pytest.fixture
def pkd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder of PKD, named in the environment."""
    folder = Path(shutil.copytree(PAPERS / "pkd", tmp_path / "pkd"))
    monkeypatch.setenv("SUITE_PAPERS", str(tmp_path))
    return folder


def edit(path: Path, old: str, new: str) -> int:
    """Replaces a text that stands once in a file; the line where it begins."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a verb says of what it refuses."""
    assert main(words or ("list",)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err.removeprefix("suite: ").rstrip("\n")


# Found


def test_a_folder_of_papers_and_a_paper_itself_are_both_taken(pkd, monkeypatch):
    assert set(load_papers()) >= {"fgd", "pkd"}
    monkeypatch.setenv("SUITE_PAPERS", str(pkd))
    assert papers_folders()[-1] == pkd
    assert conf_folders() == [CONF, pkd / "conf"]
    assert python_files() == [pkd / "loss.py"]
    assert "pearson" in group_choices("method")


def test_no_cache_outlives_a_change_of_the_environment(pkd, monkeypatch):
    assert "pkd" in load_papers()
    monkeypatch.delenv("SUITE_PAPERS")
    assert "pkd" not in load_papers()
    assert "pearson" not in group_choices("method")
    assert "pearson" not in load_protocols().names
    assert not any("pearson" in name for name in load_recipes())
    monkeypatch.setenv("SUITE_PAPERS", str(pkd))
    assert "pkd" in load_papers()
    assert "retinanet-r50-pearson-retinanet-x101" in load_recipes()


def test_the_option_names_the_folders_while_the_verb_runs(capsys, monkeypatch):
    monkeypatch.delenv("SUITE_PAPERS", raising=False)
    assert main(["list", "--papers", str(PAPERS), "--paper", "pkd"]) == 0
    assert "pkd-retinanet-r50-x101" in capsys.readouterr().out
    assert "SUITE_PAPERS" not in os.environ
    assert refusal(capsys, "list", "--paper", "pkd").startswith("unknown paper 'pkd'; did you mean")
    monkeypatch.setenv("SUITE_PAPERS", "elsewhere")
    assert main(["show", "pkd-retinanet-r50-x101", "--papers", str(PAPERS / "pkd")]) == 0
    assert os.environ["SUITE_PAPERS"] == "elsewhere"


def test_several_folders_are_separated_as_paths_are(pkd, tmp_path, monkeypatch):
    other = tmp_path / "more" / "other"
    other.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "published" / "tiny.yaml", other / "claims.yaml")
    edit(other / "claims.yaml", "id: tiny\n", "id: other\n")
    (other / "models.yaml").write_text(
        "small: {title: S, task: classification}\nlarge: {title: L, task: classification}\n", encoding="utf-8"
    )
    (other / "recipes.yaml").write_text(
        "small: {task: classification, student: small}\nlarge: {task: classification, student: large}\n"
        "small-tiny-large: {task: classification, student: small, method: nkd, teacher: large}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("SUITE_PAPERS", os.pathsep.join([str(pkd), str(other.parent)]))
    assert list(load_papers())[-2:] == ["pkd", "other"]
    assert [claim.id for _, claim in select("other")] == ["tiny-student", "tiny-teacher", "tiny-distilled"]


@pytest.mark.parametrize("folder", ["absent", "empty"])
def test_a_folder_without_a_paper_is_refused(capsys, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    message = refusal(capsys, "list", "--papers", str(tmp_path / folder))
    assert message.startswith(f"{tmp_path / folder}: ")


# Added


def test_a_paper_adds_metrics_tasks_models_priors_data_sets_and_checkpoints(pkd):
    (pkd / "metrics.yaml").write_text("F1: {title: F1, unit: percent, better: higher}\n", encoding="utf-8")
    (pkd / "tasks.yaml").write_text(
        "tagging: {title: tagging, adapter: 'pkd/loss.py:PKDLoss', version: 2, packages: [sklearn]}\n",
        encoding="utf-8",
    )
    (pkd / "datasets.yaml").write_text("tags: {title: Tags, embedded: true}\n", encoding="utf-8")
    (pkd / "models.yaml").write_text(
        "tagger: {title: Tagger, task: tagging, dataset: tags}\n", encoding="utf-8"
    )
    (pkd / "priors.yaml").write_text(
        "priors:\n  - {dataset: tags, metrics: [F1], sigma0: 0.5, delta: 1.0, scope: all, evidence: []}\n",
        encoding="utf-8",
    )
    (pkd / "weights.yaml").write_text(
        "tagger: {dataset: tags, schedule: none, unpublished: never released}\n", encoding="utf-8"
    )
    assert find_metric("F1").gain(70.0, 68.0) == 2.0
    assert list(load_metrics())[-1] == "F1"
    assert (find_task("tagging").version, find_task("tagging").packages) == (2, ["sklearn"])
    assert load_models()["tagger"].dataset == "tags"
    prior = find_prior("tags", "F1")
    assert prior is not None
    assert prior.sigma0 == 0.5
    assert load_priors().version >= 1
    assert not read_weights()["tagger"].published


def test_a_lower_metric_gains_by_falling(pkd):
    (pkd / "metrics.yaml").write_text(
        "error: {title: error, unit: percent, better: lower}\n", encoding="utf-8"
    )
    assert find_metric("error").gain(28.0, 30.0) == 2.0


# Refused


FAULTS = {
    "metric": ("{box_AP: 38.4}\n    recipe", "{box_APP: 38.4}\n    recipe", "unknown metric 'box_APP'; did"),
    "role": ("role: teacher\n", "role: teachr\n", "unknown role 'teachr'; did you mean 'teacher'"),
    "recipe": ("recipe: faster-rcnn-r50\n", "recipe: faster\n", "there is no recipe 'faster'; did you mean"),
    "model": ("teacher: faster-rcnn-r101\n", "teacher: fast\n", "there is no model 'fast'"),
    "task": ("task: detection\n    dataset: coco-2017\n    teacher: retinanet-x101\n    m",
             "task: detektion\n    dataset: coco-2017\n    teacher: retinanet-x101\n    m",
             "unknown task 'detektion'; did you mean 'detection'"),
    "claim": ("id: pkd-faster-rcnn-r50-student", "id: fgd-resnet", "there is no claim"),
    "folder": ("id: pkd\n", "id: pkt\n", "paper 'pkt' is in folder 'pkd'; name the folder pkt"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_file_and_line(pkd, capsys, fault):
    old, new, says = FAULTS[fault]
    line = edit(pkd / "claims.yaml", old, new)
    place = re.fullmatch(rf"{pkd}/claims\.yaml:(\d+): (.*)", refusal(capsys))
    assert place
    assert place[2].startswith(says)
    # A claim that is gone is missed where it is named.
    assert int(place[1]) == line or fault == "claim"


def test_a_recipe_of_another_paper_is_not_taken_over(pkd, capsys):
    line = edit(pkd / "recipes.yaml", "faster-rcnn-r50-pearson-faster-rcnn-r101:", "retinanet-r50:")
    says = "recipe 'retinanet-r50' is already in baselines/papers/fgd/recipes.yaml:"
    assert refusal(capsys).startswith(f"{pkd}/recipes.yaml:{line}: {says}")


def test_a_claim_of_another_paper_is_not_taken_over(pkd, capsys):
    line = edit(pkd / "claims.yaml", "- id: pkd-retinanet-x101-teacher", "- id: mgd-resnet18")
    edit(pkd / "claims.yaml", "teacher_claim: pkd-retinanet-x101-teacher", "teacher_claim: mgd-resnet18")
    message = refusal(capsys)
    assert message.startswith(
        f"{pkd}/claims.yaml:{line}: id 'mgd-resnet18' is already in use (claims, baselines/"
    )
    assert re.search(r"papers/mgd/claims\.yaml:\d+\)", message)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("metrics.yaml", "box_AP: {title: box AP, unit: percent, better: higher}\n",
         "metric 'box_AP' is already in baselines/metrics.yaml:"),
        ("tasks.yaml", "detection: {title: d, adapter: 'tasks.a:B', version: 1}\n",
         "task 'detection' is already in baselines/tasks.yaml:"),
        ("models.yaml", "resnet18: {title: ResNet, task: classification}\n",
         "model 'resnet18' is already in baselines/models.yaml:"),
        ("models.yaml", "vit: {title: ViT, task: tagging}\n", "unknown task 'tagging'; "),
        ("roles.yaml", "ours: {title: a, plural: b, arm: student, requires: [student], turn: 0}\n",
         "role 'ours' is already in baselines/roles.yaml:"),
        ("datasets.yaml", "coco: {title: COCO, embedded: true}\n",
         "data set 'coco' is already in baselines/datasets.yaml:"),
    ],
)  # fmt: skip
def test_what_is_there_already_is_refused_with_both_places(pkd, capsys, file, text, says):
    (pkd / file).write_text(text, encoding="utf-8")
    message = refusal(capsys)
    assert message.startswith(f"{pkd / file}:1: {says}")


def test_a_prior_and_a_group_of_a_protocol_that_are_there_already_are_refused(pkd):
    row = "{dataset: coco-2017, metrics: [box_AP], sigma0: 0.1, delta: 0.2, scope: all, evidence: []}"
    (pkd / "priors.yaml").write_text(f"priors:\n  - {row}\n", encoding="utf-8")
    with pytest.raises(
        SuiteError, match=r"priors\.yaml:2: box_AP on coco-2017 is listed in baselines/priors.yaml:"
    ):
        load_priors()
    line = edit(pkd / "protocol.yaml", "  pkd-levels:", "  levels-4:")
    with pytest.raises(
        SuiteError, match=rf"protocol\.yaml:{line}: groups entry 'levels-4' is already in baselines"
    ):
        load_protocols()


def test_a_group_that_no_protocol_has_is_refused_in_the_file_that_names_it(pkd):
    line = edit(pkd / "protocol.yaml", "[no-clip, pkd-levels]", "[no-clip, pkd-level]")
    with pytest.raises(
        SuiteError, match=rf"pkd/protocol\.yaml:{line}: no group 'pkd-level'; did you mean 'pkd-le"
    ):
        load_protocols()


def test_a_method_that_no_folder_of_configs_has_is_refused_in_the_recipe(pkd):
    line = edit(pkd / "recipes.yaml", "  method: pearson\n", "  method: pearsen\n")
    says = "no method 'pearsen' .* did you mean 'pearson'"
    with pytest.raises(SuiteError, match=rf"pkd/recipes\.yaml:{line}: {says}"):
        load_recipes()


def test_a_method_file_that_the_suite_has_already_is_refused_with_both_places(pkd):
    method = pkd / "conf" / "method"
    shutil.move(method / "pearson.yaml", method / "fgd.yaml")
    with pytest.raises(SuiteError, match=r"pkd/conf/method/fgd\.yaml:1: suite/conf/method/fgd\.yaml is a m"):
        group_choices("method")


def test_a_misspelt_file_and_broken_yaml_are_refused(pkd, tmp_path, monkeypatch, capsys):
    (pkd / "recipes.yaml").write_text("a: {\n", encoding="utf-8")
    assert re.match(rf"{pkd}/recipes\.yaml:\d+: ", refusal(capsys))
    other = shutil.copytree(PAPERS / "pkd", tmp_path / "other" / "pkd")
    shutil.move(other / "recipes.yaml", other / "recipe.yaml")
    monkeypatch.setenv("SUITE_PAPERS", str(other))
    message = f"{other}/recipe.yaml:1: no such file is read; did you mean 'recipes.yaml'"
    assert refusal(capsys).startswith(message)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nimport nowhere_to_be_found\n", r"aside\.py:2: cannot be imported \(ModuleNotFoundError: "),
        ("x = 1\n\ndef f(:\n", r"aside\.py:3: cannot be imported \(SyntaxError: "),
        ("def f():\n    return 1 / 0\n\n\nf()\n", r"aside\.py:2: cannot be imported \(ZeroDivisionError: "),
    ],
)
def test_a_python_file_that_cannot_be_imported_is_told_with_the_line_at_fault(pkd, text, says):
    (pkd / "aside.py").write_text(text, encoding="utf-8")
    with pytest.raises(SuiteError, match=says):
        import_file("pkd/aside.py")


def test_a_python_file_that_is_not_there_is_answered_with_those_that_are(pkd):
    with pytest.raises(
        SuiteError, match=r"no Python file 'pkd/los.py' in a paper folder; did you mean 'pkd/loss.py'"
    ):
        import_file("pkd/los.py")


def test_tasks_of_the_checkout_name_adapters_of_the_checkout():
    assert all(task.adapter.startswith("tasks.adapters.") for task in load_tasks().values())


def test_the_command_that_makes_the_same_selection_again_names_the_folders_too():
    words = ["plan", "--papers", "a b", "--papers", "c", "--paper", "pkd", "--profile", "smoke"]
    args = build_parser("plan").parse_args(words)
    args.overrides = []
    assert command_of(args).startswith("python -m suite plan --papers 'a b' --papers c --paper pkd ")
