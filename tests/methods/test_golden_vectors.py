"""The losses against inputs and outputs of the released implementations (tests/golden)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.methods import MGDLoss
from tasks.methods.kd import KDLoss
from tests.methods.cases import GOLDEN
from tests.methods.golden_cases import compute

FILES = sorted((Path(__file__).parents[1] / "golden").glob("*.npz"))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
each_type = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])

EXPECTED = (
    "loss",
    "term_",
    "grad_",
    "grad/",
    "buffer_after/",
    "fused/",
    "margin/",
    "reused_",
    "kd_avg_factor",
)
"""How the keys begin that are outputs in every file that has them; a case may compute more."""


def read(file: Path) -> dict[str, NDArray[Any]]:
    with np.load(file) as arrays:
        return {key: arrays[key] for key in arrays.files}


def expected_of(arrays: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {key: torch.from_numpy(np.array(arrays[key])) for key in arrays if key.startswith(EXPECTED)}


def zero_by_algebra(arrays: dict[str, NDArray[Any]]) -> set[str]:
    """Gradients that are zero but for rounding: a softmax ignores what all scores share."""
    listed = set(arrays["analytically_zero"].tolist()) if "analytically_zero" in arrays else set()
    return listed | {key for key in arrays if key.startswith("grad/conv_mask_") and key.endswith(".bias")}


@each_type
@each_file
def test_loss_terms_and_every_gradient_agree_with_the_released_code(file: Path, dtype: torch.dtype) -> None:
    arrays = read(file)
    skip_where_equal_entries_sort_otherwise(file, arrays)
    expected = expected_of(arrays)
    found = compute(file.name, arrays, dtype)
    assert expected.keys() <= found.keys() <= arrays.keys()
    gradients = [value.abs().max().item() for key, value in expected.items() if key.startswith("grad")]
    for key, computed in found.items():
        value = torch.from_numpy(np.array(arrays[key]))
        if not value.is_floating_point():
            assert torch.equal(computed, value), key
            continue
        assert computed.dtype == dtype, key
        if not value.numel():
            assert computed.shape == value.shape, key
            continue
        measure = max(gradients) if key in zero_by_algebra(arrays) else value.abs().max().item()
        error = (computed.double() - value).abs().max().item()
        assert error <= TOLERANCE[dtype] * measure, f"{key}: {error:.2e} of {measure:.2e}"


def skip_where_equal_entries_sort_otherwise(file: Path, arrays: dict[str, NDArray[Any]]) -> None:
    if file.stem == "uskd_mixup":
        label = torch.from_numpy(arrays["soft_label"])
        second = label.sort(dim=1, descending=True).indices[[2, 9], 1].tolist()
        if second != [30, 31]:
            pytest.skip(f"torch.sort returns other classes than 30 and 31 among equal entries: {second}")


@each_file
def test_expected_values_are_not_read(file: Path) -> None:
    arrays = read(file)
    again = compute(file.name, arrays, torch.float64)
    found = compute(
        file.stem, {key: value for key, value in arrays.items() if key not in again}, torch.float64
    )
    assert found.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in found.items())


@pytest.mark.parametrize("change", ["align.weight", "another.weight"])
def test_state_dict_keys_other_than_those_of_released_checkpoints_are_refused(change: str) -> None:
    arrays = read(next(file for file in FILES if file.stem == "mgd_spatial_align"))
    weight = arrays.pop(f"param/{change}", arrays["param/align.bias"])
    with pytest.raises(AssertionError, match=r"align\.weight|another\.weight"):
        compute("mgd_spatial_align", {**arrays, "param/another.weight": weight}, torch.float64)


WITH_SEED = [file for file in FILES if {"cpu_seed", "masking"} <= set(np.load(file).files)]


@pytest.mark.parametrize("file", WITH_SEED, ids=lambda file: file.stem)
def test_mgd_draws_the_released_mask_from_the_same_seed(file: Path) -> None:
    arrays = read(file)
    student, teacher = (torch.from_numpy(arrays[key]) for key in ("student", "teacher"))
    options = {key: arrays[key].item() for key in ("alpha", "mask_ratio", "masking")}
    loss = MGDLoss(student.shape[1], teacher.shape[1], **options).double()
    keep_mask, seed = torch.from_numpy(arrays["keep_mask"]), arrays["cpu_seed"].item()
    torch.manual_seed(seed)
    assert torch.equal(torch.rand(keep_mask.shape), torch.from_numpy(arrays["uniform"]))
    torch.manual_seed(seed)
    assert torch.equal(loss.draw_keep_mask(teacher), keep_mask.bool())
    state = {key.removeprefix("param/"): torch.from_numpy(arrays[key]) for key in arrays if "param/" in key}
    loss.load_state_dict(state)
    torch.manual_seed(seed)
    assert loss(student, teacher).item() == pytest.approx(arrays["loss"].item(), rel=1e-10)


def test_kd_leaves_the_recorded_weight_to_the_cross_entropy() -> None:
    arrays = read(next(file for file in FILES if file.stem == "kd"))
    assert KDLoss(alpha=arrays["alpha"].item()).ce_weight == pytest.approx(arrays["ce_weight"].item())


def test_every_loss_with_golden_files_has_some_here() -> None:
    beginnings = {max((name for name in GOLDEN if fits(name, file.stem)), key=len) for file in FILES}
    assert beginnings == GOLDEN.keys()


def fits(name: str, stem: str) -> bool:
    return stem == name or stem.startswith(f"{name}_")


def test_a_file_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match=r"no loss for golden file 'other\.npz'"):
        compute("other.npz", {}, torch.float64)
