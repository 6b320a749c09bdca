"""What a folder of papers cannot change: what profiles promise, and what means the same on every machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from suite.catalogue import current
from suite.contract import BlockedError, load
from suite.errors import SuiteError
from suite.paths import ROOT
from suite.planning.plan import make_plan
from suite.published.finding import find_claim
from suite.published.recipes import check_profile, load_recipes
from suite.published.tasks import load_tasks

PROMISES = [
    "profile.comparable=true",
    "+profile.comparable=true",
    "profile.departures=[]",
    "~profile.departures",
]


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a paper, with a method and a recipe of its own."""
    folder = Path(shutil.copytree(ROOT / "docs" / "template-paper", tmp_path / "template-paper"))
    monkeypatch.setenv("SUITE_PAPERS", str(folder))
    return folder


def method(paper: Path) -> Path:
    return paper / "conf" / "method" / "template.yaml"


def add(path: Path, text: str) -> int:
    """Appends to a file; returns the line of what was added."""
    before = path.read_text(encoding="utf-8")
    path.write_text(before + text, encoding="utf-8")
    return before.count("\n") + 1


def planned(profile: str = "mini"):
    return make_plan([find_claim("template-resnet18-resnet34")[1]], profile, 1)


def refusal(profile: str = "mini") -> str:
    with pytest.raises(SuiteError) as caught:
        planned(profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_as_it_stands_it_plans(paper: Path):
    assert {run.recipe.comparable for run in planned().runs.values()} == {False}


@pytest.mark.parametrize(
    "override", [*PROMISES, "task=detection", "resources.devices=1", "data.fingerprint=x"]
)
def test_a_recipes_own_overrides_change_its_method_alone(paper: Path, override: str):
    recipes = paper / "recipes.yaml"
    line = add(recipes, f'other: {{task: classification, student: resnet18, overrides: ["{override}"]}}\n')
    with pytest.raises(SuiteError) as caught:
        load_recipes()
    assert str(caught.value) == (
        f"{recipes}:{line}: override {override!r} changes neither the method nor the taps that it uses; "
        "leave it out"
    )


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${now:%H}", "'a ${oc.env:HOME}'"])
def test_a_recipes_override_that_calls_a_resolver_is_refused(paper: Path, value: str):
    recipes = paper / "recipes.yaml"
    text = recipes.read_text(encoding="utf-8").replace(
        "teacher: resnet34}", f'teacher: resnet34, overrides: ["method.title={value}"]}}'
    )
    recipes.write_text(text, encoding="utf-8")
    assert "calls a resolver, which may give another value on another machine or day" in refusal()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("note: ${oc.env:HOME}\n", "${oc.env:HOME}"),
        ("task_loss_weight: ${oc.decode:${oc.env:WEIGHT}}\n", "${oc.decode:${oc.env:WEIGHT}}"),
        ("more: [{when: 'at ${now:%H}'}]\n", "at ${now:%H}"),
    ],
)
def test_a_config_that_calls_a_resolver_is_refused_with_its_line(paper: Path, text: str, value: str):
    line = add(method(paper), text)
    assert refusal().startswith(f"{method(paper)}:{line}: {value!r} calls a resolver")


@pytest.mark.parametrize(
    "profile",
    ["{comparable: true}", "{departures: []}", "{teacher_seed: 1}", "{scale: published}", "{more: 1}"],
)
def test_no_config_reaches_into_the_profile(paper: Path, profile: str):
    text = method(paper).read_text(encoding="utf-8")
    inner = "\n".join(f"  {line}" for line in text.splitlines())
    method(paper).write_text(f"# @package _global_\nmethod:\n{inner}\nprofile: {profile}\n", encoding="utf-8")
    line = method(paper).read_text(encoding="utf-8").count("\n")
    message = refusal()
    assert message.startswith(f"{method(paper)}:{line}: profile.{profile[1:].partition(':')[0]} differs from")
    assert "what a profile promises cannot be changed" in message


def test_a_profile_of_a_papers_own_is_none(paper: Path):
    (paper / "conf" / "profile").mkdir()
    (paper / "conf" / "profile" / "own.yaml").write_text("name: own\nscale: embedded\ncomparable: true\n")
    with pytest.raises(SuiteError, match="unknown profile 'own': known: mini, paper, smoke"):
        check_profile("own")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("arguments: {weight: 1.0}", "arguments: [1]", "method.losses.template.arguments cannot be [1]"),
        (
            "arguments: {weight: 1.0}",
            "arguments: {weight: 1e17, levels: 99999999999999999999}",
            "method.losses.template.arguments: levels is larger than",
        ),
        ("type: TemplateLoss", "type: 3", "method.losses.template.type cannot be 3"),
        ("title: Template", "title: [a]", "method.title cannot be ['a']"),
        ("name: template", "name: nkd", "method.name is 'nkd' in the file of 'template'"),
    ],
)
def test_a_config_of_the_wrong_type_is_refused_with_file_and_line(paper: Path, old: str, new: str, says: str):
    text = method(paper).read_text(encoding="utf-8")
    assert old in text
    method(paper).write_text(text.replace(old, new), encoding="utf-8")
    message = refusal()
    assert says in message
    assert re.match(rf"{re.escape(str(method(paper)))}:\d+: ", message) or "in the file of" in message


@pytest.mark.parametrize(
    "adapter", ["os:system", "subprocess:Popen", "../x.py:A", "tasks:x", "suite.cli:main"]
)
def test_a_task_names_an_adapter_of_the_tree_or_of_a_papers_folder(paper: Path, adapter: str):
    tasks = paper / "tasks.yaml"
    tasks.write_text(f"own: {{title: own, adapter: '{adapter}', version: 1}}\n", encoding="utf-8")
    with pytest.raises(SuiteError, match=r"tasks\.yaml:1: adapter: "):
        load_tasks()


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:run",
        "suite.cli:main",
        "tasks.embedded.store:os",
        "tasks.embedded.store:Path",
        "nobody/loss.py:run",
        "suite.datasets.required:required.x",
    ],
)
def test_only_what_the_tree_or_a_papers_folder_defines_is_loaded(name: str, monkeypatch: pytest.MonkeyPatch):
    # The losses of others, which import PyTorch, would come with whatever is loaded.
    monkeypatch.delenv("SUITE_PAPERS", raising=False)
    with pytest.raises(BlockedError, match="cannot be loaded: "):
        load(name)


def test_the_folders_that_are_read_are_those_that_were_named(paper: Path):
    assert current().outside == (paper,)
