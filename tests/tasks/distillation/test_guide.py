"""The example of docs/adding-a-method.md works as it is written."""

import dataclasses
import re

import pytest
import torch
import yaml

from suite.catalogue import import_path
from suite.contract import ComposedMethod, load
from suite.paths import CONF, ROOT
from suite.published.recipes import Recipe
from tasks.methods import registry
from tasks.methods.registry import registered_losses

# The example is a method that there is by now; its loss is tried under a free name.
GUIDE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8").replace("SPLoss", "ExampleLoss")


def block(language: str, after: str) -> str:
    """The first block of a language behind a line."""
    found = re.search(rf"{re.escape(after)}\n\n```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found, after
    return found[1]


@pytest.fixture
def example(tmp_path):
    """Name of the example's loss, which is registered for as long as the test runs."""
    registered_losses()
    before = dict(registry._registered)
    path = tmp_path / "sp.py"
    path.write_text(block("python", "`tasks/methods/sp.py`:"))
    import_path(path)
    yield next(name for name in registered_losses() if name not in before)
    registry._registered.clear()
    registry._registered.update(before)


def test_the_example_trains_a_student(example, make_job, trained_weights):
    method = ComposedMethod(**yaml.safe_load(block("yaml", "`suite/conf/method/sp.yaml`:")))
    assert [loss.type for loss in method.losses.values()] == [example]
    recipe = yaml.safe_load(
        block("yaml", "A short training needs a recipe, in the `recipes.yaml` of a paper's folder:")
    )
    named = recipe["resnet18-sp-resnet34"]
    assert named.pop("method") == method.name
    job = make_job(
        Recipe(**named, method="kd"),
        teacher_weights=trained_weights(named["teacher"]),
    )
    job = dataclasses.replace(job, recipe=job.recipe.model_copy(update={"method": method}))
    adapter = load(job.recipe.adapter)(job)
    adapter.build()
    distiller = adapter.runner.model.train()
    batch = distiller.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)
    assert distiller(**batch, mode="loss")["loss_sp"] > 0
    adapter.fit()
    assert adapter.runner.iter == 2


def test_the_example_is_its_formula(example):
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 2, 2, 2).double(), torch.randn(3, 4).double()
    loss = registered_losses()[example].loss(weight=2.0)
    expected = 0.0
    products = [feature.flatten(1) @ feature.flatten(1).T for feature in (student, teacher)]
    own, other = (of / of.square().sum(dim=1, keepdim=True).sqrt() for of in products)
    for image in range(3):
        for another in range(3):
            expected += 2.0 * float(own[image, another] - other[image, another]) ** 2 / 9
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)
    assert loss(student[:1], teacher[:1]) == 0


def test_the_guide_names_files_and_keys_that_exist():
    for path in re.findall(r"`((?:tests|suite|tasks)/[\w/.-]+)`", GUIDE):
        assert (ROOT / path).exists() or path in ("tasks/methods/sp.py", "suite/conf/method/sp.yaml"), path
    assert (CONF / "method").is_dir()


def test_the_guide_lists_every_key_of_a_loss_and_every_pooling():
    from tasks.distillation.distiller import LOSS_KEYS
    from tasks.distillation.taps import POOLINGS

    assert [key for key in (*LOSS_KEYS, *POOLINGS) if f"`{key}`" not in GUIDE and key != "none"] == []
