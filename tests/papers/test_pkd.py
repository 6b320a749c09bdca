"""PKD, a paper outside of ``baselines/``: found, planned, and its loss equal to the released one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.catalogue import import_file
from suite.cli import main
from tasks.methods.pkd import PKDLoss

HERE = Path(__file__).parent
GOLDEN = sorted((HERE.parent / "golden").glob("pkd*.npz"))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_PAPERS", str(HERE))


def compute(path: Path, dtype: torch.dtype, loss_type: Callable[..., Any] | None = None) -> dict[str, Tensor]:
    """Loss and gradient of a golden file by the folder's own loss, or by another."""
    with np.load(path) as arrays:
        student = torch.from_numpy(arrays["student"]).to(dtype).requires_grad_()
        teacher = torch.from_numpy(arrays["teacher"]).to(dtype)
        options = {key: arrays[key].item() for key in ("weight", "resize", "epsilon") if key in arrays}
    loss = (loss_type or import_file("pkd/loss.py").PKDLoss)(**options)(student, teacher)
    (grad,) = torch.autograd.grad(loss, student)
    return {"loss": loss, "grad_student": grad}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_loss_and_gradient_are_those_of_the_released_implementation(path, dtype):
    found = compute(path, dtype)
    with np.load(path) as arrays:
        for key, tensor in found.items():
            expected = torch.from_numpy(arrays[key]).double()
            error = (tensor.double() - expected).abs().max() / expected.abs().max()
            assert error < TOLERANCE[dtype], key


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_folders_loss_is_another_than_the_suites_with_the_same_values(path):
    assert import_file("pkd/loss.py").PKDLoss is not PKDLoss
    ours, of_suite = (compute(path, torch.float64, loss) for loss in (None, PKDLoss))
    for key, value in ours.items():
        assert (value - of_suite[key]).abs().max() <= 1e-10 * value.abs().max(), key


def test_the_golden_files_cover_equal_maps_both_ways_of_resizing_and_flat_channels():
    assert {path.stem for path in GOLDEN} == {
        "pkd", "pkd_flat_channels", "pkd_resize_student", "pkd_resize_teacher",
    }  # fmt: skip


def test_a_student_that_differs_by_magnitude_and_offset_alone_has_no_loss():
    teacher = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = import_file("pkd/loss.py").PKDLoss()
    assert loss(3 * teacher + 1, teacher) == pytest.approx(0, abs=1e-9)
    assert loss(-teacher, teacher) == pytest.approx(2 * 6 * 49 / 50, rel=1e-5)


def test_maps_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="differ in batch or channels"):
        import_file("pkd/loss.py").PKDLoss()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))


@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_its_students_are_planned_with_the_arms_of_papers_in_the_checkout(capsys, profile):
    assert main(["plan", "--paper", "pkd", "--profile", profile, "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    served = {claim["claim"] for run in plan["runs"] for claim in run["claims"]}
    assert {"pkd-retinanet-r50-x101", "pkd-faster-rcnn-r50-r101", "fgd-retinanet-r50-student"} <= served
