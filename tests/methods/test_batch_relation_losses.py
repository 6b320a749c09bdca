"""What the losses on relations within a batch promise, beyond the golden files."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.methods.cc import CCLoss
from tasks.methods.dist import DISTLoss
from tasks.methods.pkt import PKTLoss
from tasks.methods.rkd import RKDLoss
from tasks.methods.sp import SPLoss

LOSSES: list[nn.Module] = [RKDLoss(), SPLoss(), PKTLoss(), CCLoss(3, 4, width=5), DISTLoss()]

each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


def features(samples: int, loss: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """A student's feature that wants a gradient, and a teacher's of another width but for DIST."""
    width = 3 if isinstance(loss, DISTLoss) else 4
    return torch.randn(samples, 3, requires_grad=True), torch.randn(samples, width)


def gradient(loss: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss(student, teacher), student)
    return found


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


class _Count(TorchDispatchMode):
    """Counts the operations that run in it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.operations[str(func)] += 1
        return func(*args, **(kwargs or {}))


@each_loss
def test_a_larger_batch_takes_no_more_operations(loss: nn.Module) -> None:
    counts = []
    for samples in (4, 9):
        student, teacher = features(samples, loss)
        loss.zero_grad()
        with _Count() as count:
            loss(student, teacher).backward()
        counts.append(count.operations)
    assert counts[0] == counts[1]


@each_loss
def test_a_batch_of_one_is_at_the_value_that_is_documented_and_pulls_nowhere(loss: nn.Module) -> None:
    student, teacher = features(1, loss)
    if isinstance(loss, DISTLoss):
        loss = DISTLoss(temperature=3.0, beta=0.0, gamma=1.0, weight=1.0)
    value = loss(student, teacher)
    assert value.item() == (9 if isinstance(loss, DISTLoss) else 0)
    assert not gradient(loss, student, teacher).any()


@each_loss
def test_a_batch_of_equal_samples_is_finite(loss: nn.Module) -> None:
    student, teacher = features(5, loss)
    equal = student.detach()[:1].repeat(5, 1).requires_grad_()
    assert torch.isfinite(loss(equal, teacher))
    assert torch.isfinite(gradient(loss, equal, teacher)).all()


# RKD


def test_rkd_by_loops_over_pairs_and_triples() -> None:
    student, teacher = (feature.double() for feature in features(4))
    terms = RKDLoss().terms(student, teacher)
    own, other = (_by_loops(feature.detach()) for feature in (student, teacher))
    for term, ours, theirs in zip(("distance", "angle"), own, other, strict=True):
        torch.testing.assert_close(terms[term].detach(), functional.smooth_l1_loss(ours, theirs))


def _by_loops(rows: Tensor) -> tuple[Tensor, Tensor]:
    samples = len(rows)
    distances, angles = rows.new_zeros(samples, samples), rows.new_zeros(samples, samples, samples)
    for i in range(samples):
        for j in range(samples):
            distances[i, j] = (rows[i] - rows[j]).norm()
            for k in range(samples):
                if j not in (i, k):
                    angles[j, i, k] = functional.cosine_similarity(
                        rows[i] - rows[j], rows[k] - rows[j], dim=0
                    )
    return distances / (distances.sum() / (samples * (samples - 1))), angles


def test_rkd_is_zero_for_features_that_differ_by_size_and_place_and_for_any_two_samples() -> None:
    student, teacher = (feature.double() for feature in features(6))
    assert RKDLoss()(student, 3 * student + 2).item() == pytest.approx(0, abs=1e-12)
    assert RKDLoss()(student, teacher) > 0.1
    assert RKDLoss()(student[:2], teacher[:2]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("apart", [0.0, 1e-8])
def test_rkd_lets_no_equal_samples_of_the_student_blow_the_gradient_up(apart: float) -> None:
    student, teacher = (feature.detach().double() for feature in features(5))
    student[1] = student[0] + apart
    student.requires_grad_()
    assert RKDLoss()(student, teacher) > 0.1
    assert 0.1 < gradient(RKDLoss(), student, teacher).abs().max() < 1e3


# SP and PKT


def test_sp_takes_maps_of_other_channels_and_size_and_is_zero_where_the_same_images_are_alike() -> None:
    student = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    twice = torch.cat([student, student], dim=1)
    assert SPLoss()(student, twice).item() == pytest.approx(0, abs=1e-12)
    assert SPLoss()(student, torch.randn(3, 5, 2, 2).double()) > 1


@pytest.mark.parametrize("loss", [SPLoss(), PKTLoss()], ids=["SP", "PKT"])
def test_an_image_whose_feature_is_zero_throughout_leaves_gradients_bounded(loss: nn.Module) -> None:
    student, teacher = features(4)
    with torch.no_grad():
        student[0] = 0
    assert loss(student, teacher) > 1
    assert 1 < gradient(loss, student, teacher).abs().max() < 1e5


def test_pkt_sees_directions_alone() -> None:
    student, _ = features(5)
    lengths = torch.rand(5, 1) + 1
    assert PKTLoss()(student, lengths * student).item() == pytest.approx(0, abs=1e-2)


# CC


def test_cc_multiplies_the_errors_of_neighbours_and_of_no_others() -> None:
    loss = CCLoss(3, 4, width=2, weight=1.0)
    student, teacher = features(3)
    error = (loss.embed_s(student) - loss.embed_t(teacher)).abs()
    expected = ((error[0] * error[1]).sum() + (error[1] * error[2]).sum()) / 2
    torch.testing.assert_close(loss(student, teacher), expected)
    order = [1, 0, 2]
    assert not torch.isclose(loss(student[order], teacher[order]), expected)


def test_cc_trains_the_teachers_embedding_and_not_the_teacher() -> None:
    loss = CCLoss(3, 4)
    student, teacher = features(3)
    loss(student, teacher.requires_grad_()).backward()
    assert teacher.grad is None
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in loss.embed_t.parameters())


# DIST


def test_dist_is_zero_for_a_student_that_correlates_perfectly_and_counts_up_to_two_for_the_opposite() -> None:
    teacher = torch.randn(6, 2, dtype=torch.float64)
    loss = DISTLoss(weight=1.0)
    assert loss(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    assert loss(-teacher, teacher).item() == pytest.approx(4, abs=1e-6)


def test_dist_gives_no_correlation_and_no_gradient_to_classes_that_nobody_predicts() -> None:
    student = torch.zeros(4, 3)
    student[:, 2] = -1e4
    student = student.requires_grad_()
    terms = DISTLoss().terms(student, torch.randn(4, 3))
    assert terms["intra"].item() == 1
    terms["intra"].backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
