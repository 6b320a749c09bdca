"""Composing: as `hydra.compose` does to the last byte, in a fraction of its time, from several folders."""

from __future__ import annotations

import functools
import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from suite.catalogue import conf_folders
from suite.errors import SuiteError
from suite.paths import CONF
from suite.planning import hydra_config
from suite.planning.config_files import yaml_loader
from suite.planning.hydra_config import compose_config, plain_hydra
from suite.published.models import load_models
from suite.published.recipes import Recipe, group_choices, load_recipes, trained_alone

RECIPES = load_recipes()
PROFILES = group_choices("profile")


def choices(recipe: Recipe, profile: str) -> tuple[str, ...]:
    """What a recipe chooses."""
    chosen = [f"profile={profile}", f"task={recipe.task}", f"model@student={recipe.student}"]
    chosen += [f"model@teacher={recipe.teacher}"] if recipe.teacher else []
    chosen += [f"method={recipe.method}"] if recipe.method else []
    dataset = load_models()[recipe.student].dataset
    if dataset and profile == "paper":
        chosen.append(f"data={recipe.task}/paper-{dataset}")
    return (*chosen, *recipe.overrides_of_method())


def trainings(recipe: Recipe) -> Iterator[Recipe]:
    """A recipe, and its models alone."""
    yield recipe
    for model in (recipe.student, recipe.teacher):
        if model:
            yield trained_alone(recipe, model)


FGD = RECIPES["retinanet-r50-fgd-retinanet-r101-inherit"]
EVERY = {
    profile: sorted({choices(t, profile) for recipe in RECIPES.values() for t in trainings(recipe)})
    for profile in PROFILES
}
"""All compositions that the recipes need."""


def fast(lines: tuple[str, ...], *further: Path) -> str:
    """As composed from parts: what does not fit fails here instead of going to `hydra.compose`."""
    return hydra_config._composer((*conf_folders(), *further)).compose(lines)


def slow(lines: tuple[str, ...], *further: Path) -> str:
    return json.dumps(plain_hydra(lines, (*conf_folders(), *further)))


@pytest.mark.parametrize("profile", PROFILES)
def test_recipes_compose_exactly_as_by_hydra(profile):
    # By Hydra, all of them take a minute.
    sample = EVERY[profile][PROFILES.index(profile) :: 9]
    assert len(sample) > 10
    for lines in sample:
        assert fast(lines) == slow(lines), lines


@pytest.mark.parametrize("profile", PROFILES)
def test_every_recipe_merges_the_files_that_hydra_lists(profile):
    composer = hydra_config._composer(tuple(conf_folders()))
    for lines in EVERY[profile]:
        overrides = [composer.parsed(line) for line in lines]
        chosen = [override for override in overrides if "." not in override.key_or_group]
        assert composer._by_entry(chosen) == hydra_config._files_of(composer._files, chosen), lines


@pytest.mark.parametrize(
    "overrides",
    [
        ("student.embedded.epochs=7",),
        ("profile=paper", "resources.devices=2"),
        ("data=detection/smoke",),
        ("+data.train.indices=256", "+data.test_loader.dataset.indices=100"),
        ("method=none",),
        ("method=[fgd,nkd]",),
        ("method={name: other}",),
        ("~method.losses.fgd.scaled",),
        ("~method",),
        ("~model@teacher",),
        ("+model@third=retinanet-x101",),
        ("+new.deep.key=1",),
        ("+student.number={3: 4}",),
        ("student.name=null",),
        ("data.overrides=null",),
        ("method.title='a, b = {c}'",),
        # Interpolations: to another part, relative, into an override's own value, and followed by one.
        ("student.embedded.overrides.bbox_head.num_classes='${data.std}'",),
        ("student.name=${.kind}",),
        ("student.name='${teacher[kind]} of ${student.kind}'",),
        ("+student.borrowed=${data.test_loader}", "student.borrowed.batch_size=7"),
        ("data.overrides.val_dataloader.num_workers=3",),
        ("schedule.peak_rates.one-stage=0.1",),
    ],
    ids=" ".join,
)
def test_overrides_compose_exactly_as_by_hydra_and_leave_no_trace(overrides):
    before = choices(FGD, "mini")
    lines = (*before, *overrides)
    try:
        expected = slow(lines)
    except Exception:
        with pytest.raises(SuiteError, match="does not compose"):
            compose_config(before, overrides)
    else:
        assert fast(lines) == expected
    assert fast(before) == slow(before)


def test_a_value_at_the_top_of_the_config_is_left_to_hydra():
    with pytest.raises(hydra_config._DoesNotFitError):
        fast((*choices(FGD, "mini"), "+top=5"))
    assert compose_config(choices(FGD, "mini"), ("+top=5",))["top"] == 5


def test_keys_have_the_types_of_json():
    composed = compose_config(choices(RECIPES["pspnet-r18"], "paper"))
    pipeline = composed["student"]["published"]["config"]["train_dataloader"]["dataset"]["pipeline"]
    assert pipeline == {"3": {"crop_size": 512}}


def test_what_is_composed_belongs_to_the_caller():
    compose_config(choices(FGD, "mini"))["student"].clear()
    assert compose_config(choices(FGD, "mini"))["student"]["name"] == "retinanet-r50"


def test_a_paper_is_composed_in_the_time_of_a_few_compositions_by_hydra():
    lines = [lines for lines in EVERY["mini"] if "task=detection" in lines]
    assert len(lines) > 40

    def seconds(work: Callable[[], object]) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    def compose_all() -> None:
        hydra_config._composer.cache_clear()
        for each in lines:
            fast(each)

    # What the tests before have left in memory is none of its business.
    gc.collect()
    gc.disable()
    try:
        # The least of several: what else the machine does only ever adds.
        together = min(seconds(compose_all) for _ in range(3))
        by_hydra = min(seconds(functools.partial(slow, each)) for each in lines[::12])
    finally:
        gc.enable()
    assert together < 15 * by_hydra


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("epochs=3",), "Could not override 'epochs'; To append to your config use +epochs=3;"),
        (
            ("method=mdg",),
            "In 'config': Could not find 'method/mdg'; Available options in 'method': at",
        ),
        (("method=3",), "Config group override must be a string or a list. Got int;"),
        (("method=fgd,nkd",), "Ambiguous value for argument 'method=fgd,nkd';"),
        (("student.embedded.epochs=[1",), "no viable alternative at input '[1';"),
        (("student.name=${nowhere}",), "Interpolation key 'nowhere' not found; full_key: student.name;"),
        (("student.name=???",), "Missing mandatory value: name; full_key: student.name;"),
        (("data.mean=${data.mean}",), "Recursive interpolation detected"),
        (("~nothing",), "Could not delete from config. 'nothing' does not exist;"),
    ],
)
def test_an_override_that_does_not_compose_is_one_line_in_hydras_words(overrides, says):
    with pytest.raises(SuiteError) as caught:
        compose_config(choices(FGD, "mini"), overrides)
    message = str(caught.value)
    assert message.startswith(f"override {' '.join(overrides)!r} does not compose: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "override",
    [
        "method.title=${oc.env:HOME}",
        "method.title='at ${now:%H}'",
        "+student.list={a: [b, '${oc.env:HOME}']}",
        "data=${oc.env:HOME}",
        "method.title='${${data.name}:x}'",
        "method.title='${data.${oc.env:HOME}}'",
    ],
)
def test_an_override_that_calls_a_resolver_is_refused(override):
    with pytest.raises(SuiteError) as caught:
        compose_config(choices(FGD, "mini"), (override,))
    assert str(caught.value).startswith(f"override {override!r} calls a resolver")
    with pytest.raises(SuiteError, match=r"^the recipe's override .* calls a resolver"):
        compose_config((*choices(FGD, "mini"), override))


def test_what_only_looks_like_a_resolver_is_a_text():
    composed = compose_config(choices(FGD, "mini"), ("method.title='\\${oc.env:HOME} a:b'",))
    assert composed["method"]["title"] == "${oc.env:HOME} a:b"


@pytest.mark.parametrize("override", ["hydra.verbose=true", "+hydra=3", "hydra/job_logging=none"])
def test_settings_of_hydra_itself_are_refused(override):
    with pytest.raises(SuiteError, match="settings of Hydra itself change no training; leave it out"):
        compose_config(choices(FGD, "mini"), (override,))


# Folders of papers outside of the checkout


@pytest.fixture
def outside(tmp_path):
    """A folder of configs under a name that Hydra's grammar would take apart."""
    folder = tmp_path / "one, 'odd' = {name} of a paper" / "conf"
    (folder / "method").mkdir(parents=True)
    (folder / "model").mkdir()
    return folder


OWN = {
    "model/own-r50": """
        defaults:
          - family/retinanet@_here_
          - family/backbone-r50@_here_
          - _self_
        name: own-r50
        zoo: mmdet::own/own-r50.py
        embedded: {epochs: 1}
    """,
    "method/own": """
        defaults:
          - fgd
          - _self_
        name: own
        title: Own
        losses: {fgd: {arguments: {alpha: 1e-2}}}
    """,
}
OWN_CHOICES = ("profile=mini", "task=detection", "model@student=own-r50", "method=own")


def write(folder: Path, **configs: str) -> None:
    for name, text in configs.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_choices_from_another_folder_build_on_those_of_the_suite(outside):
    write(outside, **OWN)
    composed = compose_config(OWN_CHOICES, folders=(CONF, outside))
    assert composed["student"]["zoo"] == "mmdet::own/own-r50.py"
    assert composed["student"]["embedded"]["overrides"]["backbone"]["base_channels"] == 12
    assert composed["method"]["losses"]["fgd"]["arguments"]["alpha"] == 0.01
    assert fast(OWN_CHOICES, outside) == slow(OWN_CHOICES, outside)


def test_a_folder_is_seen_by_those_who_name_it_only(outside, tmp_path):
    write(outside, **OWN)
    other = tmp_path / "other"
    (other / "method").mkdir(parents=True)
    write(other, **{"method/own": "{name: own, title: Other}"})
    lines = ("profile=mini", "task=detection", "model@student=retinanet-r50", "method=own")
    assert compose_config(lines, folders=(CONF, outside))["method"]["title"] == "Own"
    assert compose_config(lines, folders=(CONF, other))["method"]["title"] == "Other"
    with pytest.raises(SuiteError, match="Could not find 'method/own'; Available options in 'method': at"):
        compose_config(lines)


def test_a_config_that_reaches_into_other_groups_composes_as_by_hydra(outside):
    write(
        outside, **{"method/wide": "# @package _global_\nmethod: {name: w}\nschedule: {of: '${data.name}'}"}
    )
    lines = (*choices(RECIPES["retinanet-r50"], "mini"), "method=wide")
    composed = compose_config(lines, folders=(CONF, outside))
    assert composed["schedule"]["of"] == "digit-scenes"
    assert json.dumps(composed) == slow(lines, outside)


def test_a_choice_that_makes_choices_itself_composes_as_by_hydra(outside):
    defaults = ("own", "/model@base: none", "override /model@_global_.teacher: own-r50")
    deep = "\n".join(["defaults:", *(f"  - {entry}" for entry in defaults), ""])
    write(outside, **OWN, **{"method/deep": deep})
    lines = ("profile=mini", "task=detection", "model@student=own-r50", "method=deep")
    assert compose_config(lines, folders=(CONF, outside))["teacher"]["name"] == "own-r50"
    for each in (lines, (*lines, "model@method.base=retinanet-r50")):
        assert fast(each, outside) == slow(each, outside)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\nlosses: {a: 1\nb: 2\n", ":3: did not find expected ',' or '}'; fix that line"),
        ("name: x\nname: y\n", ":2: found duplicate key name; fix that line"),
        ("name:\n\t- x\n", ":2: found character that cannot start any token; fix that line"),
        ("name: !own x\n", ":1: could not determine a constructor for the tag '!own'; fix that line"),
        ("- name\n", ": holds a list where keys and values are expected; fix that file"),
        ("name\n", ": holds a str where keys and values are expected; fix that file"),
        ("name: ${open\n", ": no viable alternative at input '${open'"),
        (
            "defaults: {a: b}\n",
            ": Invalid defaults list in 'method/own', defaults must be a list (got mapping)",
        ),
        ("# @package a b\nname: x\n", ": Too many components in '@package a b'; fix that file"),
    ],
)
def test_a_broken_file_is_named_with_its_line(outside, text, says):
    write(outside, **{"method/own": text})
    with pytest.raises(SuiteError) as caught:
        compose_config(OWN_CHOICES, folders=(CONF, outside))
    assert str(caught.value).startswith(f"{outside / 'method' / 'own.yaml'}{says}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_named(outside):
    (outside / "method" / "own.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(SuiteError, match=r"own\.yaml:1: not UTF-8 \(invalid continuation byte\); save it"):
        compose_config(OWN_CHOICES, folders=(CONF, outside))


def test_a_config_that_builds_on_a_missing_one_is_named(outside):
    write(outside, **{**OWN, "method/own": "defaults: [lost, _self_]\nname: own\n"})
    with pytest.raises(SuiteError) as caught:
        compose_config(OWN_CHOICES, folders=(CONF, outside))
    file = outside / "method" / "own.yaml"
    assert f"In 'method/own': Could not load 'method/lost' ({file}); " in str(caught.value)


def test_a_choice_may_be_in_one_folder_only(outside):
    write(outside, **{"method/nkd": "name: nkd\n"})
    lines = ("profile=mini", "task=classification", "model@student=resnet18", "method=nkd")
    with pytest.raises(SuiteError) as caught:
        compose_config(lines, folders=(CONF, outside))
    file = outside / "method" / "nkd.yaml"
    both = f"{file}: suite/conf/method/nkd.yaml has the same name; rename one of them"
    assert str(caught.value) == both
    assert compose_config(lines)["method"]["title"] == "NKD"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SuiteError, match="lost: there is no such folder of configs; name one that exists"):
        compose_config(choices(FGD, "mini"), folders=(CONF, tmp_path / "lost"))


def test_libyaml_reads_what_omegaconf_reads(tmp_path):
    assert yaml.__with_libyaml__
    traps = tmp_path / "traps.yaml"
    numbers = "[1e3, 1.0e-3, 5e-4, 012, 0o14, 0x1f, 1_000, 1:30, .5, .inf, 2020-01-01, '1']"
    words = "[yes, NO, on, 'on', ~, null, Null, '${a.b}']"
    traps.write_text(f"a: {numbers}\nb: {words}\n3: {{4: yes}}\nc: &c {{d: 1}}\ne: {{<<: *c, f: 2}}\n")
    for path in (traps, *sorted(CONF.rglob("*.yaml"))):
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml_loader())
        assert repr(content) == repr(OmegaConf.to_container(OmegaConf.load(path)))
