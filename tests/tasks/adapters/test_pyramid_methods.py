"""Methods that compare whole pyramids, in the networks that their files are made for."""

from __future__ import annotations

import pytest
import torch

from suite.contract import load
from suite.published.recipes import Recipe

PAIRS = {
    "one-stage": ("retinanet-r50", "retinanet-r101"),
    "two-stage": ("faster-rcnn-r50", "faster-rcnn-r101"),
}
MADE_FOR = {"defeat": "two-stage", "fgfi-one-stage": "one-stage", "fkd-two-stage": "two-stage"}
STRIDES = {"one-stage": [8, 16, 32, 64, 128], "two-stage": [4, 8, 16, 32, 64]}


@pytest.fixture
def build(make_job, trained_weights):
    """Builds the adapter of a method between two detectors, and takes its first batch."""

    def build(method, kind):
        student, teacher = PAIRS[kind]
        recipe = Recipe(task="detection", student=student, method=method, teacher=teacher)
        adapter = load("tasks.adapters.detection:DetectionAdapter")(
            make_job(recipe, teacher_weights=trained_weights(teacher))
        )
        adapter.build()
        distiller = adapter.runner.model
        return adapter, distiller.data_preprocessor(next(iter(adapter.runner.train_loop.dataloader)), True)

    return build


@pytest.mark.parametrize("method", MADE_FOR)
def test_all_outputs_of_the_neck_are_compared_with_the_strides_of_the_network(build, method):
    adapter, batch = build(method, MADE_FOR[method])
    distiller, height = adapter.runner.model, batch["inputs"].shape[2]
    name = method.partition("-")[0]
    (loss,) = distiller.losses.values()
    features = distiller.caught(batch["inputs"])
    strides = STRIDES[MADE_FOR[method]]
    assert [height // level.shape[2] for level in features["student.output:neck"]] == strides
    assert list(getattr(loss, "strides", strides)) == strides
    losses = distiller(**batch, mode="loss")
    assert torch.isfinite(losses[f"loss_{name}"])
    assert losses[f"loss_{name}"] > 0
    if method == "defeat":
        extractor = distiller.student.roi_head.bbox_roi_extractor
        assert loss.finest_scale == extractor.finest_scale == 14


def test_a_method_file_for_another_kind_of_network_is_refused_by_its_strides(build):
    adapter, batch = build("fgfi", "one-stage")
    with pytest.raises(ValueError, match=r"stride 4 do not fit images of up to 128 x 128"):
        adapter.runner.model(**batch, mode="loss")
