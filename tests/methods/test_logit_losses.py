"""What the formulas of the logit losses promise, beyond the golden files."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tasks.methods import NKDLoss, TFNKDLoss
from tasks.methods.cwd import ChannelWiseLogitLoss
from tasks.methods.dkd import DKDLoss
from tasks.methods.kd import KDLoss
from tasks.methods.srrl import SRRLLoss
from tasks.methods.uskd import USKDLoss
from tasks.methods.wsld import WSLDLoss

CLASSES = 7


def logits(images: int = 5) -> Tensor:
    return torch.randn(images, CLASSES, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


def test_nkd_on_two_samples_reckoned_by_hand() -> None:
    student = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [1 / 8, 5 / 8, 1 / 4]], dtype=torch.float64).log()
    teacher = torch.tensor([[1 / 2, 1 / 3, 1 / 6], [1 / 4, 1 / 4, 1 / 2]], dtype=torch.float64).log()
    target_part = -(1 / 2 * math.log(1 / 2) + 1 / 4 * math.log(5 / 8)) / 2
    # Without the targets: student (1/2, 1/2) and (1/3, 2/3), teacher (2/3, 1/3) and (1/3, 2/3).
    other_part = -(math.log(1 / 2) + 1 / 3 * math.log(1 / 3) + 2 / 3 * math.log(2 / 3)) / 2
    value = NKDLoss()(student, teacher, torch.tensor([0, 1]))
    assert value.item() == pytest.approx(target_part + 1.5 * other_part, rel=1e-12)


def test_nkd_and_dkd_leave_the_target_out_of_their_second_part() -> None:
    student, teacher, target = logits(), logits(), torch.arange(5)
    is_target = nn.functional.one_hot(target, CLASSES).bool()
    for loss in (NKDLoss(temperature=2, gamma=1), DKDLoss(alpha=0, beta=1)):
        own = student.clone().requires_grad_()
        loss(own, teacher, target).backward()
        assert own.grad is not None
        torch.testing.assert_close(loss(student, teacher, target), loss(student + 3, teacher - 5, target))
        if isinstance(loss, DKDLoss):
            assert not own.grad[is_target].any()
            moved = student + 4 * is_target
            torch.testing.assert_close(loss(moved, teacher, target), loss(student, teacher, target))


@pytest.mark.parametrize("loss", [DKDLoss(), ChannelWiseLogitLoss()])
def test_divergences_are_zero_for_equal_outputs_and_positive_otherwise(loss: nn.Module) -> None:
    shape = (2, 3, 4, 5) if isinstance(loss, ChannelWiseLogitLoss) else (5, CLASSES)
    student, teacher = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    target = () if isinstance(loss, ChannelWiseLogitLoss) else (torch.arange(5),)
    assert loss(teacher, teacher, *target).item() == pytest.approx(0, abs=1e-12)
    assert loss(student, teacher, *target) > 0


def test_dkd_with_the_teachers_doubt_as_weight_is_kd_but_for_the_teachers_entropy() -> None:
    # arXiv:2203.08679: KD = TCKD + (1 - q_target) NCKD, here for one sample.
    student, teacher, target = logits(1), logits(1), torch.tensor([2])
    q = teacher.softmax(dim=1)
    divergence = KDLoss(1.0, 1.0)(student, teacher) + (q * q.log()).sum()
    doubt = 1 - q[0, 2].item()
    torch.testing.assert_close(DKDLoss(1.0, alpha=1.0, beta=doubt)(student, teacher, target), divergence)


def test_wsld_is_kd_weighted_by_how_much_better_the_teacher_is() -> None:
    student, teacher, target = logits(1), logits(1), torch.tensor([3])
    ratio = nn.functional.cross_entropy(student, target) / nn.functional.cross_entropy(teacher, target)
    expected = (1 - torch.exp(-ratio)) * KDLoss(2.0, 1.0)(student, teacher)
    torch.testing.assert_close(WSLDLoss(2.0, alpha=1.0)(student, teacher, target), expected)


def test_tf_nkd_is_cross_entropy_for_a_single_sample_and_favours_the_certain_in_a_batch() -> None:
    student, target = logits(), torch.arange(5)
    torch.testing.assert_close(
        TFNKDLoss()(student[:1], target[:1]), nn.functional.cross_entropy(student[:1], target[:1])
    )
    p = student.softmax(dim=1)[target, target]
    expected = -((p + 1 - p.mean()) * p.log()).mean()
    torch.testing.assert_close(TFNKDLoss()(student, target), expected)


def test_uskd_ranks_the_other_classes_by_both_opinions() -> None:
    # The target is class 0 and both opinions put class 3 before 2 before 1: labels 1/2, 1/3 and 1/4 after
    # the target's rank 1, over their sum 13/12.
    student = torch.tensor([[3.0, 0.0, 1.0, 2.0]], dtype=torch.float64)
    loss = USKDLoss(2, 4, alpha=0.0, beta=1.0, mu=0.0).double()
    nn.init.zeros_(loss.fc.weight)
    loss.fc.bias.data = torch.tensor([9.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    labels = torch.tensor([3 / 13, 4 / 13, 6 / 13], dtype=torch.float64)
    expected = -(labels * student[0, 1:].log_softmax(dim=0)).sum()
    value = loss(student, torch.ones(1, 2, dtype=torch.float64), torch.tensor([0]))
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


def test_uskd_trains_its_classifier_by_the_weak_part_alone() -> None:
    student, feature, target = logits(), torch.randn(5, 3, dtype=torch.float64), torch.arange(5)
    loss = USKDLoss(3, CLASSES, mu=0.0).double()
    loss(student.requires_grad_(), feature, target).backward()
    assert loss.fc.weight.grad is not None
    assert not loss.fc.weight.grad.any()


def test_srrl_compares_the_outputs_of_the_teachers_classifier() -> None:
    loss = SRRLLoss(3, 4).double().eval()
    student, teacher = torch.randn(2, 3, 5, 5).double(), torch.randn(2, 4, 5, 5).double()
    classifier = nn.Linear(4, CLASSES).double()
    own, other = (feature.mean(dim=(2, 3)) for feature in (loss.Connectors(student), teacher))
    mse = nn.functional.mse_loss
    expected = mse(own, other) + 5 * mse(classifier(own), classifier(other))
    torch.testing.assert_close(loss(student, teacher, classifier.weight), expected)


def test_a_classifier_of_another_width_is_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"classifier_weight \(7, 3\) and teacher \(2, 4, 5, 5\)"):
        SRRLLoss(3, 4)(torch.zeros(2, 3, 5, 5), torch.zeros(2, 4, 5, 5), torch.zeros(CLASSES, 3))
