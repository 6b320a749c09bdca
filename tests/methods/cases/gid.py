"""GID; with the head of a detector it is tested in test_head_losses.py."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.methods.gid import GIDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile

TERMS = {"feature": "feature", "relation": "relation", "class": "response_cls", "box": "response_reg"}
"""Name of a term -> what the files call it."""

NAMES = {
    "feature_weight": "weight_feature",
    "relation_weight": "weight_relation",
    "class_weight": "weight_response_cls",
    "box_weight": "weight_response_reg",
    "relation_beta": "relation_beta",
    "box_beta": "response_reg_beta",
    "candidates": "pre_nms_topk",
    "instances": "post_nms_topk",
    "overlap": "nms_threshold",
    "smallest_side": "min_box_side",
    "resolution": "roi_resolution",
}
"""Argument of the loss -> what the files call it, where they have it."""


def _module(inputs: GoldenFile) -> GIDLoss:
    return GIDLoss(**{name: inputs.number(key) for name, key in NAMES.items() if key in inputs})


def _outputs(module: GIDLoss, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"loss": module.combine(terms)} | {f"term_{TERMS[name]}": of for name, of in terms.items()}


def _predictions(inputs: GoldenFile) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    leaves = {key: inputs.leaf(key) for key in ("student_logits", "student_deltas")}
    return leaves, (inputs.tensor("teacher_logits"), inputs.tensor("teacher_deltas"))


def _gid_modules(inputs: GoldenFile) -> Golden:
    """The parts behind the selection."""
    module = _module(inputs)
    leaves, taught = _predictions(inputs)
    rois = inputs.leaf("student_roi")

    def run() -> dict[str, Tensor]:
        predictions = leaves["student_logits"], leaves["student_deltas"]
        found = module.terms(
            rois, inputs.tensor("teacher_roi"), predictions, taught, inputs.tensor("response_mask")
        )
        return _outputs(module, found)

    return Golden(module, {"student_roi": rois, **leaves}, run)


def _gid_retina(inputs: GoldenFile) -> Golden:
    """From predictions and pyramids on: selection, pooling, assignment and the parts."""
    module = _module(inputs)
    leaves, taught = _predictions(inputs)
    levels = [f"p{level}" for level in range(3, 8) if f"student/p{level}" in inputs]
    pyramid = {f"student/{level}": inputs.leaf(f"student/{level}") for level in levels}
    taught_pyramid = [inputs.tensor(f"teacher/{level}") for level in levels]
    height, width = inputs.arrays["image_size"].tolist()
    strides, anchors = inputs.arrays["strides"].tolist(), inputs.tensor("anchors")

    def run() -> dict[str, Tensor]:
        predictions = leaves["student_logits"], leaves["student_deltas"]
        boxes = inputs.tensor("student_proposals"), inputs.tensor("teacher_proposals")
        shapes = [(height, width)] * len(boxes[0])
        found = module.select(predictions[0], taught[0], *boxes, shapes)
        rois = [image.boxes for image in found]
        assigned = torch.stack([module.assigned(of, anchors) for of in rois])
        terms = module.terms(
            module.pooled(list(pyramid.values()), rois, strides),
            module.pooled(taught_pyramid, rois, strides),
            predictions,
            taught,
            assigned,
        )
        return _outputs(module, terms) | {
            "gi_boxes": torch.cat(rois),
            "gi_score": torch.cat([image.scores for image in found]),
            "gi_count": torch.tensor([len(of) for of in rois]),
            "response_mask": assigned,
        }

    return Golden(module, {**pyramid, **leaves}, run)


GOLDEN: dict[str, Builder] = {
    "gid_modules": _gid_modules,
    "gid_retina": _gid_retina,
}
