"""CrossKD."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from tasks.methods.crosskd import LAYERS, CrossKDLoss
from tests.methods.golden_file import Builder, Golden, GoldenFile


def _crosskd_quality_focal(inputs: GoldenFile) -> Golden:
    module = CrossKDLoss(class_weight=inputs.number("weight"), beta=inputs.number("beta"))
    student = inputs.leaf("student_logits")

    def run() -> dict[str, Tensor]:
        rows = module.quality_focal(student, inputs.tensor("teacher_logits"), inputs.tensor("row_weight"))
        nothing = rows.new_zeros(())
        return {"loss": module.combine(rows, nothing, inputs.number("avg_factor"), 1.0)[0]}

    return Golden(module, {"student_logits": student}, run)


def _crosskd_level(inputs: GoldenFile, boxes: str) -> Golden:
    module = CrossKDLoss(
        boxes=boxes,  # type: ignore[arg-type]
        class_weight=inputs.number("weight_cls"),
        box_weight=inputs.number("weight_reg"),
        beta=inputs.number("beta"),
    )
    student = {key: inputs.leaf(key) for key in ("student_cls_feat", "student_reg_feat")}
    teacher = inputs.tensor("teacher_cls_feat"), inputs.tensor("teacher_reg_feat")
    head = _teacher_head(inputs, boxes)
    taught, taught_boxes = inputs.tensor("teacher_cls_score"), inputs.tensor("teacher_bbox_pred")
    weights, classes = inputs.tensor("label_weights").reshape(-1), inputs.number("num_classes")

    def run() -> dict[str, Tensor]:
        own = student["student_cls_feat"], student["student_reg_feat"]
        scores, found = module.reused(0, own, teacher, head)
        certainty = module.certainty(taught, weights, classes)
        class_sum = module.class_part(scores, taught, weights, classes)
        if boxes == "deltas":
            anchors = inputs.tensor("anchors").reshape(-1, 4)
            box_sum = module.delta_part(found, taught_boxes, anchors, certainty)
        else:
            box_sum = module.distribution_part(found, taught_boxes, certainty)
        loss, class_term, box_term = module.combine(
            class_sum, box_sum, inputs.number("avg_factor"), certainty.sum()
        )
        outputs = {"loss": loss, "term_cls": class_term, "term_reg": box_term}
        outputs |= {"reused_cls_score": scores, "reused_bbox_pred": found}
        return outputs | ({"kd_avg_factor": certainty.sum()} if boxes == "distribution" else {})

    return Golden(module, student, run, loads=False)


def _teacher_head(inputs: GoldenFile, boxes: str) -> Any:
    """What of the teacher's head the files record: the last stacked convolution and the last layers."""
    prefix = "teacher.bbox_head."
    state = {key.removeprefix(prefix): value for key, value in inputs.below("param/").items()}

    def convolution(name: str) -> nn.Conv2d:
        weight = state[f"{name}.weight"]
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
        layer.to(inputs.dtype).load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})
        return layer.requires_grad_(False)

    stacks = {
        branch: [nn.Sequential(convolution(f"{branch}.3.conv"), nn.ReLU(inplace=True))]
        for branch in ("cls_convs", "reg_convs")
    }
    head: dict[str, Any] = {**stacks, **{name: convolution(name) for name in LAYERS[boxes]}}
    if boxes == "distribution":
        scale = inputs.tensor("teacher_scale")
        head["scales"] = [lambda maps: maps * scale]
    return SimpleNamespace(**head)


GOLDEN: dict[str, Builder] = {
    "crosskd_gfl_level": lambda inputs: _crosskd_level(inputs, "distribution"),
    "crosskd_quality_focal": _crosskd_quality_focal,
    "crosskd_retina_level": lambda inputs: _crosskd_level(inputs, "deltas"),
}
