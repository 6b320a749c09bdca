"""What a loss is, found out by trying it: planted ones that differ from the formula are told apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.distillation.probes import mode_of, observe_loss, sign_of, signs
from tasks.methods.cwd import ChannelWiseLogitLoss
from tasks.methods.dkd import DKDLoss
from tasks.methods.kd import KDLoss
from tasks.methods.nkd import NKDLoss
from tasks.methods.wsld import WSLDLoss

PAIR = ("student.logits", "teacher.logits")
WITH_TARGET = (*PAIR, "target")


class MeanOverEntries(nn.Module):
    """Distillation as a library's default reduction makes it: a mean over samples and classes."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        q = teacher.softmax(dim=1)
        return functional.kl_div(student.log_softmax(dim=1), q, reduction="sum") / q.numel()


class TargetKept(NKDLoss):
    """NKD as it was released for three months: the other classes are compared with the target among them."""

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        log_p, q = student_logits.log_softmax(dim=1), teacher_logits.softmax(dim=1)
        place = target.unsqueeze(1)
        own = -(q.gather(1, place) * log_p.gather(1, place)).mean()
        return own - self.gamma * (q * log_p).sum(dim=1).mean()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(
    ("loss", "inputs"),
    [(KDLoss, PAIR), (DKDLoss, WITH_TARGET), (NKDLoss, WITH_TARGET), (WSLDLoss, WITH_TARGET)],
)
def test_losses_of_the_suite_are_means_over_samples(loss, inputs, temperature):
    assert observe_loss(loss(temperature=temperature), inputs)["averaged_over"] == "samples"


def test_a_mean_over_samples_and_classes_is_told_apart():
    assert observe_loss(MeanOverEntries(), PAIR) == {"averaged_over": "samples and classes"}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_nkd_leaves_the_target_out_and_its_unmasked_release_does_not(temperature):
    assert observe_loss(NKDLoss(temperature), WITH_TARGET)["target_left_out"] is True
    assert observe_loss(TargetKept(temperature), WITH_TARGET)["target_left_out"] is False


def test_the_order_of_the_inputs_is_the_one_of_the_method_file():
    class Reversed(KDLoss):
        def forward(self, teacher: Tensor, student: Tensor) -> Tensor:
            return super().forward(student, teacher)

    assert observe_loss(Reversed(), PAIR[::-1]) == observe_loss(KDLoss(), PAIR)


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (ChannelWiseLogitLoss(), PAIR),
        (KDLoss(), ("student.logits", "teacher.logits", "student.feature")),
        (nn.Bilinear(8, 8, 1), PAIR),
        (MeanOverEntries(), ("student.logits", "target")),
    ],
    ids=["class maps", "a feature too", "it learns", "no teacher"],
)
def test_what_is_no_loss_between_two_sets_of_scores_is_not_tried(loss, inputs):
    assert observe_loss(loss, inputs) == {}


def test_trying_a_loss_draws_nothing_from_the_generator_of_the_training():
    class Noisy(KDLoss):
        def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
            return super().forward(student_logits, teacher_logits) + 0 * torch.rand(())

    before = torch.get_rng_state()
    observe_loss(Noisy(), PAIR)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_feature_behind_a_relu_is_not_negative_on_any_level():
    maps = [torch.ones(1, 2, 3, 3), torch.zeros(1, 2, 1, 1)]
    assert sign_of(maps) == "not negative"
    assert sign_of([*maps, -maps[0]]) == "any sign"
    assert signs({"student.neck": maps, "teacher.neck": -maps[0]}) == {
        "student": {"neck": "not negative"},
        "teacher": {"neck": "any sign"},
    }


def test_one_part_in_training_mode_is_a_teacher_in_training_mode():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()).eval()
    assert mode_of(model) == "evaluation"
    model[0].train()
    assert mode_of(model) == "training"
