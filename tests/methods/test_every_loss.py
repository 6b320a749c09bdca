"""What all losses have in common: precision, devices, the teacher's side and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import tasks.methods
from tasks.methods import FGDLoss, MGDLoss, NKDLoss, TFNKDLoss
from tasks.methods.crosskd import CrossKDLoss
from tasks.methods.cwd import ChannelWiseLogitLoss, CWDLoss
from tasks.methods.dkd import DKDLoss
from tasks.methods.fgd_ablation import FGDAblationLoss
from tasks.methods.kd import KDLoss
from tasks.methods.ld import LDLoss
from tasks.methods.registry import registered_losses
from tasks.methods.srrl import SRRLLoss
from tasks.methods.uskd import USKDLoss
from tasks.methods.vitkd import ViTKDLoss
from tasks.methods.wsld import WSLDLoss
from tests.fake_gpu import FakeGPU

CLASSES = 6
HEAD_LOSSES = (CrossKDLoss, LDLoss)
"""They take a detector's head, and are tested with it in test_head_losses.py."""


@dataclass
class Inputs:
    """Arguments of a loss, sorted by whom they come from; a value is a tensor or a list of tensors."""

    student: dict[str, Any]
    teacher: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        return {**self.student, **self.teacher, **self.rest}

    def moved(self, dtype: torch.dtype | None = None, device: str | None = None) -> Inputs:
        """The same inputs elsewhere: student and teacher as fresh leaves, also of another type."""
        student, teacher = (
            {key: _moved(value, dtype, device, leaf=True) for key, value in part.items()}
            for part in (self.student, self.teacher)
        )
        return Inputs(
            student, teacher, {key: _moved(value, None, device) for key, value in self.rest.items()}
        )


def _moved(value: Any, dtype: torch.dtype | None, device: str | None, leaf: bool = False) -> Any:
    if isinstance(value, list):
        return [_moved(item, dtype, device, leaf) for item in value]
    if isinstance(value, Tensor):
        return value.detach().to(device=device, dtype=dtype, copy=True).requires_grad_(leaf)
    return value


def tensors(part: dict[str, Any]) -> Iterator[Tensor]:
    for value in part.values():
        yield from value if isinstance(value, list) else [value]


def feature_maps(images: int, student_channels: int = 4, teacher_channels: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(images, student_channels, 5, 7), torch.randn(images, teacher_channels, 5, 7)


def logits(images: int) -> Tensor:
    return 2 * torch.randn(images, CLASSES)


def target(images: int) -> Tensor:
    return torch.randint(CLASSES, (images,))


def fgd_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    boxes = [torch.tensor([[3.0, 4.0, 20.0, 30.0], [10.0, 2.0, 50.0, 12.0]])] + [torch.zeros(0, 4)] * (
        images - 1
    )
    return Inputs(
        {"student": student}, {"teacher": teacher}, {"boxes": boxes, "image_shapes": [(40, 56)] * images}
    )


def mgd_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    return Inputs(
        {"student": student}, {"teacher": teacher}, {"keep_mask": torch.rand(images, 1, 5, 7) > 0.5}
    )


def cwd_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    return Inputs({"student": student}, {"teacher": teacher})


def srrl_inputs(images: int) -> Inputs:
    student, teacher = feature_maps(images)
    return Inputs({"student": student}, {"teacher": teacher, "classifier_weight": torch.randn(CLASSES, 6)})


def vitkd_inputs(images: int) -> Inputs:
    keep = torch.rand(images, 9) > 0.5
    return Inputs(
        {"student": [torch.randn(images, 9, 4) for _ in range(3)]},
        {"teacher": [torch.randn(images, 9, 6) for _ in range(3)]},
        {"keep_mask": keep},
    )


def logit_inputs(images: int) -> Inputs:
    pair = {"student_logits": logits(images)}, {"teacher_logits": logits(images)}
    return Inputs(*pair, {"target": target(images)})


def kd_inputs(images: int) -> Inputs:
    return Inputs({"student_logits": logits(images)}, {"teacher_logits": logits(images)})


def segmentation_inputs(images: int) -> Inputs:
    return Inputs(
        {"student_logits": torch.randn(images, 3, 5, 7)}, {"teacher_logits": torch.randn(images, 3, 5, 7)}
    )


def tf_nkd_inputs(images: int) -> Inputs:
    return Inputs({"student_logits": logits(images)}, rest={"target": target(images)})


def uskd_inputs(images: int) -> Inputs:
    student = {"student_logits": logits(images), "mid_feature": torch.randn(images, 4)}
    return Inputs(student, rest={"target": target(images)})


@dataclass(frozen=True)
class Case:
    """How to build a loss and its inputs, and the argument that a wrong shape is tried on."""

    module: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]
    compared: tuple[str, str]
    odd: tuple[int, ...]


CASES: dict[type[nn.Module], Case] = {
    ChannelWiseLogitLoss: Case(
        ChannelWiseLogitLoss, segmentation_inputs, ("student_logits", "teacher_logits"), (2, 3, 5, 8)
    ),
    CWDLoss: Case(
        lambda: CWDLoss(4, 6, adaptation="linear"), cwd_inputs, ("student", "teacher"), (2, 6, 5, 8)
    ),
    DKDLoss: Case(DKDLoss, logit_inputs, ("student_logits", "teacher_logits"), (2, 7)),
    FGDAblationLoss: Case(
        lambda: FGDAblationLoss(4, 6, regions="whole", attention="spatial", relation="nonlocal"),
        fgd_inputs,
        ("student", "teacher"),
        (2, 6, 5, 8),
    ),
    FGDLoss: Case(lambda: FGDLoss(4, 6), fgd_inputs, ("student", "teacher"), (2, 6, 5, 8)),
    KDLoss: Case(KDLoss, kd_inputs, ("student_logits", "teacher_logits"), (2, 7)),
    MGDLoss: Case(lambda: MGDLoss(4, 6), mgd_inputs, ("student", "teacher"), (2, 5, 5, 7)),
    NKDLoss: Case(NKDLoss, logit_inputs, ("student_logits", "teacher_logits"), (3, 6)),
    SRRLLoss: Case(lambda: SRRLLoss(4, 6), srrl_inputs, ("student", "teacher"), (1, 6, 5, 7)),
    TFNKDLoss: Case(TFNKDLoss, tf_nkd_inputs, ("student_logits", "target"), (2, 7)),
    USKDLoss: Case(lambda: USKDLoss(4, CLASSES), uskd_inputs, ("student_logits", "mid_feature"), (2, 5)),
    ViTKDLoss: Case(lambda: ViTKDLoss(4, 6), vitkd_inputs, ("student", "teacher"), (2, 8, 6)),
    WSLDLoss: Case(WSLDLoss, logit_inputs, ("student_logits", "teacher_logits"), (2, 7)),
}

each_loss = pytest.mark.parametrize("loss", CASES, ids=lambda loss: loss.__name__)


def build(loss: type[nn.Module], images: int = 2) -> tuple[nn.Module, Inputs]:
    torch.manual_seed(3)
    case = CASES[loss]
    return case.module(), case.inputs(images).moved(torch.float32)


def gradients(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    leaves = [*tensors(inputs.student), *module.parameters()]
    found = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert len(found) == len(leaves)
    return found


def test_every_registered_loss_is_tested_here_or_with_its_head() -> None:
    folder = Path(tasks.methods.__path__[0])
    built_in = {name: of.loss for name, of in registered_losses().items() if of.file.parent == folder}
    assert {loss.__name__: loss for loss in (*CASES, *HEAD_LOSSES)} == built_in


@each_loss
@pytest.mark.parametrize("images", [1, 2])
def test_loss_and_gradients_are_finite_and_reach_all_that_is_trained(
    loss: type[nn.Module], images: int
) -> None:
    module, inputs = build(loss, images)
    value = module(**inputs.arguments())
    value.backward()
    assert value.shape == ()
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(module, inputs))


@each_loss
def test_nothing_flows_into_the_teacher(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    module(**inputs.arguments()).backward()
    assert all(tensor.requires_grad and tensor.grad is None for tensor in tensors(inputs.teacher))


@each_loss
def test_double_precision_stays_double(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    single = module(**inputs.arguments())
    double = module.double()(**inputs.moved(torch.float64).arguments())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


@each_loss
@pytest.mark.parametrize("feature_type", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_autocast_keeps_the_sums_in_float32(loss: type[nn.Module], feature_type: torch.dtype) -> None:
    module, inputs = build(loss)
    expected = module(**inputs.arguments())
    inputs = inputs.moved(feature_type)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = module(**inputs.arguments())
        value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0.03, atol=0)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(module, inputs))


@each_loss
def test_half_precision_does_not_overflow(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    # A difference of 600 squared is five times the largest float16.
    inputs = Inputs(
        {key: _scaled(value, 300) for key, value in inputs.student.items()},
        {key: _scaled(value, -300) for key, value in inputs.teacher.items()},
        inputs.rest,
    )
    with torch.autocast("cpu", dtype=torch.float16):
        value = module(**inputs.moved(torch.float16).arguments())
    assert value.dtype == torch.float32
    assert torch.isfinite(value)


def _scaled(value: Any, factor: float) -> Any:
    return [_scaled(item, factor) for item in value] if isinstance(value, list) else value.detach() * factor


@each_loss
def test_wrong_shapes_are_refused_with_both_shapes(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    arguments = inputs.arguments()
    first, second = CASES[loss].compared
    wrong = torch.zeros(CASES[loss].odd)
    arguments[second] = [wrong] * 3 if isinstance(arguments[second], list) else wrong
    other = next(tensors({first: arguments[first]}))
    with pytest.raises(ValueError, match="do not fit") as refusal:
        module(**arguments)
    assert str(tuple(other.shape)) in str(refusal.value)
    assert str(tuple(wrong.shape)) in str(refusal.value)


@pytest.mark.parametrize("loss", [DKDLoss, NKDLoss, TFNKDLoss, WSLDLoss])
def test_soft_labels_that_are_one_hot_count_as_indices(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    by_index = module(**inputs.arguments())
    inputs.rest["target"] = nn.functional.one_hot(inputs.rest["target"], CLASSES).float()
    torch.testing.assert_close(module(**inputs.arguments()), by_index)


@pytest.mark.parametrize("loss", [DKDLoss, NKDLoss, TFNKDLoss, USKDLoss, WSLDLoss])
def test_targets_that_are_neither_indices_nor_soft_labels_are_refused(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    for wrong in (torch.zeros(2), torch.zeros(3, dtype=torch.long), torch.zeros(2, 1, dtype=torch.long)):
        inputs.rest["target"] = wrong
        with pytest.raises(ValueError, match="do not fit") as refusal:
            module(**inputs.arguments())
        assert str((2, CLASSES)) in str(refusal.value)
        assert str(tuple(wrong.shape)) in str(refusal.value)


class NoSynchronisation(TorchDispatchMode):
    """Fails on the operations that make the host wait for the value of a tensor."""

    FORBIDDEN = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "unique", "equal")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_boolean = any(index is not None and index.dtype == torch.bool for index in indices)
        if name in self.FORBIDDEN or by_boolean:
            raise AssertionError(f"aten.{name} waits for the device")
        return func(*args, **(kwargs or {}))


def test_the_check_for_synchronisation_notices_one() -> None:
    values = torch.tensor([1.0, 0.0])
    for wait in (values[0].item, lambda: values[values > 0], lambda: bool(values.sum() > 0)):
        with NoSynchronisation(), pytest.raises(AssertionError, match="waits"):
            wait()


@each_loss
def test_no_loss_waits_for_the_device(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    with NoSynchronisation():
        module(**inputs.arguments()).backward()


@each_loss
def test_every_loss_stays_on_the_gpu(loss: type[nn.Module]) -> None:
    with FakeGPU().in_use():
        module, inputs = build(loss)
        value = module(**inputs.arguments())
    assert (value.device.type, value.shape) == ("cuda", torch.Size())


@pytest.mark.gpu
@each_loss
def test_cuda_under_float16_autocast_agrees_with_the_cpu_and_does_not_wait(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    expected = module(**inputs.arguments())
    module, inputs = module.cuda(), inputs.moved(device="cuda")
    with torch.autocast("cuda", dtype=torch.float16), _waiting_is_an_error():
        value = module(**inputs.arguments())
        value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.cpu(), expected, rtol=0.03, atol=0)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(module, inputs))


class _waiting_is_an_error(AbstractContextManager[None]):  # noqa: N801 - reads as the phrase it is
    def __enter__(self) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *exception: object) -> None:
        torch.cuda.set_sync_debug_mode("default")
