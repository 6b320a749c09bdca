"""Objects made of events are those that PyYAML makes of nodes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from suite.paths import BASELINES, CONF
from suite.yaml_objects import Number, Words, objects

FILES = sorted([*BASELINES.rglob("*.yaml"), *CONF.rglob("*.yaml")])

TEXTS = [
    "",
    "a: {<<: {b: 1}, b: 2, c: 3}",
    "<<: [{a: 1, b: 1}, {a: 2, c: 2}]\nd: 3",
    "base: &base {a: 1}\nother:\n  <<: *base\n  b: 2\nlast: *base",
    "- &one [1, 2]\n- *one",
    "- '<<': 1",
    "!!str 5",
    "! 5",
    "- !!float 3\n- !!int '4'",
    "{a, b: 1}",
    "? a\n: 1",
    "- 5e-4\n- .inf\n- 1:30.5\n- 2024-01-01\n- 0o14\n- 014\n- yes\n- ~",
    "a: |\n  two\n  lines\nb: >\n  one\n  line\n",
    "%YAML 1.1\n---\na: 1\n...\n",
]

REFUSED = {
    "a: &x 1\nb: &x 2": 1,
    "a: *q": 0,
    "- 1\n---\n- 2": 1,
    "{[1]: 2}": 0,
    "a: &l [1]\n? *l\n: 2": 1,
    "<<: 3": 0,
    "<<: [3]": 0,
    "- 1\n- <<": 1,
    "a: 1\n!foo b: 2": 1,
    "a: !foo {b: 1}": 0,
    "a: =": 0,
    "a: 1\n!!int x: 2": 1,
    "a: 1\nb: 2\na: 3": 2,
    "a: !!map {b: 1}\nb: [": 2,
}
"""A text that nothing can be made of -> the line of the fault, from 0."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name + "/" + file.name)
def test_every_file_of_the_suite_is_read_as_pyyaml_reads_it(file):
    text = file.read_text(encoding="utf-8")
    assert repr(objects(text)) == repr(yaml.load(text, Loader=Words))


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_seldom_written_is_read_as_pyyaml_reads_it(text):
    assert repr(objects(text)) == repr(yaml.load(text, Loader=Words))


WORDS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_whatever_is_written_is_read_as_pyyaml_reads_it(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow)
    assert repr(objects(text)) == repr(yaml.load(text, Loader=Words))


@pytest.mark.parametrize("text", REFUSED)
def test_what_nothing_can_be_made_of_has_its_line(text):
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        objects(text)
    assert caught.value.problem_mark is not None
    assert caught.value.problem_mark.line == REFUSED[text]


def test_what_is_named_twice_is_one_object_and_a_number_knows_how_it_was_written():
    read: Any = objects("- &one [69.90]\n- *one")
    assert read[0] is read[1]
    assert isinstance(read[0][0], Number)
    assert read[0][0].text == "69.90"
