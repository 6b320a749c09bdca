"""On a GPU: every student under every method and teacher trains in each precision, and scores."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from suite.contract import Job, load
from suite.published.recipes import load_recipes

pytestmark = pytest.mark.gpu

PAIRS = {
    (recipe.student, recipe.method, recipe.teacher): name
    for name, recipe in sorted(load_recipes().items(), reverse=True)
    if recipe.teacher
}
"""One recipe for every student, method and teacher; its variants differ in numbers."""

PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float16": {"type": "AmpOptimWrapper", "dtype": "float16"},
    "bfloat16": {"type": "AmpOptimWrapper", "dtype": "bfloat16"},
}
"""Options of the optimizer's wrapper."""

DRAWN = {"mgd", "vitkd"}
"""Losses that draw a mask: on a GPU another one than on a CPU."""

every_pair = pytest.mark.parametrize("name", sorted(PAIRS.values()))


def build(job: Job, device: str, precision: str = "float32") -> Any:
    """The adapter of a job on a device, built."""
    schedule = dict(job.recipe.schedule)
    schedule["optim_wrapper"] = schedule["optim_wrapper"] | PRECISIONS[precision]
    recipe = job.recipe.model_copy(update={"schedule": schedule})
    adapter = load(recipe.adapter)(dataclasses.replace(job, recipe=recipe, device=device))
    adapter.build()
    return adapter


@pytest.mark.parametrize("precision", PRECISIONS)
@every_pair
def test_a_distilled_student_trains_and_scores(name, precision, distilled_job):
    adapter = build(distilled_job(name), "cuda", precision)
    before = {key: value.clone() for key, value in adapter.student.state_dict().items()}
    teacher = {key: value.clone() for key, value in adapter.runner.model.teacher.state_dict().items()}
    adapter.fit()
    after = adapter.student.state_dict()
    assert {value.device.type for value in after.values()} == {"cuda"}
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(value, before[key].to(value)) for key, value in after.items())
    for key, value in adapter.runner.model.teacher.state_dict().items():
        assert torch.equal(value, teacher[key].to(value)), key
    metrics = adapter.evaluate()
    assert metrics
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())


@every_pair
def test_the_losses_of_the_method_are_those_of_a_cpu(name, distilled_job, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    adapter = build(distilled_job(name), "cuda")
    # Batch norm and dropout in eval mode, so that two passes see the same network.
    distiller = adapter.runner.model.eval()
    loaded = next(iter(adapter.runner.train_loop.dataloader))
    found = {}
    for device in ("cuda", "cpu"):
        distiller.to(device)
        batch = distiller.data_preprocessor(copy.deepcopy(loaded), True)
        assert batch["inputs"].device.type == device
        with torch.no_grad():
            features = distiller.caught(batch["inputs"])
            found[device] = {
                term: value.cpu()
                for term, value in distiller.compare(features, batch["data_samples"]).items()
                if term.removeprefix("loss_") not in DRAWN
            }
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-3, atol=1e-5)
