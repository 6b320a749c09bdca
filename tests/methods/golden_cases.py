"""What the losses compute for a golden file, under its own keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from suite.catalogue import import_path
from suite.paths import ROOT
from tasks.methods.crosskd import LAYERS, CrossKDLoss
from tasks.methods.cwd import ChannelWiseLogitLoss, CWDLoss
from tasks.methods.dkd import DKDLoss
from tasks.methods.fgd import FGDLoss
from tasks.methods.kd import KDLoss
from tasks.methods.ld import LDLoss
from tasks.methods.mgd import MGDLoss
from tasks.methods.nkd import NKDLoss
from tasks.methods.registry import find_loss
from tasks.methods.srrl import SRRLLoss
from tasks.methods.tf_nkd import TFNKDLoss
from tasks.methods.uskd import USKDLoss
from tasks.methods.wsld import WSLDLoss

Arrays = Mapping[str, NDArray[Any]]


class Inputs:
    """The arrays of a golden file as tensors of the type under test; expected values are never asked for."""

    def __init__(self, arrays: Arrays, dtype: torch.dtype) -> None:
        self.arrays = arrays
        self.dtype = dtype

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def tensor(self, key: str) -> Tensor:
        tensor = torch.from_numpy(np.array(self.arrays[key]))
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def leaf(self, key: str) -> Tensor:
        """An input whose gradient is asked for."""
        return self.tensor(key).requires_grad_()

    def number(self, key: str) -> Any:
        """A hyper-parameter as a plain number or word."""
        return self.arrays[key].item()

    def options(self, *keys: str) -> dict[str, Any]:
        return {key: self.number(key) for key in keys}

    def channels(self, student: str = "student", teacher: str = "teacher") -> tuple[int, int]:
        return self.arrays[student].shape[1], self.arrays[teacher].shape[1]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """State-dict key -> value."""
        prefix = "param/"
        return {key.removeprefix(prefix): self.tensor(key) for key in self.arrays if key.startswith(prefix)}

    @property
    def target(self) -> Tensor:
        return self.tensor("soft_label" if "soft_label" in self else "label")


@dataclass
class Case:
    """One computation.

    Attributes:
        module: the loss.
        leaves: inputs by name, whose gradients are returned as `grad_<name>`.
        compute: gives the outputs under the file's names, `loss` among them.
        loads: whether the recorded parameters are the loss's own, and not the teacher's.
        unrecorded: entries of the state dict that the file leaves out, for they are at their initial values.
    """

    module: nn.Module
    leaves: dict[str, Tensor]
    compute: Callable[[], dict[str, Tensor]]
    loads: bool = True
    unrecorded: tuple[str, ...] = ()


def compute(name: str, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The loss, terms, outputs and gradients of one golden file, under the file's own keys.

    Args:
        name: the file's name, with or without `.npz`; its beginning says which loss it is of.
        arrays: its arrays. Inputs, hyper-parameters and parameters are read, and never the expected values.
        dtype: type to compute in.

    Returns:
        `loss`, `term_*` and further outputs, `grad_<input>` and `grad/<state-dict key>`, all detached.

    Raises:
        KeyError: no loss has files of such a name.
    """
    inputs = Inputs(arrays, dtype)
    case = _builder(name)(inputs)
    case.module.to(dtype)
    keys = case.module.load_state_dict(inputs.parameters if case.loads else {}, strict=False)
    # Keys are those of released checkpoints: nothing else is missing, and nothing recorded is left over.
    assert set(keys.missing_keys) == set(case.unrecorded), keys
    assert not keys.unexpected_keys, keys
    found = case.compute()
    found["loss"].backward()
    gradients = {f"grad_{key}": leaf.grad for key, leaf in case.leaves.items()}
    gradients |= {f"grad/{key}": parameter.grad for key, parameter in case.module.named_parameters()}
    # Batch norm that the file says nothing of has its initial values, and no gradient on record.
    recorded = {key: of for key, of in gradients.items() if key.removeprefix("grad/") not in case.unrecorded}
    outputs = {key: value.detach() for key, value in found.items()}
    return outputs | {key: torch.zeros(()) if of is None else of for key, of in recorded.items()}


def _fgd(inputs: Inputs) -> Case:
    weights = inputs.options("alpha", "beta", "gamma", "lambda_")
    module = FGDLoss(*inputs.channels(), temperature=inputs.number("temperature"), **weights)
    student, teacher = inputs.leaf("student"), inputs.tensor("teacher")
    boxes = inputs.tensor("boxes").split(inputs.arrays["box_count"].tolist())
    height, width = inputs.arrays["img_shape"].tolist()

    def run() -> dict[str, Tensor]:
        shapes = [(height, width)] * len(boxes)
        terms = module.terms(student, teacher, boxes, shapes)
        loss = module(student, teacher, boxes, shapes)
        return {"loss": loss} | {f"term_{name}": term for name, term in terms.items()}

    return Case(module, {"student": student}, run)


def _mgd(inputs: Inputs) -> Case:
    module = MGDLoss(*inputs.channels(), **inputs.options("alpha", "mask_ratio", "masking"))
    return _simple(
        module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"), inputs.tensor("keep_mask")
    )


def _pkd(inputs: Inputs) -> Case:
    # The loss of a paper outside of baselines/, in a file of its folder.
    import_path(ROOT / "tests" / "papers" / "pkd" / "loss.py")
    options = [key for key in ("weight", "resize", "epsilon") if key in inputs]
    module = find_loss("PearsonLoss")(**inputs.options(*options))
    return _simple(module, {"student": inputs.leaf("student")}, inputs.tensor("teacher"))


def _with_teacher_logits(
    loss: type[nn.Module], *hyper_parameters: str, target: bool = True
) -> Callable[[Inputs], Case]:
    def build(inputs: Inputs) -> Case:
        leaves = {"student_logits": inputs.leaf("student_logits")}
        rest = (inputs.tensor("teacher_logits"), *([inputs.target] if target else []))
        return _simple(loss(**inputs.options(*hyper_parameters)), leaves, *rest)

    return build


def _tf_nkd(inputs: Inputs) -> Case:
    return _simple(TFNKDLoss(), {"student_logits": inputs.leaf("student_logits")}, inputs.target)


def _uskd(inputs: Inputs) -> Case:
    leaves = {key: inputs.leaf(key) for key in ("student_logits", "mid_feature")}
    classes, channels = inputs.arrays["param/fc.weight"].shape
    return _simple(
        USKDLoss(channels, classes, **inputs.options("alpha", "beta", "mu")), leaves, inputs.target
    )


def _srrl(inputs: Inputs) -> Case:
    module = SRRLLoss(*inputs.channels(), **inputs.options("alpha", "beta"))
    case = _simple(
        module,
        {"student": inputs.leaf("student")},
        inputs.tensor("teacher"),
        inputs.tensor("teacher_fc_weight"),
    )
    case.unrecorded = _batch_norm("Connectors.1")
    return case


def _cwd_features(inputs: Inputs, **variant: Any) -> Case:
    leaves = {"student": inputs.leaf("student")}
    weight, temperature = inputs.number("weight"), inputs.number("temperature")
    module = CWDLoss(*inputs.channels(), weight, temperature, **variant)
    return _simple(module, leaves, inputs.tensor("teacher"))


def _cwd_feature_det(inputs: Inputs) -> Case:
    """The mm release, which leaves out the teacher's entropy; mmrazor has it, and no `align`."""
    case = _cwd_features(inputs, divisor="student", divergence="cross_entropy")
    student, teacher = inputs.channels()
    if student != teacher:
        return case
    with_entropy = _cwd_features(inputs, divisor="student")
    return _beside(case, "loss_kl", with_entropy)


def _cwd_feature_seg(inputs: Inputs) -> Case:
    case = _cwd_features(inputs, adaptation="linear")
    case.unrecorded = tuple(f"linear.1.{name}" for name in _STATISTICS)
    return case


def _cwd_logit_seg_mm(inputs: Inputs) -> Case:
    """As `_cwd_feature_det`, on logits."""
    own = Inputs(
        {**inputs.arrays}
        | {"student": inputs.arrays["student_logits"], "teacher": inputs.arrays["teacher_logits"]},
        inputs.dtype,
    )
    case = _cwd_feature_det(own)
    case.leaves = {"student_logits": case.leaves["student"]}
    return case


def _ld(inputs: Inputs) -> Case:
    temperature, weight = inputs.number("temperature"), inputs.number("weight")
    student = inputs.leaf("student_logits")
    rest = (inputs.tensor("teacher_logits"), inputs.tensor("row_weight"), inputs.number("avg_factor"))
    module = LDLoss()

    def run() -> dict[str, Tensor]:
        return {"loss": weight * module.divergence(student, *rest, temperature)}

    return Case(module, {"student_logits": student}, run)


def _crosskd_quality_focal(inputs: Inputs) -> Case:
    module = CrossKDLoss(class_weight=inputs.number("weight"), beta=inputs.number("beta"))
    student = inputs.leaf("student_logits")

    def run() -> dict[str, Tensor]:
        rows = module.quality_focal(student, inputs.tensor("teacher_logits"), inputs.tensor("row_weight"))
        nothing = rows.new_zeros(())
        return {"loss": module.combine(rows, nothing, inputs.number("avg_factor"), 1.0)[0]}

    return Case(module, {"student_logits": student}, run)


def _crosskd_level(inputs: Inputs, boxes: str) -> Case:
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

    return Case(module, student, run, loads=False)


def _teacher_head(inputs: Inputs, boxes: str) -> Any:
    """What of the teacher's head the files record: the last stacked convolution and the last layers."""
    prefix = "teacher.bbox_head."
    state = {key.removeprefix(prefix): value for key, value in inputs.parameters.items()}

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


def _simple(module: nn.Module, leaves: dict[str, Tensor], *rest: Any) -> Case:
    """A loss that takes the inputs with gradients first, and then the rest."""
    return Case(module, leaves, lambda: {"loss": module(*leaves.values(), *rest)})


def _beside(case: Case, name: str, other: Case) -> Case:
    """A case with the loss of another beside its own."""
    run = case.compute
    return Case(case.module, case.leaves, lambda: run() | {name: other.compute()["loss"]})


_STATISTICS = ("running_mean", "running_var")


def _batch_norm(path: str) -> tuple[str, ...]:
    return tuple(f"{path}.{name}" for name in ("weight", "bias", *_STATISTICS))


BUILDERS: dict[str, Callable[[Inputs], Case]] = {
    "crosskd_gfl_level": lambda inputs: _crosskd_level(inputs, "distribution"),
    "crosskd_quality_focal": _crosskd_quality_focal,
    "crosskd_retina_level": lambda inputs: _crosskd_level(inputs, "deltas"),
    "cwd_feature_det": _cwd_feature_det,
    "cwd_feature_seg": _cwd_feature_seg,
    "cwd_logit_seg": _with_teacher_logits(ChannelWiseLogitLoss, "weight", "temperature", target=False),
    "cwd_logit_seg_mm": _cwd_logit_seg_mm,
    "dkd": _with_teacher_logits(DKDLoss, "temperature", "alpha", "beta"),
    "fgd": _fgd,
    "kd": _with_teacher_logits(KDLoss, "temperature", "alpha", target=False),
    "ld": _ld,
    "mgd": _mgd,
    "mgd_seg_logit_term": _with_teacher_logits(ChannelWiseLogitLoss, "weight", "temperature", target=False),
    "nkd": _with_teacher_logits(NKDLoss, "temperature", "gamma"),
    "pkd": _pkd,
    "srrl": _srrl,
    "tf_nkd": _tf_nkd,
    "uskd": _uskd,
    "wsld": _with_teacher_logits(WSLDLoss, "temperature", "alpha"),
}
"""Beginning of a file's name -> how its loss is built; the longest that fits counts."""


def _builder(name: str) -> Callable[[Inputs], Case]:
    stem = name.rpartition("/")[2].removesuffix(".npz")
    fitting = [known for known in BUILDERS if stem == known or stem.startswith(f"{known}_")]
    if not fitting:
        raise KeyError(f"no loss for golden file {name!r}; say in BUILDERS how to build it")
    return BUILDERS[max(fitting, key=len)]
