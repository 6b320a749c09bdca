"""Recipes: every one composes at every scale, overrides come last, and mistakes are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from suite.claims import select
from suite.errors import SuiteError
from suite.paths import ROOT
from suite.recipes import Recipe, check_profile, compose, group_choices, load_recipes, trained_alone

RECIPES = load_recipes()
MGD = RECIPES["resnet18-mgd-resnet34"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_composes_at_every_scale(name):
    recipe = RECIPES[name]
    for profile in group_choices("profile"):
        composed = compose(recipe, profile)
        assert composed["profile"] == profile
        assert composed["comparable"] == (profile == "paper")
        assert composed["scale"] == ("published" if profile == "paper" else "embedded")
        assert composed["student"]["name"] == recipe.student
        assert (composed["teacher"] or {}).get("name") == recipe.teacher
        assert (composed["method"] or {}).get("name") == recipe.method
        assert "???" not in json.dumps(composed)
        if profile != "paper":
            assert composed["departures"]


def test_every_judged_claim_with_a_recipe_names_one_that_fits_it():
    with_recipe = [claim for _, claim in select() if claim.recipe]
    assert with_recipe
    for claim in with_recipe:
        recipe = RECIPES[str(claim.recipe)]
        model = claim.teacher if claim.role == "teacher" else claim.student
        assert (recipe.student, recipe.task) == (model, claim.task), claim.id


def test_every_recipe_makes_a_claimed_number_or_a_model_that_one_needs():
    named = {claim.recipe for _, claim in select()}
    needed = {recipe.teacher for recipe in RECIPES.values()} | {recipe.student for recipe in RECIPES.values()}
    assert set(RECIPES) - named <= needed


def test_the_override_of_a_recipe_beats_its_method_and_the_users_beats_both():
    recipe = RECIPES["deit-tiny-nkd-deit3-small"]

    def gamma(*overrides: str) -> float:
        value: float = compose(recipe, "mini", overrides)["method"]["losses"]["nkd"]["arguments"]["gamma"]
        return value

    defaults = compose(RECIPES["resnet18-nkd-resnet34"], "mini")["method"]["losses"]["nkd"]["arguments"]
    assert defaults["gamma"] == 1.5
    assert gamma() == 1.0
    assert gamma("method.losses.nkd.arguments.gamma=2.5") == 2.5


def test_smoke_is_two_iterations():
    composed = compose(MGD, "smoke")
    train = composed["data"]["overrides"]["train_dataloader"]
    assert train["dataset"]["indices"] // train["batch_size"] == 2
    assert composed["schedule"]["train_cfg"]["max_epochs"] == 1


def test_a_model_trained_alone_has_neither_teacher_nor_method():
    composed = compose(trained_alone(MGD, "resnet34"), "mini")
    assert (composed["student"]["name"], composed["teacher"], composed["method"]) == ("resnet34", None, None)


def test_what_is_composed_belongs_to_the_caller():
    first = compose(MGD, "mini")
    first["student"]["overrides"].clear()
    assert compose(MGD, "mini")["student"]["overrides"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("epochs=3", "override 'epochs=3' does not compose: Could not override 'epochs'"),
        ("method=mdg", "mdg"),
        ("student.embedded.epochs=[1", "does not compose"),
        ("schedule.peak_rates.convnet='${nowhere}'", "does not compose"),
    ],
)
def test_an_override_that_does_not_compose_is_one_line(override, says):
    with pytest.raises(SuiteError) as caught:
        compose(MGD, "mini", (override,))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_is_named_with_a_suggestion():
    assert check_profile("paper") == "paper"
    with pytest.raises(SuiteError, match="unknown profile 'papre': did you mean 'paper'"):
        compose(MGD, "papre")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("broken: {task: classification, student: resnet81}", r"yaml:2: .*no model 'resnet81'.*'resnet18'"),
        ("broken: {task: classification, student: resnet18, method: mdg}", r"yaml:2: .*no method 'mdg'"),
        ("broken: {task: classification, studnet: resnet18}", r"yaml:2: "),
        ("broken: {task: classification, student: resnet18", r"yaml:\d+: "),
        ("good: {task: classification, student: resnet34}", r"yaml:2: "),
    ],
)
def test_a_broken_recipe_is_named_with_file_and_line(tmp_path, line, says):
    path = tmp_path / "classification.yaml"
    path.write_text(f"good: {{task: classification, student: resnet18}}\n{line}\n", encoding="utf-8")
    with pytest.raises(SuiteError, match=says) as caught:
        load_recipes(tmp_path)
    assert "classification.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


COMPOSE = """
import sys
from suite.recipes import Recipe, compose
composed = compose(Recipe(task='classification', student='resnet18'), 'smoke')
print(composed['student']['name'], 'hydra' in sys.modules)
"""


def composed_in_another_process(work: object) -> str:
    environment = {**os.environ, "SUITE_WORK": str(work)}
    done = subprocess.run(
        [sys.executable, "-c", COMPOSE], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_what_was_composed_once_needs_hydra_no_more(tmp_path):
    assert composed_in_another_process(tmp_path) == "resnet18 True"
    assert composed_in_another_process(tmp_path) == "resnet18 False"


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert composed_in_another_process(tmp_path / "file") == "resnet18 True"


def test_a_recipe_is_what_its_file_says():
    assert Recipe(task="classification", student="resnet18", method="mgd-channel", teacher="resnet34") == MGD
