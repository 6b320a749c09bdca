"""The audit tries the losses and features that were built: what no hyper-parameter shows is found by name."""

from __future__ import annotations

import pytest
from torch import Tensor
from torch.nn import functional

from suite.audit.compare import mismatches
from tasks.distillation.distiller import Distiller
from tasks.methods.nkd import NKDLoss
from tasks.methods.registry import register_loss
from tests.audit.auditing import Change, compared

NKD, MGD = "nkd-resnet18-nkd", "mgd-resnet18"


@register_loss("NKDWithTheTargetKept", version=1)
class NKDWithTheTargetKept(NKDLoss):
    """As released for three months: the other classes are compared with the target among them."""

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        log_p, q = student_logits.log_softmax(dim=1), teacher_logits.detach().softmax(dim=1)
        place = target.unsqueeze(1)
        own = -(q.gather(1, place) * log_p.gather(1, place)).mean()
        return own - self.gamma * (q * log_p).sum(dim=1).mean()


@register_loss("NKDOverEntries", version=1)
class NKDOverEntries(NKDLoss):
    """A mean over samples and classes, as a library's default reduction gives."""

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        q = teacher_logits.detach().softmax(dim=1)
        return functional.kl_div(student_logits.log_softmax(dim=1), q, reduction="sum") / q.numel()


def of_type(name: str) -> Change:
    def change(recipe):
        recipe["method"]["losses"]["nkd"]["type"] = name

    return change


def tap_before_the_relu(recipe):
    recipe["student"]["taps"]["feature"]["module"] = "backbone.layer4.1.conv2"


FAULTS = {
    "the target kept among the other classes": (
        NKD,
        of_type("NKDWithTheTargetKept"),
        "losses.nkd.observed.target_left_out",
    ),
    "a mean over samples and classes": (NKD, of_type("NKDOverEntries"), "losses.nkd.observed.averaged_over"),
    "features before the last ReLU": (MGD, tap_before_the_relu, "signs.student.feature"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_that_no_hyper_parameter_shows_is_found_with_its_source(fault, log):
    claim, change, setting = FAULTS[fault]
    found = {comparison.setting: comparison.source for comparison in mismatches(compared(log, change, claim))}
    assert found.get(setting)


@pytest.mark.parametrize("claim", [NKD, MGD])
def test_what_was_built_as_published_matches_in_what_was_observed(claim, log):
    found = {comparison.setting: comparison.verdict for comparison in compared(log, claim=claim)}
    observed = {name for name in found if "observed" in name or name.startswith("signs.")}
    assert observed
    assert found["teacher.mode"] == "match"
    assert {found[name] for name in observed} == {"match"}


def test_a_teacher_in_training_mode_is_found(log, monkeypatch):
    build = Distiller.__init__

    def in_training_mode(self, *args, **options):
        build(self, *args, **options)
        self.teacher.train()

    monkeypatch.setattr(Distiller, "__init__", in_training_mode)
    found = [comparison.setting for comparison in mismatches(compared(log, claim=MGD))]
    assert found == ["teacher.mode"]
