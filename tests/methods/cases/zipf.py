"""Zipf's label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.methods.common import class_mask, target_class
from tasks.methods.zipf import ZipfLoss, count_votes, zipf_distribution
from tests.methods.golden_file import Builder, Golden, GoldenFile, with_cross_entropy
from tests.methods.loss_case import CLASSES, Inputs, LossCase, labelled_inputs


class _FromVotes(nn.Module):
    """The loss where the votes are given instead of the feature map."""

    def __init__(self, loss: ZipfLoss, votes: Tensor) -> None:
        super().__init__()
        self.loss = loss
        self.votes = votes

    def forward(self, student_logits: Tensor, target: Tensor) -> Tensor:
        scores = count_votes(self.votes, student_logits.shape[1])
        return self.loss.from_scores(student_logits, target, scores)


def _zipf(inputs: GoldenFile) -> Golden:
    loss = ZipfLoss(inputs.number("weight"), only_correct=bool(inputs.number("only_correct")))
    module = _FromVotes(loss, inputs.tensor("votes")) if "votes" in inputs else loss
    case = with_cross_entropy(inputs, module, 1.0, inputs.target)
    run, logits = case.compute, case.leaves["student_logits"]
    label = target_class(inputs.target)
    scores = count_votes(inputs.tensor("votes"), logits.shape[1]) if "votes" in inputs else logits.detach()

    def with_distribution() -> dict[str, Tensor]:
        others = zipf_distribution(scores, label)[~class_mask(label, logits)]
        return run() | {"non_target_distribution": others.reshape(len(logits), -1).to(inputs.dtype)}

    case.compute = with_distribution
    return case


def zipf_inputs(images: int) -> Inputs:
    """The feature map and the classifier stand with the teacher's side: nothing flows into them either."""
    feature, weight = torch.randn(images, 4, 5, 7), torch.randn(CLASSES, 4)
    logits = functional.linear(feature.mean(dim=(2, 3)), weight)
    inputs = labelled_inputs(images)
    inputs.student = {"student_logits": logits}
    inputs.teacher = {
        "feature": feature,
        "classifier_weight": weight,
        "classifier_bias": torch.randn(CLASSES),
    }
    return inputs


GOLDEN: dict[str, Builder] = {
    "zipf": _zipf,
}

LOSSES: dict[type[nn.Module], LossCase] = {
    ZipfLoss: LossCase(ZipfLoss, zipf_inputs, ("student_logits", "feature"), (2, 5, 5, 7)),
}
