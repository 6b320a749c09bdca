"""MGD: what is masked, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tasks.methods import MGDLoss


@pytest.mark.parametrize(("masking", "shape"), [("spatial", (50, 1, 9, 11)), ("channel", (50, 12, 1, 1))])
@pytest.mark.parametrize("mask_ratio", [0.15, 0.65])
def test_the_share_dropped_is_the_mask_ratio(masking: Any, shape: tuple[int, ...], mask_ratio: float) -> None:
    torch.manual_seed(0)
    keep = MGDLoss(4, 12, mask_ratio=mask_ratio, masking=masking).draw_keep_mask(torch.zeros(50, 12, 9, 11))
    assert keep.shape == shape
    # Four standard deviations of a binomial share with the 600 draws of channel masking.
    assert 1 - keep.float().mean().item() == pytest.approx(mask_ratio, abs=0.08)


def test_each_forward_pass_draws_another_mask() -> None:
    torch.manual_seed(0)
    loss, student, teacher = MGDLoss(4, 4), torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    assert loss(student, teacher).item() != loss(student, teacher).item()


def test_what_is_dropped_has_no_gradient() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 4, 6, 6, requires_grad=True), torch.randn(1, 4, 6, 6)
    keep = torch.ones(1, 1, 6, 6)
    keep[..., 2, 3] = 0
    MGDLoss(4, 4)(student, teacher, keep).backward()
    assert student.grad is not None
    assert torch.equal((student.grad != 0).all(dim=1), keep[:, 0] != 0)


def test_a_mask_of_another_shape_is_refused_with_both_shapes() -> None:
    loss = MGDLoss(4, 6, masking="channel")
    with pytest.raises(ValueError, match=r"keep_mask \(2, 4, 1, 1\) and teacher \(2, 6, 5, 5\)"):
        loss(torch.zeros(2, 4, 5, 5), torch.zeros(2, 6, 5, 5), torch.ones(2, 4, 1, 1))


@pytest.mark.parametrize("options", [{"masking": "both"}, {"mask_ratio": 1.5}, {"mask_ratio": -0.1}])
def test_hyper_parameters_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        MGDLoss(4, 4, **options)
