"""Overrides of the wrong type, size or kind: refused in one line before anything is planned, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.planning.composing import compose
from suite.planning.hydra_config import compose_config
from suite.published.finding import find_claim, load_papers
from suite.published.recipes import load_recipes
from tests.cli.refusals import outcome_of, refusal_of

CLAIM = "mgd-resnet18"


@pytest.fixture(autouse=True)
def _nothing_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SUITE_WORK", str(tmp_path / "work"))


def refused(*overrides: str, profile: str = "mini", claim: str = CLAIM) -> str:
    return refusal_of(["plan", "--claim", claim, "--profile", profile, *overrides])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("resources.precision=3", "resources.precision cannot be 3: "),
        ("resources=null", "resources cannot be None"),
        ("resources.devices=1000000", "less than or equal to 4096"),
        ("task=null", "a claim's task is fixed"),
        ("~task", "a claim's task is fixed"),
        ("student.taps=x", "student.taps cannot be 'x': input should be a valid dictionary"),
        ("student.taps.logits=x", "student.taps.logits cannot be 'x'"),
        ("student.taps.logits.module=3", "student.taps.logits.module"),
        ("student=3", "student cannot be 3"),
        ("student.name=resnet50", "student.name is 'resnet50' in the file of 'resnet18'"),
        ("student.kind=null", "student.kind cannot be None"),
        ("student.published=null", "student.published is missing"),
        ("~student.published", "student.published is missing"),
        ("student.published.overrides=[1]", "it is of another type than what it replaces"),
        ("++student.published.config={train_cfg: 3}", "train_cfg is 3"),
        ("++student.published.config={train_cfg: {max_epochs: x}}", "train_cfg.max_epochs is 'x'"),
        (
            "++student.published.config={train_dataloader: {batch_size: 0}}",
            "train_dataloader.batch_size is 0",
        ),
        ("++student.published.devices=x", "student.published.devices cannot be 'x'"),
        ("teacher=null", "cannot be None"),
        ("data=null", "Config group override must be a string or a list. Got NoneType"),
        ("student.embedded.overrides=null", "student.embedded.overrides cannot be None"),
        ("data.images=3", "data.images cannot be 3"),
        ("data.images.train=many", "data.images.train cannot be 'many'"),
        ("data.name=../../escaped", "data.name cannot be '../../escaped'"),
        ("data.fingerprint=[a]", "data.fingerprint cannot be ['a']"),
        ("schedule=null", "Config group override must be a string or a list. Got NoneType"),
        ("~schedule", "schedule is missing"),
        ("schedule.overrides=null", "schedule.overrides cannot be None"),
        ("++schedule.overrides.train_cfg=[1]", "train_cfg is [1]"),
        ("method=null", "method"),
        ("method.losses=[1]", "it is of another type than what it replaces"),
        ("method.losses.mgd=null", "method.losses.mgd cannot be None"),
        ("method.losses.mgd.type=3", "method.losses.mgd.type cannot be 3"),
        ("method.losses.mgd.inputs=x", "method.losses.mgd.inputs cannot be 'x'"),
        ("method.losses.mgd.arguments=[1]", "it is of another type than what it replaces"),
        ("method.losses.mgd.arguments.alpha=x", "alpha cannot be 'x': the method has a number there"),
        (f"method.losses.mgd.arguments.alpha=1{'0' * 400}", "alpha is larger than"),
        ("method.task_loss_weight=nan", "method.task_loss_weight cannot be nan"),
        ("+method.extra=1", "method.extra"),
        ("method.title=3", "method.title cannot be 3"),
        ("profile=paper", "what a profile promises cannot be overridden"),
        ("profile.departures=[]", "what a profile promises cannot be overridden"),
        ("profile.comparable=true", "what a profile promises cannot be overridden"),
        ("student.name=${b}", "Interpolation key 'b' not found"),
        ("method.title=${oc.env:HOME}", "calls a resolver"),
        ("method.title=${now:%H}", "calls a resolver"),
        ("method.title='unbalanced", "does not compose"),
        ("student.embedded={a: [1", "does not compose"),
        ("method.title=\x1b[2J", "characters that cannot be printed"),
        ("method.title=\u202egnp.exe", "characters that cannot be printed"),
        (f"+student.deep={'[' * 50}{']' * 50}", "nests values in more than 40 levels"),
        (f"+student.deep={'{a: ' * 500}1{'}' * 500}", "nests values in more than 40 levels"),
        (f"method.title={'x' * 20_000}", "more than 10,000 characters"),
    ],
)
def test_a_wrong_value_is_refused_by_name(override: str, says: str):
    assert says in refused(override, profile="paper")


@pytest.mark.parametrize("profile", ["mini", "paper"])
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.prepare=os:system", "data.prepare cannot be 'os:system'"),
        ("data.prepare=subprocess:run", "data.prepare cannot be"),
        ("data.prepare=../evil.py:run", "data.prepare cannot be"),
        ("data.prepare=evil/evil.py:run", "no paper folder has evil/evil.py"),
        ("student.zoo=os::system.py", "student.zoo cannot be"),
        ("student.zoo='mmpretrain::../../../tmp/evil.py'", "student.zoo cannot be"),
        ("student.zoo=mmpretrain::/tmp/evil.py", "student.zoo cannot be"),
        ("++student.{scale}.overrides.backbone.type=os.system", "backbone.type is 'os.system'"),
        (
            "++student.{scale}.overrides.type=subprocess",
            "type is 'subprocess', which is not a name in a registry",
        ),
        ("++student.{scale}.overrides.backbone._target_=os.system", "backbone._target_ would run Python"),
        (
            "++student.{scale}.config.custom_imports={{imports: [antigravity]}}",
            "custom_imports would run Python",
        ),
        ("++student.{scale}.config.custom_hooks=[{{type: os.system}}]", "custom_hooks.0.type is 'os.system'"),
        ("++schedule.overrides.optim_wrapper.constructor=a.b.C", "optim_wrapper.constructor is 'a.b.C'"),
        ("++schedule.overrides.x=/tmp/evil.py", "x names a Python file, '/tmp/evil.py'"),
        ("++student.{scale}.overrides.teacher_config=x", "teacher_config would run Python"),
    ],
)
def test_no_override_names_python_to_run(profile: str, override: str, says: str):
    scale = "published" if profile == "paper" else "embedded"
    assert says in refused(override.format(scale=scale), profile=profile)


def test_what_an_override_does_elsewhere_is_told_of_the_override_and_not_of_a_file():
    message = refused("student.embedded.epochs=x")
    assert message.startswith(
        "override 'student.embedded.epochs=x': schedule.overrides: train_cfg.max_epochs is "
    )


def test_names_in_a_registry_pass():
    recipe = load_recipes()[str(find_claim(CLAIM)[1].recipe)]
    for name in ("Adan", "mmengine.Adan"):
        override = f"++schedule.overrides.optim_wrapper.optimizer.type={name}"
        assert compose(recipe, "mini", (override,)).schedule["optim_wrapper"]["optimizer"]["type"] == name


# Every leaf and every group of every recipe, with every wrong value: a bounded sample, the same each time

WORDS = """
    null x 3 -1 1.5 1e999 nan -inf true [] {} [1]
    [null] [[[1]]] '' ??? a=b [1 {a 'x ] {}[] ü ../../x
    ${b} ${student} ${data.name} os.system a,b range(3) glob(*) int(3) choice(1,2) 2020-01-01
"""
VALUES = (
    *WORDS.split(),
    *("{a: 1}", "{a: {b: [c]}}", "{1: 2}", "{null: 1}", "'a b'", "{type: os.system}", "{_target_: x}", ""),
    *("9" * 50, "9" * 5000, "[" * 60 + "]" * 60, "x" * 3000, "\u202ex", "\x1b[2J", "\ud800"),
)
JUDGED = [claim.id for paper in load_papers().values() for claim in paper.claims if claim.judged]


def places(value: Any, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Every place of a composed config, groups and leaves."""
    if above:
        yield ".".join(above)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*above, key))


@st.composite
def wrong(draw: st.DrawFn) -> list[str]:
    """A plan of one claim with one override."""
    claim = draw(st.sampled_from(JUDGED))
    profile = draw(st.sampled_from(["mini", "smoke", "paper"]))
    recipe = load_recipes()[str(find_claim(claim)[1].recipe)]
    chosen = [f"profile={profile}", f"task={recipe.task}", f"model@student={recipe.student}"]
    chosen += [f"model@teacher={recipe.teacher}"] if recipe.teacher else []
    chosen += [f"method={recipe.method}"] if recipe.method else []
    at = list(places(compose_config(tuple(chosen))))
    key = draw(st.sampled_from([*at, "model@student", "model@teacher", "data@student", "hydra.x", "nothing"]))
    prefix = draw(st.sampled_from(["", "", "", "+", "++", "~"]))
    value = draw(st.sampled_from(VALUES))
    ending = draw(st.sampled_from(["", f"={value}"])) if prefix == "~" else f"={value}"
    return ["plan", "--claim", claim, "--profile", profile, "--format", "json", f"{prefix}{key}{ending}"]


@settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wrong())
def test_whatever_is_overridden_is_planned_or_refused_in_one_line(words: list[str]):
    assert outcome_of(words).status in {0, 2}
