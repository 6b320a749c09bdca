"""The audit holds what was built against what was published; planted faults are found."""

from dataclasses import replace
from typing import Any

import pytest

from suite.audit.compare import audit_plan, mismatches
from suite.cli import main
from suite.contract import ComposedRecipe
from suite.errors import SuiteError
from suite.planning.composing import compose
from suite.planning.plan import make_plan
from suite.published.finding import find_claim, select
from suite.published.protocols import (
    flatten,
    learning_rates,
    load_protocols,
    published_training,
    read_protocols,
)
from suite.published.recipes import load_recipes
from tests.audit.auditing import compared


@pytest.mark.train
def test_a_faithful_run_matches_in_every_setting_that_was_stated(log):
    found = compared(log)
    assert len(found) > 30
    assert {comparison.verdict for comparison in found} == {"match"}


def optimizer(**changes):
    def change(recipe):
        recipe["schedule"].setdefault("optim_wrapper", {}).setdefault("optimizer", {}).update(changes)

    return change


def drop_the_clip(recipe):
    del recipe["method"]["config"]


def name_the_steps_as_an_older_framework_did(recipe):
    recipe["schedule"] |= {"lr_config": {"policy": "step", "step": [16, 22]}, "param_scheduler": []}


def take_another_teacher(recipe):
    other = compose(load_recipes()["retinanet-r50-fgd-retinanet-x101"], "paper")
    recipe["teacher"] = other.model_dump()["teacher"]


def halve_the_batch(recipe):
    recipe["schedule"]["train_dataloader"] = {"batch_size": 1}


def train_a_frozen_stage(recipe):
    recipe["student"]["overrides"] = {"backbone": {"frozen_stages": 0}}


def swap_the_mean(recipe):
    recipe["student"]["overrides"] = {"data_preprocessor": {"mean": [103.53, 116.28, 123.675]}}


def weigh_ten_times(recipe):
    recipe["method"]["losses"]["fgd"]["arguments"]["alpha"] *= 10


def tap_the_wrong_level(recipe):
    modules = recipe["student"]["taps"]["neck"]["module"]
    recipe["student"]["taps"]["neck"]["module"] = ["neck.lateral_convs.0.conv", *modules[1:]]


def keep_more_boxes(recipe):
    recipe["student"]["overrides"] = {"test_cfg": {"max_per_img": 300}}


def start_from_nothing(recipe):
    recipe["student"]["overrides"] = {"backbone": {"init_cfg": None}}


FAULTS = {
    "learning rate twice": (optimizer(lr=0.02), "learning_rate"),
    "no gradient clip": (drop_the_clip, "gradient_clip.max_norm"),
    "a schedule that nobody reads": (name_the_steps_as_an_older_framework_did, "learning_rates"),
    "another teacher": (take_another_teacher, "teacher.name"),
    "half the global batch": (halve_the_batch, "global_batch"),
    "a frozen stage trained": (train_a_frozen_stage, "frozen"),
    "a normalisation of another channel order": (swap_the_mean, "normalisation.mean"),
    "alpha ten times": (weigh_ten_times, "losses.fgd.alpha"),
    "a tap on another level": (tap_the_wrong_level, "taps.student.neck"),
    "more boxes scored": (keep_more_boxes, "evaluation.bbox_head.max_per_img"),
    "no backbone to start from": (start_from_nothing, "initialised_from.backbone"),
}


@pytest.mark.train
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_the_name_of_its_setting(fault, log):
    change, setting = FAULTS[fault]
    assert setting in {comparison.setting for comparison in mismatches(compared(log, change))}


CIFAR = "nkd-resnet18-cifar-uskd"


@pytest.mark.train
def test_a_faithful_run_on_cifar_100_matches_in_every_setting_that_was_stated(log):
    found = {comparison.setting: comparison for comparison in compared(log, claim=CIFAR)}
    assert {comparison.verdict for comparison in found.values()} == {"match"}
    stated = {"learning_rates", "weight_decay", "global_batch", "normalisation.mean", "losses.uskd.mu"}
    assert stated <= found.keys()


def keep_the_keys_of_the_older_framework(recipe):
    """As the released config has it: nobody reads what it says, and what it builds on for CIFAR-10 counts."""
    recipe["schedule"] |= {
        "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005},
        "lr_config": {"policy": "step", "step": [60, 120, 160], "gamma": 0.2},
        "optim_wrapper": {"optimizer": {"weight_decay": 0.0001}},
        "param_scheduler": {"milestones": [100, 150], "gamma": 0.1},
    }


def swap_red_and_blue(recipe):
    recipe["schedule"]["data_preprocessor"] = {"to_rgb": True}


def set_alpha_as_on_imagenet(recipe):
    recipe["method"]["losses"]["uskd"]["arguments"]["alpha"] = 1.0


def train_on_one_device(recipe):
    recipe["devices"] = 1


FAULTS_ON_CIFAR = {
    "a schedule in the keys of the older framework": (
        keep_the_keys_of_the_older_framework,
        {"learning_rates", "weight_decay"},
    ),
    "one device as the user of issue 19 had": (train_on_one_device, {"devices", "global_batch"}),
    "colours in another order than the files have": (swap_red_and_blue, {"normalisation.channels"}),
    "a weight of ImageNet": (set_alpha_as_on_imagenet, {"losses.uskd.alpha"}),
}


@pytest.mark.train
@pytest.mark.parametrize("fault", FAULTS_ON_CIFAR)
def test_a_fault_planted_on_cifar_100_is_found_and_nothing_else(fault, log):
    change, settings = FAULTS_ON_CIFAR[fault]
    assert {comparison.setting for comparison in mismatches(compared(log, change, CIFAR))} == settings


def halve_the_devices(recipe):
    recipe["devices"] = 4
    recipe["schedule"]["optim_wrapper"] = {"accumulative_counts": 2}


def declared(setting: str, ours: object, kind: str = "resources") -> dict[str, Any]:
    return {"kind": kind, "setting": setting, "ours": ours, "declared_by": f"{kind}.{setting}={ours}"}


@pytest.mark.train
def test_half_the_devices_with_twice_the_accumulation_is_a_departure_once_resources_declare_it(log):
    undeclared = compared(log, halve_the_devices)
    assert [comparison.setting for comparison in mismatches(undeclared)] == ["devices"]

    def declare(recipe):
        halve_the_devices(recipe)
        recipe["departures"] = [declared("devices", 4)]

    found = {comparison.setting: comparison for comparison in compared(log, declare)}
    assert mismatches(found.values()) == []
    assert found["devices"].verdict == "departure"
    assert found["devices"].source.endswith("; declared by resources.devices=4")
    assert found["global_batch"].verdict == "match"


@pytest.mark.train
@pytest.mark.parametrize(
    "departure",
    [
        pytest.param(declared("devices", 2), id="other resources than those declared"),
        pytest.param(declared("batch_size", 4), id="another setting of the resources"),
        pytest.param(declared("losses.fgd.alpha", 4, "override"), id="an override of the method"),
        pytest.param(declared("dev", 4), id="a setting whose name only begins alike"),
    ],
)
def test_a_departure_excuses_the_setting_that_it_names_with_the_value_it_declares_and_no_other(
    log, departure
):
    def declare(recipe):
        halve_the_devices(recipe)
        recipe["departures"] = [departure]

    assert [comparison.setting for comparison in mismatches(compared(log, declare))] == ["devices"]


@pytest.mark.train
def test_a_teacher_that_a_release_has_in_training_mode_is_a_listed_departure_of_that_method_alone(log):
    found = {one.setting: one for one in compared(log, claim="nkd-mobilenet-v1-ofd")}
    mode = found["teacher.mode"]
    assert (mode.published, mode.effective, mode.verdict) == ("training", "evaluation", "departure")
    assert "issue 37" in mode.source
    assert mismatches(found.values()) == []
    assert {name for name, one in found.items() if one.verdict == "departure"} == {"teacher.mode"}
    (entry,) = [
        entry
        for entry in load_protocols().departures
        if "teacher.mode" in entry.settings and entry.concerns("mobilenet-v1", "ofd-bottleneck")
    ]
    assert not entry.concerns("mobilenet-v1", "nkd")
    assert not entry.concerns("mobilenet-v1", None)


@pytest.mark.train
def test_a_listed_departure_excuses_what_it_says_is_done_and_nothing_else(log):
    claim = "nkd-mobilenet-v1-dkd"
    faithful = {one.setting: one.verdict for one in compared(log, claim=claim)}
    assert {faithful["global_batch"], faithful["learning_rate"]} == {"departure"}
    assert "mismatch" not in faithful.values()
    halved = mismatches(compared(log, halve_the_batch, claim))
    assert {one.setting for one in halved} == {"batch_size", "global_batch"}


@pytest.mark.train
def test_a_schedule_is_excused_where_it_is_the_one_that_the_departure_states(log):
    claim = "nkd-resnet18-cifar-tfkd-reg"
    assert mismatches(compared(log, claim=claim)) == []

    def decay_earlier(recipe):
        recipe["schedule"]["param_scheduler"] = {"milestones": [50, 120, 160]}

    assert [one.setting for one in mismatches(compared(log, decay_earlier, claim))] == ["learning_rates"]


@pytest.mark.train
@pytest.mark.parametrize(
    ("claim", "arguments", "settings"),
    [
        pytest.param(
            "nkd-mobilenet-v1-dkd", {"beta": 0.5}, {"losses.dkd.beta"}, id="the beta of another repository"
        ),
        pytest.param(
            "nkd-mobilenet-v1-reviewkd",
            {"weight": 1.0, "mid_channels": 512},
            {"losses.reviewkd.weight", "losses.reviewkd.mid_channels"},
            id="the weight and width of another pair",
        ),
        pytest.param(
            "nkd-resnet18-crd",
            {"replacement": False},
            {"losses.crd.replacement"},
            id="draws of CIFAR-100",
        ),
        pytest.param(
            "nkd-resnet18-dist",
            {"temperature": 4.0},
            {"losses.dist.temperature"},
            id="the temperature of CIFAR-100",
        ),
    ],
)
def test_settings_of_a_rival_that_are_those_of_another_run_are_found(log, claim, arguments, settings):
    def change(recipe):
        (loss,) = recipe["method"]["losses"].values()
        loss["arguments"] |= arguments

    assert {one.setting for one in mismatches(compared(log, change, claim))} == settings


@pytest.mark.train
def test_an_optimiser_without_the_nesterov_momentum_of_a_release_is_found(log):
    def keep_the_optimiser_of_the_student(recipe):
        del recipe["method"]["config"]

    found = compared(log, keep_the_optimiser_of_the_student, "nkd-resnet18-dist")
    assert {one.setting for one in mismatches(found)} == {"nesterov"}


@pytest.mark.train
def test_an_override_is_a_departure_of_its_own_setting_and_hides_no_fault_elsewhere(log):
    override = "method.losses.fgd.arguments.alpha=0.5"
    found = {comparison.setting: comparison for comparison in compared(log, overrides=(override,))}
    assert mismatches(found.values()) == []
    assert {name for name, one in found.items() if one.verdict == "departure"} == {"losses.fgd.alpha"}
    assert found["losses.fgd.alpha"].source.endswith(f"; declared by {override}")
    faulty = compared(log, optimizer(lr=0.02), overrides=(override,))
    assert [comparison.setting for comparison in mismatches(faulty)] == ["learning_rate"]


@pytest.mark.train
def test_an_ablation_is_held_against_what_it_varies(log):
    found = {item.setting: item for item in compared(log, claim="fgd-retinanet-r50-r101-foreground")}
    assert found["losses.fgd.regions"].published == found["losses.fgd.regions"].effective == "foreground"
    assert mismatches(found.values()) == []


@pytest.mark.train
def test_what_cannot_be_built_is_told_and_the_others_are_audited(monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    plan = make_plan([find_claim("mgd-resnet18")[1]], "paper", 1)
    run = next(run for run in plan.runs.values() if run.arm == "distilled")
    plain = run.recipe.model_dump()
    plain["student"]["taps"]["feature"]["module"] = "backbone.layer9"
    plan.runs[run.run_id] = replace(run, recipe=ComposedRecipe.model_validate(plain))
    outcome = {one.run.arm: one for one in audit_plan(plan, {"mgd-resnet18"}, jobs=1)}
    assert "layer9" in str(outcome["distilled"].error)
    assert outcome["student"].error is None
    # The released teacher is not trained, and has no protocol to audit.
    assert "teacher" not in outcome
    assert outcome["student"].comparisons
    assert outcome["student"].mismatches == []


@pytest.mark.train
def test_the_verb_counts_what_matches_and_prints_every_setting_on_request(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    words = ["audit", "--claim", "nkd-resnet18-nkd", "--jobs", "1"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "losses.nkd.gamma" not in text
    assert "2 trainings: every setting stated by a source is as published" in text
    assert "0 do not match" in text
    assert main([*words, "--all"]) == 0
    text = capsys.readouterr().out
    assert "losses.nkd.gamma" in text
    assert "0 do not match" in text


@pytest.mark.train
def test_a_listed_departure_gives_status_0_and_names_both_values(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    override = "method.losses.nkd.arguments.gamma=15.0"
    assert main(["audit", "--claim", "nkd-resnet18-nkd", "--jobs", "1", override]) == 0
    text = capsys.readouterr().out
    assert "departure: resnet18 NKD from resnet34, seed 0: losses.nkd.gamma is 15, published 1.5" in text
    assert "1 depart as listed, 0 do not match" in text


@pytest.mark.train
def test_a_mismatch_gives_status_1_and_names_both_values(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    # It names a key of the zoo's config, and no setting of the protocol.
    override = "+schedule.overrides.train_dataloader.batch_size=16"
    assert main(["audit", "--claim", "nkd-resnet18-student", "--jobs", "1", override]) == 1
    text = capsys.readouterr().out
    assert "mismatch: resnet18, seed 0: global_batch is 128, published 256" in text


def test_no_process_to_build_in_is_refused(capsys):
    assert main(["audit", "--claim", "mgd-resnet18", "--jobs", "-1"]) == 2
    assert "must be a whole number from 1 to 1024" in capsys.readouterr().err


def test_embedded_profiles_are_refused(capsys):
    assert main(["audit", "--claim", "mgd-resnet18", "--profile", "mini"]) == 2
    assert "embedded data" in capsys.readouterr().err


@pytest.mark.train
@pytest.mark.slow
def test_no_row_of_a_paper_has_an_unexplained_mismatch(monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_WORK", str(tmp_path))
    # What papers have in common is built once for all of them.
    judged = [(paper.id, claim) for paper, claim in select() if claim.judged]
    assert {paper for paper, _ in judged} >= {"fgd", "mgd", "nkd"}
    claims = [claim for _, claim in judged]
    plan = make_plan(claims, "paper", 1)
    outcome = list(audit_plan(plan, {claim.id for claim in claims}))
    assert {one.run.run_id for one in outcome} == {run.run_id for run in plan.runs.values() if run.trains}
    assert [(one.run.label, one.error) for one in outcome if one.error] == []
    assert [(one.run.label, comparison) for one in outcome for comparison in one.mismatches] == []
    assert min(len(one.comparisons) for one in outcome) >= 10


def weigh_as_two_stage_detectors(recipe):
    recipe["method"]["losses"]["fkd"]["arguments"] |= {"alpha": 7e-5, "temperature": 0.5}


def compare_five_levels(recipe):
    for side in ("student", "teacher"):
        modules = recipe[side]["taps"]["neck"]["module"]
        recipe[side]["taps"]["neck"]["module"] = [*modules, "neck.fpn_convs.4.conv"]


def train_the_critic_as_the_student(recipe):
    del recipe["method"]["config"]["optim_wrapper"]["paramwise_cfg"]


FAULTS_OF_RIVALS = {
    "constants of the other kind of detectors": (
        "fgd-retinanet-r50-x101-fkd",
        weigh_as_two_stage_detectors,
        {"losses.fkd.alpha", "losses.fkd.temperature"},
    ),
    "a level that the release leaves out": (
        "mgd-retinanet-r50-cwd",
        compare_five_levels,
        {"taps.student.neck", "taps.teacher.neck", "losses.cwd.levels"},
    ),
    "a critic that learns too fast": (
        "mgd-pspnet-r18-skds",
        train_the_critic_as_the_student,
        {"exceptions"},
    ),
}


@pytest.mark.train
@pytest.mark.parametrize("fault", FAULTS_OF_RIVALS)
def test_a_rival_is_held_against_its_own_release(fault, log):
    claim, change, settings = FAULTS_OF_RIVALS[fault]
    assert {comparison.setting for comparison in mismatches(compared(log, change, claim))} == settings


# What was published


def test_every_loss_of_a_rival_of_the_detectors_and_segmenters_has_published_settings():
    protocols, recipes = load_protocols(), load_recipes()
    for _, claim in select(role="rival"):
        if claim.recipe and claim.task != "classification" and claim.method != "FGD":
            recipe = recipes[claim.recipe]
            stated = published_training(protocols, claim.recipe, recipe)
            method = compose(recipe, "paper").method
            assert method is not None
            losses = method.losses
            assert {name.split(".")[1] for name in stated if name.startswith("losses.")} == set(losses), (
                claim.id
            )


def test_every_model_that_is_trained_has_a_published_protocol():
    trained = {recipe.student for recipe in load_recipes().values()}
    assert set(load_protocols().models) == trained


def test_every_setting_of_a_recipe_that_is_published_by_a_claim_has_a_name_of_ours():
    known = load_protocols().names
    told_in_words = {"weight", "extra_hyperparameters", "channel", "feature", "use_logit", "switched_on"}
    missing = {
        (claim.id, name)
        for paper, claim in select()
        if claim.recipe and claim.method
        for name in paper.settings(claim)
        if not any(name in names for names in known.values()) and name not in told_in_words
    }
    assert missing == set()


def test_a_group_that_is_not_there_is_refused_with_file_and_line(tmp_path):
    path = tmp_path / "protocol.yaml"
    path.write_text("groups:\n  one: {source: here, settings: {}}\nmodels:\n  net: [two]\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"protocol\.yaml:4: no group 'two'"):
        read_protocols(tmp_path)


def test_a_departure_that_says_what_is_done_of_a_setting_that_it_does_not_name_is_refused(tmp_path):
    path = tmp_path / "protocol.yaml"
    path.write_text(
        "departures:\n  - {models: [net], settings: [epochs], ours: {batch: 1}, why: so}\n", encoding="utf-8"
    )
    says = r"protocol\.yaml:2: .*'batch' is not among the settings of this departure; add it to them"
    with pytest.raises(SuiteError, match=says):
        read_protocols(tmp_path)


def test_departures_name_students_and_methods_that_there_are():
    methods = {recipe.method for recipe in load_recipes().values()}
    for entry in load_protocols().departures:
        assert set(entry.models) <= {recipe.student for recipe in load_recipes().values()}
        assert set(entry.methods) - {"ofd"} <= methods


def test_settings_are_flattened_and_what_is_compared_as_one_stays_whole():
    nested = {"a": {"b": {"c": 1}, "d": []}, "learning_rates": {"steps": [1]}, "none": {}}
    assert flatten(nested) == {"a.b.c": 1, "a.d": [], "learning_rates": {"steps": [1]}, "none": {}}


def test_learning_rates_of_the_published_shapes():
    steps = learning_rates({"warmup": {"start": 0.001, "iterations": 500}, "steps": [2, 3], "factor": 0.1}, 4)
    assert steps == pytest.approx([0.001, 1, 0.1, 0.01])
    cosine = learning_rates({"warmup": {"start": 0.0, "epochs": 2}, "cosine": {"to": 0.5}}, 4)
    assert cosine == pytest.approx([0, 0.5, 1, 0.75])
    assert learning_rates({"poly": {"power": 1, "to": 0}}, 4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert learning_rates({"every_epoch": 0.5}, 3) == pytest.approx([1, 0.5, 0.25])
