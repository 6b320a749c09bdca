"""What label smoothing and its relatives, LSKD and MLLD promise, beyond the golden files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from suite.paths import CONF
from tasks.methods.dkd import DKDLoss
from tasks.methods.label_smoothing import LabelSmoothingLoss, Spread
from tasks.methods.lskd import LSKDDKDLoss, LSKDLoss, standardized
from tasks.methods.mlld import MLLDLoss
from tasks.methods.registry import find_loss
from tasks.methods.tfkd import TFKDRegularizationLoss, TFKDSelfTrainingLoss
from tasks.methods.zipf import ZipfLoss, zipf_distribution

CLASSES = 7


def logits(images: int = 5) -> Tensor:
    return torch.randn(images, CLASSES, dtype=torch.float64)


def gradient(value: Tensor, student: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, student)
    return found


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


# LSKD


@pytest.mark.parametrize("loss", [LSKDLoss(), LSKDDKDLoss()], ids=["KD", "DKD"])
def test_lskd_looks_past_range_and_place_of_the_logits(loss: nn.Module) -> None:
    student, teacher = logits(), logits()
    target = (torch.arange(5),) if isinstance(loss, DKDLoss) else ()
    value = loss(student, teacher, *target)
    assert value > 0.1
    moved = 3 * student - 5, 0.2 * teacher + 7
    torch.testing.assert_close(loss(*moved, *target), value, rtol=1e-5, atol=0)


def test_lskd_with_dkd_is_dkd_of_logits_of_mean_zero_and_deviation_one() -> None:
    student, teacher, target = logits(), logits(), torch.arange(5)
    own, other = (standardized(side) for side in (student, teacher))
    torch.testing.assert_close(own.mean(dim=1), torch.zeros(5).double())
    torch.testing.assert_close(own.std(dim=1), torch.ones(5).double(), rtol=1e-6, atol=0)
    expected = DKDLoss(3.0, 2.0, 4.0)(own, other, target)
    torch.testing.assert_close(LSKDDKDLoss(3.0, 2.0, 4.0)(student, teacher, target), expected)


def test_lskd_of_flat_logits_is_finite() -> None:
    student = torch.zeros(2, CLASSES, requires_grad=True)
    value = LSKDLoss()(student, torch.ones(2, CLASSES))
    assert value == 0
    assert not gradient(value, student).any()
    assert torch.isfinite(gradient(LSKDLoss()(student, torch.randn(2, CLASSES)), student)).all()


# MLLD


def test_mlld_weighs_the_terms_by_the_share_of_doubtful_images_and_rare_classes() -> None:
    # Of three images two are at most as certain as the one in the middle, of two classes one is as rare.
    teacher = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]], dtype=torch.float64)
    student = torch.randn(3, 2, dtype=torch.float64)
    terms = MLLDLoss(temperature=4.0, weight=1.0).terms(student, teacher, teacher, teacher)
    by_temperature, batch, by_class = {}, torch.zeros(()).double(), torch.zeros(()).double()
    for t in (4.0, 3.0, 5.0, 2.0, 6.0):
        p, q = (student / t).softmax(dim=1), (teacher / t).softmax(dim=1)
        by_temperature[t] = divergence(t, student, teacher) / 3
        batch += (q @ q.T - p @ p.T).square().sum() / 3
        by_class += (q.T @ q - p.T @ p).square().sum() / 2
    expected = 2 / 3 * sum(by_temperature.values()) + by_temperature[2.0] + by_temperature[6.0]
    torch.testing.assert_close(terms["kd"], expected)
    torch.testing.assert_close(terms["batch"], 2 / 3 * batch)
    torch.testing.assert_close(terms["class"], 1 / 2 * by_class)


def test_mlld_of_one_image_counts_it_as_doubtful() -> None:
    student, teacher = logits(1), logits(1)
    terms = MLLDLoss(temperature=4.0, weight=1.0).terms(student, teacher, teacher, teacher)
    parts = [divergence(t, student, teacher) for t in (4.0, 3.0, 5.0, 2.0, 6.0, 2.0, 6.0)]
    torch.testing.assert_close(terms["kd"], torch.stack(parts).sum())


def divergence(temperature: float, student: Tensor, teacher: Tensor) -> Tensor:
    log_p, log_q = ((side / temperature).log_softmax(dim=1) for side in (student, teacher))
    return temperature**2 * (log_q.exp() * (log_q - log_p)).sum()


# The cross-entropy beside them


@pytest.mark.parametrize("method", ["kd", "label-smoothing", "tfkd-self", "tfkd-reg"])
def test_a_method_file_leaves_the_cross_entropy_what_its_loss_asks_for(method: str) -> None:
    composed = yaml.safe_load((CONF / "method" / f"{method}.yaml").read_text(encoding="utf-8"))
    (loss,) = composed["losses"].values()
    module = find_loss(loss["type"])(**loss["arguments"])
    assert module.ce_weight == pytest.approx(composed["task_loss_weight"], abs=1e-9)


GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("tfkd_*.npz"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_tfkd_leaves_the_recorded_weight_to_the_cross_entropy(file: Path) -> None:
    with np.load(file) as arrays:
        kind = TFKDSelfTrainingLoss if "teacher_logits" in arrays else TFKDRegularizationLoss
        assert kind(alpha=arrays["alpha"].item()).ce_weight == pytest.approx(arrays["ce_weight"].item())


# Label smoothing and Tf-KD


def whole(loss: LabelSmoothingLoss, student: Tensor, target: Tensor) -> Tensor:
    spread: Tensor = loss(student, target)
    return loss.ce_weight * functional.cross_entropy(student, target) + spread


def test_the_two_kinds_of_label_smoothing_differ_by_a_factor_in_the_share() -> None:
    student, target = logits(), torch.arange(5)
    of_all = LabelSmoothingLoss(0.1 * CLASSES / (CLASSES - 1), "all classes")
    of_others = LabelSmoothingLoss(0.1, "other classes")
    torch.testing.assert_close(whole(of_all, student, target), whole(of_others, student, target))


@pytest.mark.parametrize("spread", ["all classes", "other classes"])
def test_a_mixed_label_is_smoothed_as_the_mixture_of_two(spread: Spread) -> None:
    student, first, second = logits(), torch.arange(5), torch.arange(1, 6)
    loss = LabelSmoothingLoss(0.2, spread)
    one, other = (functional.one_hot(label, CLASSES).double() for label in (first, second))
    expected = 0.3 * loss(student, first) + 0.7 * loss(student, second)
    torch.testing.assert_close(loss(student, 0.3 * one + 0.7 * other), expected)


def test_a_spread_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no spread 'none': choose one of all classes, other classes"):
        LabelSmoothingLoss(spread="none")  # type: ignore[arg-type]


def test_tfkd_by_regularization_teaches_next_to_label_smoothing() -> None:
    # exp(0.99 / 20) against exp(0.01 / 6 / 20) in each of the six other classes.
    student, target = logits(1), torch.tensor([2])
    label, other = math.exp(0.99 / 20), math.exp(0.01 / 6 / 20)
    r = torch.full((CLASSES,), other, dtype=torch.float64)
    r[2] = label
    r = r / r.sum()
    expected = 0.5 * 3 * (r * (r.log() - student[0].log_softmax(dim=0))).mean()
    torch.testing.assert_close(TFKDRegularizationLoss(0.5, 20.0, 3.0)(student, target), expected)
    assert label / other == pytest.approx(1.05, abs=0.001)


# Zipf


def test_zipf_ranks_by_the_votes_of_each_position_where_ties_share_the_best_rank() -> None:
    # Four positions: two for class 1, one each for 0 and 3, none for 2. The label is 1, whose rank is 1; so
    # 0 and 3 have rank 2, and 2 has rank 4.
    named = torch.tensor([[1, 1], [0, 3]])
    feature = functional.one_hot(named, 4).permute(2, 0, 1)[None].double()
    classifier = torch.eye(4).double(), torch.zeros(4).double()
    student, target = torch.randn(1, 4, dtype=torch.float64), torch.tensor([1])
    w = torch.tensor([1 / 2, 0, 1 / 4, 1 / 2], dtype=torch.float64) / (5 / 4)
    log_pn = student[0, [0, 2, 3]].log_softmax(dim=0)
    expected = (w[[0, 2, 3]] * (w[[0, 2, 3]].log() - log_pn)).sum()
    loss = ZipfLoss(weight=1.0)
    torch.testing.assert_close(loss(student, target, feature, *classifier), expected)
    bias = torch.tensor([0.0, 0.0, 9.0, 0.0]).double()
    assert loss.votes(feature, classifier[0], bias).tolist() == [[2, 2, 2, 2]]


def test_zipf_gives_equal_scores_one_rank_and_lets_the_label_count_where_it_is_not_kept() -> None:
    scores = torch.tensor([[3, 5, 3, 0], [0, 0, 0, 0]])
    law = zipf_distribution(scores, torch.tensor([[1], [0]]))
    expected = [[2 / 5, 0, 2 / 5, 1 / 5], [0, 1 / 3, 1 / 3, 1 / 3]]
    torch.testing.assert_close(law, torch.tensor(expected).double())


def test_zipf_votes_at_more_positions_of_a_map_that_is_enlarged() -> None:
    feature, classifier = torch.randn(2, 3, 2, 4), torch.randn(CLASSES, 3)
    enlarged = ZipfLoss(upsampling=2).votes(feature, classifier, torch.zeros(CLASSES))
    larger = functional.interpolate(feature, scale_factor=2, mode="bilinear")
    expected = functional.conv2d(larger, classifier[:, :, None, None]).argmax(dim=1).flatten(1)
    assert enlarged.shape == (2, 32)
    assert torch.equal(enlarged, expected)


def test_zipf_without_a_map_ranks_by_the_logits() -> None:
    student = torch.tensor([[3.0, 0.0, 1.0, 2.0]])
    w = torch.tensor([1 / 4, 1 / 3, 1 / 2]) / (13 / 12)
    expected = (w * (w.log() - student[0, 1:].log_softmax(dim=0))).sum()
    torch.testing.assert_close(ZipfLoss(weight=1.0)(student, torch.tensor([0])), expected)


def test_zipf_of_correct_samples_only_is_zero_without_any_and_their_mean_otherwise() -> None:
    student, loss = logits(2).requires_grad_(), ZipfLoss(only_correct=True)
    right = student.argmax(dim=1)
    wrong = (right + 1) % CLASSES
    value = loss(student, wrong)
    assert value == 0
    assert not gradient(value, student).any()
    mixed = torch.stack([right[0], wrong[1]])
    torch.testing.assert_close(loss(student, mixed), ZipfLoss()(student[:1], right[:1]))


def test_zipf_is_refused_with_a_map_and_no_classifier_and_with_one_of_another_width() -> None:
    student, target, feature = torch.randn(2, 4), torch.zeros(2, dtype=torch.long), torch.zeros(2, 3, 5, 5)
    with pytest.raises(ValueError, match=r"feature \(2, 3, 5, 5\) and no classifier do not fit"):
        ZipfLoss()(student, target, feature)
    with pytest.raises(ValueError, match=r"classifier \(4, 5\), \(4,\) do not fit"):
        ZipfLoss()(student, target, feature, torch.zeros(4, 5), torch.zeros(4))
