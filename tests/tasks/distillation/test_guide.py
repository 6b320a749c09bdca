"""docs/adding-a-method.md shows what is there."""

import re

import pytest
import yaml

from suite.paths import ROOT
from suite.planning.composing import compose
from suite.published.recipes import Recipe

GUIDE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")


def block(language: str, after: str) -> str:
    """The first block of a language behind a line."""
    found = re.search(rf"{re.escape(after)}\n\n```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found, after
    return found[1]


@pytest.mark.parametrize(
    ("language", "path"), [("python", "tasks/methods/sp.py"), ("yaml", "suite/conf/method/sp.yaml")]
)
def test_the_example_is_the_file_that_it_shows(language, path):
    assert block(language, f"`{path}`:") == (ROOT / path).read_text(encoding="utf-8")


def test_the_recipe_of_the_example_composes_with_its_loss():
    text = block("yaml", "A short training needs a recipe, in the `recipes.yaml` of a paper's folder:")
    (recipe,) = yaml.safe_load(text).values()
    composed = compose(Recipe(**recipe), "mini")
    assert composed.method is not None
    assert [loss.type for loss in composed.method.losses.values()] == ["SPLoss"]


def test_the_guide_names_files_that_exist():
    named = re.findall(r"`((?:tests|suite|tasks)/[\w/.-]+)`", GUIDE)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_guide_lists_every_key_of_a_loss_and_every_pooling():
    from tasks.distillation.distiller import LOSS_KEYS
    from tasks.distillation.taps import POOLINGS

    assert [key for key in (*LOSS_KEYS, *POOLINGS) if f"`{key}`" not in GUIDE and key != "none"] == []
