"""Files that people edit by hand: numbers keep their digits, every fault is one line with file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, RootModel, field_validator

from suite.errors import SuiteError
from suite.strict_yaml import line_of, parse, read_yaml, refuse, shown
from suite.yaml_objects import Number


class Loss(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    weight: float
    kind: Literal["feature", "logit"] = "feature"

    @field_validator("weight")
    @classmethod
    def _positive(cls, weight: float) -> float:
        if weight <= 0:
            raise ValueError(f"{weight} is not positive; raise it")
        return weight


class Method(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    losses: list[Loss] = []
    scores: dict[Literal["top1", "top5"], float] = {}


@pytest.fixture
def write(tmp_path: Path):
    def write_file(text: str) -> Path:
        path = tmp_path / "method.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refusal(path: Path, model: type[BaseModel] = Method) -> str:
    with pytest.raises(SuiteError) as caught:
        parse(model, path)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_a_number_keeps_the_digits_it_was_written_with(write):
    number = read_yaml(write("top1: 69.90"))["top1"]
    assert isinstance(number, Number)
    assert (number, number.text) == (69.9, "69.90")


@pytest.mark.parametrize(
    ("text", "value"), [("5e-4", 5e-4), ("1.6e-3", 1.6e-3), ("2E3", 2000.0), ("-.5e1", -5.0), ("0.5", 0.5)]
)
def test_exponents_without_a_point_are_numbers_as_papers_write_them(write, text, value):
    assert read_yaml(write(f"alpha: {text}"))["alpha"] == value


@pytest.mark.parametrize(("text", "value"), [("2x", "2x"), ("e5", "e5"), ("3", 3), ("true", True)])
def test_words_integers_and_booleans_stay_what_they_are(write, text, value):
    assert read_yaml(write(f"schedule: {text}"))["schedule"] == value


def test_numbers_pass_as_floats_through_a_strict_model(write):
    assert parse(Method, write("name: fgd\nlosses: [{weight: 5e-4}]")).losses[0].weight == 5e-4


def test_anchors_serve_the_same_text_twice(write):
    assert read_yaml(write("first: &schedule {epochs: 24}\nsecond: *schedule")) == {
        "first": {"epochs": 24},
        "second": {"epochs": 24},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: fgd\nlosses:\n  - weight: 1.0\n    wieght: 2.0\n",
            r":4: unknown key 'wieght'; did you mean 'weight'\?",
        ),
        ("nmae: fgd\nname: fgd\n", r":1: unknown key 'nmae'; did you mean 'name'\?"),
        ("name: fgd\nlosses:\n  - kind: logit\n", r":3: key 'weight' is missing; add it"),
        (
            "name: fgd\nlosses:\n  - weight: 1.0\n    kind: logits\n",
            r":4: unknown kind 'logits'; did you mean 'logit'",
        ),
        ("name: fgd\nscores:\n  top1: 1.0\n  top2: 2.0\n", r":4: unknown name 'top2'; did you mean"),
        (
            "name: fgd\nlosses:\n  - {weight: 1.0}\n  - {weight: -1.0}\n",
            r":4: weight: -1.0 is not positive; raise it",
        ),
        ("losses: []\nname: 5\n", r":2: name: input should be a valid string; fix that entry"),
        ("name: fgd\nlosses: 3\n", r":2: losses: input should be a valid list; fix that entry"),
        ("name: fgd\nnome: 1\nlisses: 2\n", r":2: unknown key 'nome'.* \(and 1 more\)"),
        ("name: fgd\nlosses: []\nname: mgd\n", r":3: key 'name' appears here twice; fix that line"),
        ("name: fgd\nlosses: [\n", r":3: .*; fix that line"),
        ("- name: fgd\n", r":1: file: .*; fix that entry"),
        ("", r":1: file: .*; fix that entry"),
        (
            "name: fgd\nlosses:\n  - weight: 2020-13-45\n",
            r":3: weight: input should be a valid number; fix that entry",
        ),
    ],
)
def test_a_fault_is_told_with_its_line_and_what_to_do(write, text, message):
    assert re.fullmatch(message + ".*", refusal(write(text)))


def test_keys_of_a_mapping_of_entries_are_known_too(write):
    path = write("distil:\n  name: fgd\n  lossess: []\n")
    assert refusal(path, RootModel[dict[str, Method]]).startswith(
        ":3: unknown key 'lossess'; did you mean 'losses'?"
    )


def test_a_missing_file_and_one_of_another_encoding_are_refused(tmp_path):
    assert refusal(tmp_path / "none.yaml") == ": there is no such file; restore it from the repository"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Müller".encode("latin-1"))
    assert refusal(latin).startswith(":1: not UTF-8")


def test_a_caller_refuses_a_value_at_its_line(write):
    path = write("name: fgd\nlosses:\n  - weight: 1.0\n  - weight: 2.0\n")
    with pytest.raises(SuiteError, match=re.escape(f"{path}:4: too heavy; lower it")):
        refuse(path, ("losses", 1, "weight"), "too heavy; lower it")


@pytest.mark.parametrize(
    ("location", "line"),
    [((), 1), (("losses",), 2), (("losses", 1), 4), (("losses", 1, "kind"), 4), (("x", 1), 1)],
)
def test_the_line_of_a_location_is_that_of_its_deepest_existing_part(write, location, line):
    assert line_of(write("name: fgd\nlosses:\n  - weight: 1.0\n  - weight: 2.0\n"), location) == line


def test_paths_inside_the_project_are_shown_from_its_root():
    from suite.paths import BASELINES

    assert shown(BASELINES / "models.yaml") == "baselines/models.yaml"
