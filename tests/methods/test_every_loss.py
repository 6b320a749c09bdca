"""What all losses have in common: precision, devices, the teacher's side and refusals."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import tasks.methods
from tasks.methods import (
    LabelSmoothingLoss,
    LSKDDKDLoss,
    NKDLoss,
    TFKDRegularizationLoss,
    TFNKDLoss,
    ZipfLoss,
)
from tasks.methods.crosskd import CrossKDLoss
from tasks.methods.dkd import DKDLoss
from tasks.methods.ld import LDLoss
from tasks.methods.registry import registered_losses
from tasks.methods.uskd import USKDLoss
from tasks.methods.wsld import WSLDLoss
from tests.fake_gpu import FakeGPU
from tests.methods.cases import LOSSES
from tests.methods.loss_case import CLASSES, Inputs, tensors

HEAD_LOSSES = (CrossKDLoss, LDLoss)
"""They take a detector's head, and are tested with it in test_head_losses.py."""

LABELLED_LOSSES = (
    DKDLoss,
    LabelSmoothingLoss,
    LSKDDKDLoss,
    NKDLoss,
    TFKDRegularizationLoss,
    TFNKDLoss,
    WSLDLoss,
    ZipfLoss,
)
"""They take a target, an index or a soft label."""

each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def build(loss: type[nn.Module], images: int | None = None) -> tuple[nn.Module, Inputs]:
    torch.manual_seed(3)
    case = LOSSES[loss]
    return case.module(), case.inputs(images or case.images).moved(torch.float32)


def gradients(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    leaves = [*tensors(inputs.student), *module.parameters()]
    found = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert len(found) == len(leaves)
    return found


def test_every_registered_loss_is_tested_here_or_with_its_head() -> None:
    folder = Path(tasks.methods.__path__[0])
    built_in = {name: of.loss for name, of in registered_losses().items() if of.file.parent == folder}
    assert {loss.__name__: loss for loss in (*LOSSES, *HEAD_LOSSES)} == built_in


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
    # Built anew: a loss with a memory is another one after it has run.
    double = build(loss)[0].double()(**inputs.moved(torch.float64).arguments())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


@each_loss
@pytest.mark.parametrize("feature_type", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_autocast_keeps_the_sums_in_float32(loss: type[nn.Module], feature_type: torch.dtype) -> None:
    module, inputs = build(loss)
    expected = module(**inputs.arguments())
    module, inputs = build(loss)[0], inputs.moved(feature_type)
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
    first, second = LOSSES[loss].compared
    wrong = torch.zeros(LOSSES[loss].odd)
    arguments[second] = [wrong] * 3 if isinstance(arguments[second], list) else wrong
    other = next(tensors({first: arguments[first]}))
    with pytest.raises(ValueError, match="do not fit") as refusal:
        module(**arguments)
    assert str(tuple(other.shape)) in str(refusal.value)
    assert str(tuple(wrong.shape)) in str(refusal.value)


@pytest.mark.parametrize("loss", LABELLED_LOSSES)
def test_soft_labels_that_are_one_hot_count_as_indices(loss: type[nn.Module]) -> None:
    module, inputs = build(loss)
    by_index = module(**inputs.arguments())
    inputs.rest["target"] = nn.functional.one_hot(inputs.rest["target"], CLASSES).float()
    torch.testing.assert_close(module(**inputs.arguments()), by_index)


@pytest.mark.parametrize("loss", [*LABELLED_LOSSES, USKDLoss])
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


@pytest.mark.parametrize("loss", [loss for loss, case in LOSSES.items() if not case.waits])
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
    module, inputs = build(loss)[0].cuda(), inputs.moved(device="cuda")
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
