"""What holds of every identity, whatever the recipe: order and spelling do not count, values do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from suite.contract import ComposedData, ComposedModel, ComposedRecipe
from suite.planning.identity import identify
from suite.settings import PACKAGES

NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-999, 999) | st.floats(-9, 9) | NAMES
SETTINGS = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_size=5,
)


def id_of(settings: dict[str, Any], seed: int = 0) -> str:
    """The id of a run whose network has these settings."""
    recipe = ComposedRecipe(
        task="classification",
        adapter="tasks.module:Adapter",
        profile="mini",
        scale="embedded",
        comparable=False,
        student=ComposedModel(name="net", kind="convnet", zoo="mmpretrain::net.py", overrides=settings),
        data=ComposedData(name="data", prepare="tasks.module:prepare", fingerprint="0" * 64),
    )
    return identify(
        recipe, seed=seed, adapter_version=1, loss_versions={}, releases={"torch": "2.10.0"}
    ).run_id


def backwards(value: Any) -> Any:
    """The same mapping with its keys in the opposite order, all the way down."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


def as_floats(value: Any) -> Any:
    """The same settings with whole numbers written with a point."""
    if isinstance(value, dict):
        return {key: as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return float(value) if type(value) is int else value


@given(SETTINGS)
def test_the_order_of_keys_and_the_spelling_of_a_whole_number_do_not_count(settings: dict[str, Any]):
    assert id_of(backwards(settings)) == id_of(settings)
    assert id_of(as_floats(settings)) == id_of(settings)


@given(SETTINGS, NAMES, LEAVES)
def test_a_setting_more_or_another_value_counts(settings: dict[str, Any], name: str, value: Any):
    changed = {**settings, name: value}
    assert (id_of(changed) == id_of(settings)) == (name in settings and alike(settings[name], value))


def alike(one: Any, other: Any) -> bool:
    """Whether two values are one number or one word; true is no number."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


@given(SETTINGS, st.sampled_from(PACKAGES), NAMES.map(str.upper))
def test_the_registry_that_a_class_is_in_does_not_count(settings: dict[str, Any], package: str, kind: str):
    assert id_of({**settings, "type": f"{package}.{kind}"}) == id_of({**settings, "type": kind})


@given(SETTINGS, st.integers(0, 99), st.integers(0, 99))
def test_each_seed_is_a_run_of_its_own(settings: dict[str, Any], one: int, other: int):
    assert (id_of(settings, one) == id_of(settings, other)) == (one == other)
