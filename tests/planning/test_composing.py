"""Recipes: every one composes at every scale, overrides come last, and mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from suite import paths
from suite.contract import ComposedMethod, ComposedRecipe
from suite.datasets import read_published
from suite.errors import SuiteError
from suite.planning.composing import compose
from suite.published.claims import Claim, Paper
from suite.published.finding import select
from suite.published.protocols import load_protocols
from suite.published.recipes import Recipe, check_profile, group_choices, load_recipes, trained_alone

RECIPES = load_recipes()
MGD = RECIPES["resnet18-mgd-resnet34"]


def method_of(composed: ComposedRecipe) -> ComposedMethod:
    assert composed.method is not None
    return composed.method


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_composes_at_every_scale(name):
    recipe = RECIPES[name]
    for profile in group_choices("profile"):
        composed = compose(recipe, profile)
        assert composed.profile == profile
        assert composed.comparable == (profile == "paper")
        assert composed.scale == ("published" if profile == "paper" else "embedded")
        assert composed.student.name == recipe.student
        assert (composed.teacher.name if composed.teacher else None) == recipe.teacher
        assert (composed.method.name if composed.method else None) == recipe.method
        assert "???" not in composed.model_dump_json()
        if profile != "paper":
            assert composed.departures


def test_every_recipe_makes_a_claimed_number_or_a_model_that_one_needs():
    named = {claim.recipe for _, claim in select()}
    needed = {recipe.teacher for recipe in RECIPES.values()} | {recipe.student for recipe in RECIPES.values()}
    assert set(RECIPES) - named <= needed


def test_the_override_of_a_recipe_beats_its_method_and_the_users_beats_both():
    recipe = RECIPES["deit-tiny-nkd-deit3-small"]

    def gamma(recipe: Recipe, *overrides: str) -> float:
        value: float = method_of(compose(recipe, "mini", overrides)).losses["nkd"].arguments["gamma"]
        return value

    assert gamma(RECIPES["resnet18-nkd-resnet34"]) == 1.5
    assert gamma(recipe) == 1.0
    assert gamma(recipe, "method.losses.nkd.arguments.gamma=2.5") == 2.5


def test_smoke_is_two_iterations():
    composed = compose(MGD, "smoke")
    train = composed.data.overrides["train_dataloader"]
    assert len(train["dataset"]["indices"]) // train["batch_size"] == 2
    assert composed.schedule["train_cfg"]["max_epochs"] == 1


def test_a_model_trained_alone_has_neither_teacher_nor_method():
    composed = compose(trained_alone(MGD, "resnet34"), "mini")
    assert (composed.student.name, composed.teacher, composed.method) == ("resnet34", None, None)


def test_a_teacher_is_trained_on_its_own_task_whatever_its_student_does():
    recipe = RECIPES["faster-rcnn-r50-fgd-cascade-mask-rcnn-x101-dcn"]
    teacher = trained_alone(recipe, str(recipe.teacher))
    assert teacher == Recipe(task="instance_segmentation", student="cascade-mask-rcnn-x101-dcn")
    assert trained_alone(recipe, recipe.student) == Recipe(task="detection", student="faster-rcnn-r50")
    with pytest.raises(
        SuiteError, match=r"no model 'resnet81' in baselines/models.yaml; did you mean 'resnet"
    ):
        trained_alone(recipe, "resnet81")


def test_a_scale_that_the_data_do_not_have_is_refused_by_name_and_published_data_have_none():
    override = "method.losses.mgd.scaled={alpha: maps}"
    recipe = RECIPES["retinanet-r50-mgd-retinanet-x101"]
    with pytest.raises(SuiteError, match=r"loss 'mgd' scales 'alpha' by 'maps', .* did you mean 'map'"):
        compose(recipe, "mini", (override,))
    assert compose(recipe, "paper", (override,)).method is not None


def test_data_that_shrink_the_feature_maps_say_how_many_times_and_others_do_not():
    for recipe in ("resnet18", "retinanet-r50"):
        embedded = compose(RECIPES[recipe], "mini").data
        assert embedded.scales.keys() >= {"channels", "positions", "map"}
        assert embedded.images == {}
    # A published data set says how many images it has.
    for recipe in ("resnet18", "retinanet-r50"):
        data = compose(RECIPES[recipe], "paper").data
        assert (data.scales, set(data.images)) == ({}, {"train", "test"})


def test_a_model_of_another_data_set_reads_it_with_the_published_protocol_and_its_tasks_data_embedded():
    cifar, usual = (RECIPES["resnet18-cifar-uskd"], RECIPES["resnet18-uskd"])
    published = compose(cifar, "paper").data
    assert (published.name, published.images) == ("cifar100", {"train": 50_000, "test": 10_000})
    assert compose(trained_alone(cifar, cifar.student), "paper").data == published
    for profile in ("mini", "smoke"):
        assert compose(cifar, profile).data == compose(usual, profile).data
    assert compose(cifar, "paper", ("data.fingerprint=other",)).data.fingerprint == "other"


def test_every_claim_is_measured_on_the_data_that_the_published_protocol_of_its_recipe_reads():
    claims_names = {dataset.folder: dataset.claims_name for dataset in read_published().values()}
    for _, claim in select():
        if claim.recipe:
            data = compose(RECIPES[claim.recipe], "paper").data
            assert claims_names[data.name] == claim.dataset, claim.id


def test_the_same_choices_are_composed_once_and_are_frozen():
    first = compose(MGD, "mini")
    assert compose(MGD, "mini") is first
    with pytest.raises(ValidationError, match="frozen"):
        first.student.name = "resnet50"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "student.epochs=3",
            "override 'student.epochs=3' does not compose: Could not override 'student.epochs'",
        ),
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
        (
            "broken: {task: classification, student: resnet18, teacher: resnet34}",
            r"yaml:2: .*without a method",
        ),
        ("broken: {task: classification, student: resnet18", r"yaml:\d+: "),
        ("good: {task: classification, student: resnet34}", r"yaml:2: "),
    ],
)
def test_a_broken_recipe_is_named_with_file_and_line(tmp_path, monkeypatch, line, says):
    write_recipes(tmp_path / "papers" / "one", f"good: {{task: classification, student: resnet18}}\n{line}\n")
    monkeypatch.setattr(paths, "BASELINES", tmp_path)
    with pytest.raises(SuiteError, match=says) as caught:
        load_recipes()
    # A brace that is not closed is missed at the end of the file.
    assert re.match(rf"{tmp_path}/papers/one/recipes.yaml:[23]: ", str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_recipe_in_two_files_is_refused(tmp_path, monkeypatch):
    for name in ("one", "two"):
        write_recipes(tmp_path / "papers" / name, "first: {task: classification, student: resnet18}\n")
    monkeypatch.setattr(paths, "BASELINES", tmp_path)
    message = r"two/recipes.yaml:1: recipe 'first' is already in .*/one/recipes.yaml:1; give"
    with pytest.raises(SuiteError, match=message):
        load_recipes()


def write_recipes(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "claims.yaml").touch()
    (folder / "recipes.yaml").write_text(text, encoding="utf-8")


def test_what_a_recipe_says_of_its_method_becomes_overrides():
    named: Any = {"inherit": True, "title": "A's, B", "overrides": ("method.a=1",)}
    recipe = Recipe(task="t", student="s", teacher="t", method="m", **named)
    title = "method.title='A\\'s, B'"
    assert recipe.overrides_of_method() == ("method.inherit=true", title, "method.a=1")
    fgd = load_recipes()["retinanet-r50-fgd-retinanet-r101"]
    method = method_of(compose(fgd.model_copy(update={"title": "A's, B", "inherit": True}), "smoke"))
    assert (method.title, method.inherit) == ("A's, B", True)


def test_a_recipe_is_what_its_file_says():
    assert Recipe(task="classification", student="resnet18", method="mgd-channel", teacher="resnet34") == MGD


# What the recipes of FGD and MGD set, against what was published

VARIED: dict[str, dict[str, Any]] = {
    **{claim: dict(*losses.values()) for claim, losses in load_protocols().varied.items()},
    # The feature loss without the logit term of the released config.
    "mgd-deeplabv3-r18": {"use_logit": False},
}
"""What the rows vary that take the settings of another row."""

OUR_NAMES = {
    "T": "temperature", "temp": "temperature", "lambda": "lambda_", "lambda_mask_ratio": "mask_ratio",
    "mask": "masking", "init_student": "inherit",
}  # fmt: skip
"""Published name of a hyper-parameter -> name of the argument, where they differ."""

DISTILLED = [
    (paper, claim)
    for paper, claim in select()
    if paper.id in {"fgd", "mgd"} and claim.role in {"ours", "ablation"}
]


def published(paper: Paper, claim: Claim) -> dict[str, Any]:
    """What was published for a claim, under our names: settings, losses, and whether the student inherits."""
    settings = {OUR_NAMES.get(name, name): value for name, value in paper.settings(claim).items()}
    # The clipping of gradients is part of the schedule.
    settings.pop("grad_clip", None)
    if paper.id == "fgd":
        settings = {"type": "FGDLoss", "inherit": "inheriting" in str(claim.method), **settings}
    else:
        settings["masking"] = str(settings["masking"]).split()[0]
        settings = {"type": "MGDLoss", "inherit": False, "use_logit": False, **settings}
    settings |= VARIED.get(claim.id, {})
    if not settings.get("use_logit"):
        settings.pop("logit_weight", None)
        settings.pop("logit_T", None)
    return settings


def made(paper: Paper, recipe: Recipe) -> dict[str, Any]:
    """The same of what a recipe composes."""
    method = method_of(compose(recipe, "paper"))
    assert method.task_loss_weight == 1.0
    losses = dict(method.losses)
    loss = losses.pop(paper.id)
    found = {"type": loss.type, "inherit": method.inherit, **loss.arguments}
    if paper.id == "mgd":
        logit = losses.pop("logit", None)
        found["use_logit"] = logit is not None
        if logit:
            assert logit.type == "ChannelWiseLogitLoss"
            found |= {f"logit_{name}": logit.arguments[key] for name, key in LOGIT_ARGUMENTS}
    assert losses == {}
    return found


LOGIT_ARGUMENTS = (("weight", "weight"), ("T", "temperature"))


@pytest.mark.parametrize(("paper", "claim"), DISTILLED, ids=[claim.id for _, claim in DISTILLED])
def test_a_recipe_sets_exactly_what_was_published_for_its_claim(paper, claim):
    assert made(paper, RECIPES[str(claim.recipe)]) == published(paper, claim)


def test_what_rows_vary_is_said_of_all_of_them_and_of_no_other():
    assert {claim.id for _, claim in DISTILLED if claim.settings_of} == set(VARIED)


def test_ablations_differ_from_the_row_that_they_vary_by_overrides_of_the_method_alone():
    claims = {claim.id: claim for _, claim in DISTILLED}
    for name in VARIED:
        claim, other = claims[name], claims[str(claims[name].settings_of)]
        recipe, main = RECIPES[str(claim.recipe)], RECIPES[str(other.recipe)]
        assert all(text.lstrip("+").startswith("method.") for text in recipe.overrides)
        # Table 6 has a teacher of its own.
        same = ["task", "student", *(["teacher"] if claim.teacher == other.teacher else [])]
        assert [getattr(recipe, key) for key in same] == [getattr(main, key) for key in same]
        varied, usual = compose(recipe, "mini"), compose(main, "mini")
        assert varied.method != usual.method
        without = {"method": None, "teacher": None}
        assert varied.model_copy(update=without) == usual.model_copy(update=without)


def test_losses_that_are_sums_over_a_map_are_scaled_with_it():
    scaled = {
        loss.type: loss.scaled
        for recipe in RECIPES.values()
        if recipe.method and recipe.task != "classification"
        for loss in method_of(compose(recipe, "mini")).losses.values()
    }
    fgd = {"alpha": "channels", "beta": "channels", "gamma": "positions", "lambda_": "map"}
    expected = {
        "FGDLoss": fgd, "FGDAblationLoss": fgd, "MGDLoss": {"alpha": "map"}, "ChannelWiseLogitLoss": {},
    }  # fmt: skip
    # Papers of others may have losses of their own.
    assert scaled | expected == scaled


def test_weights_that_follow_the_size_of_the_maps_are_listed_as_a_departure():
    def listed(name: str, profile: str) -> list[str]:
        departures = compose(RECIPES[name], profile).departures
        assert {entry.setting for entry in departures if entry.kind == "method"} <= {"losses"}
        return [str(entry) for entry in departures if entry.kind == "method"]

    said = "loss weights multiplied for smaller feature maps"
    assert listed("retinanet-r50-fgd-retinanet-r101", "mini") == [said]
    assert listed("retinanet-r50-fgd-retinanet-r101", "paper") == []
    assert listed("retinanet-r50", "mini") == []
    assert listed("resnet18-mgd-resnet34", "mini") == []
