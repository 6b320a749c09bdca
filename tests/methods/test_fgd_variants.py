"""FGD's ablations: each is FGD with one part changed, and no more than that part."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.methods import FGDLoss
from tasks.methods.fgd_ablation import FGDAblationLoss
from tasks.methods.non_local import NonLocalBlock

Module = TypeVar("Module", bound=nn.Module)

WEIGHTS = {"temperature": 0.8, "alpha": 0.3, "beta": 0.2, "gamma": 0.7, "lambda_": 0.05}
SIZE = (5, 7)
BOXES = [torch.tensor([[3.0, 4.0, 20.0, 30.0], [10.0, 2.0, 50.0, 12.0]]), torch.zeros(0, 4)]
SHAPES = [(40, 56), (40, 56)]


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    student, teacher = torch.randn(2, 2, 6, *SIZE, dtype=torch.float64)
    return student.requires_grad_(), teacher


def ablation(**choices: Any) -> FGDAblationLoss:
    torch.manual_seed(7)
    return stirred(FGDAblationLoss(6, 6, **{**WEIGHTS, **choices}))


def fgd(**weights: float) -> FGDLoss:
    torch.manual_seed(7)
    return stirred(FGDLoss(6, 6, **{**WEIGHTS, **weights}))


def stirred(loss: Module) -> Module:
    """The loss in float64 with no parameter left at zero, as in the middle of a training."""
    loss.double()
    torch.manual_seed(9)
    for parameter in loss.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return loss


def outcome(loss: nn.Module, pair: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Value and gradients."""
    student, teacher = pair
    value = loss(student, teacher, BOXES, SHAPES)
    return [value, *torch.autograd.grad(value, [student, *loss.parameters()])]


def plain_attentions(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """``N x 1 x H x W`` and ``N x C x 1 x 1``."""
    images, channels, height, width = features.shape
    spatial = (features.abs().mean(dim=1).flatten(1) / temperature).softmax(dim=1) * height * width
    channel = (features.abs().mean(dim=(2, 3)) / temperature).softmax(dim=1) * channels
    return spatial.view(images, 1, height, width), channel.view(images, channels, 1, 1)


def test_with_every_choice_left_alone_it_is_fgd(pair):
    ours, theirs = FGDAblationLoss(4, 6), FGDLoss(4, 6)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [getattr(ours, name) for name in WEIGHTS] == [getattr(theirs, name) for name in WEIGHTS]
    torch.testing.assert_close(outcome(ablation(), pair), outcome(fgd(), pair))
    torch.manual_seed(1)
    drawn = FGDAblationLoss(4, 6).state_dict()
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, FGDLoss(4, 6).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("choices", "weights"),
    [
        ({"regions": "foreground"}, {"beta": 0.0}),
        ({"regions": "background"}, {"alpha": 0.0}),
        ({"alpha": 0.0, "beta": 0.0, "gamma": 0.0}, {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}),
        ({"gamma": 0.0}, {"gamma": 0.0}),
    ],
    ids=["foreground", "background", "global", "no attention term"],
)
def test_a_part_alone_is_fgd_with_the_other_weights_at_zero(pair, choices, weights):
    torch.testing.assert_close(outcome(ablation(**choices), pair), outcome(fgd(**weights), pair))


def test_the_focal_loss_alone_is_fgd_without_its_relation_term(pair):
    student, teacher = pair
    loss = ablation(lambda_=0.0)
    assert list(loss.terms(student, teacher, BOXES, SHAPES)) == ["foreground", "background", "attention"]
    # The blocks of FGD get gradients of zero.
    torch.testing.assert_close(outcome(loss, pair), outcome(fgd(lambda_=0.0), pair)[:2])


def test_the_whole_map_weighs_every_cell_alike_and_knows_no_boxes(pair):
    student, teacher = pair
    loss = ablation(regions="whole", gamma=0.0, lambda_=0.0)
    spatial, channel = plain_attentions(teacher, loss.temperature)
    error = (spatial * channel * (teacher - student).square()).mean(dim=(2, 3)).sum() / 2
    value = loss(student, teacher, BOXES, SHAPES)
    torch.testing.assert_close(value, 0.3 * error)
    without = [torch.zeros(0, 4)] * 2
    assert loss(student, teacher, without, SHAPES) == value
    # With no box anywhere the background is the whole map.
    background = ablation(regions="background", beta=0.3, gamma=0.0, lambda_=0.0)
    torch.testing.assert_close(background(student, teacher, without, SHAPES), value)


@pytest.mark.parametrize("kept", ["spatial", "channel"])
def test_one_attention_alone_weighs_and_is_compared_alone(pair, kept):
    student, teacher = pair
    loss = ablation(attention=kept, regions="whole", lambda_=0.0)
    index = ["spatial", "channel"].index(kept)
    of_teacher = plain_attentions(teacher, loss.temperature)[index]
    of_student = plain_attentions(student, loss.temperature)[index]
    terms = loss.terms(student, teacher, BOXES, SHAPES)
    torch.testing.assert_close(
        terms["whole"], (of_teacher * (teacher - student).square()).mean(dim=(2, 3)).sum() / 2
    )
    torch.testing.assert_close(terms["attention"], (of_student - of_teacher).abs().sum() / 2)


@pytest.mark.parametrize("choices", [{}, {"regions": "foreground"}, {"regions": "whole"}])
def test_the_loss_is_the_weighted_sum_of_the_terms_that_have_a_weight(pair, choices):
    loss = ablation(**choices)
    terms = loss.terms(pair[0], pair[1], BOXES, SHAPES)
    assert terms.keys() == loss.weights.keys()
    assert all(term.item() > 0 for term in terms.values())
    value = sum(weight * terms[name] for name, weight in loss.weights.items())
    torch.testing.assert_close(loss(*pair, BOXES, SHAPES), value)


@pytest.mark.parametrize(
    "choices",
    [
        {"lambda_": 0.0, "regions": "split"},
        {"lambda_": 0.0, "regions": "foreground"},
        {"lambda_": 0.0, "attention": "channel"},
        {"lambda_": 0.0, "relation": "nonlocal"},
        {"alpha": 0.0, "beta": 0.0, "gamma": 0.0, "relation": "gc"},
        {"alpha": 0.0, "beta": 0.0, "gamma": 0.0, "relation": "nonlocal"},
    ],
    ids=str,
)
def test_a_term_with_weight_zero_is_not_computed_and_has_no_parameters(choices):
    torch.manual_seed(3)
    loss = stirred(FGDAblationLoss(4, 6, **{**WEIGHTS, **choices}))
    loss.reset_parameters()
    student, teacher = torch.randn(2, 4, *SIZE).double(), torch.randn(2, 6, *SIZE).double()
    terms = loss.terms(student, teacher, BOXES, SHAPES)
    assert not any(WEIGHTS.keys() & choices.keys() & _weights_of(name) for name in terms)
    loss(student, teacher, BOXES, SHAPES).backward()
    # Under DistributedDataParallel a parameter without a gradient would stop the training.
    assert all(parameter.grad is not None for parameter in loss.parameters())
    of_the_relation = [name for name, _ in loss.named_parameters() if not name.startswith("align.")]
    assert bool(of_the_relation) == ("relation" in terms)


def _weights_of(term: str) -> set[str]:
    return {
        {
            "foreground": "alpha",
            "whole": "alpha",
            "background": "beta",
            "attention": "gamma",
            "relation": "lambda_",
        }[term]
    }


def test_the_relation_by_non_local_blocks_starts_as_the_plain_difference(pair):
    student, teacher = pair
    loss = FGDAblationLoss(6, 6, alpha=0.0, beta=0.0, gamma=0.0, lambda_=0.5, relation="nonlocal").double()
    value = loss(student, teacher, BOXES, SHAPES)
    torch.testing.assert_close(value, 0.5 * (student - teacher).square().sum() / 2)


def test_student_and_teacher_have_their_own_non_local_blocks_and_both_are_trained(pair):
    student, teacher = pair
    loss = ablation(alpha=0.0, beta=0.0, gamma=0.0, relation="nonlocal")
    assert {name.partition(".")[0] for name, _ in loss.named_parameters()} == {"non_local_s", "non_local_t"}
    value, *gradients = outcome(loss, pair)
    expected = loss.non_local_s(student.flatten(2)) - loss.non_local_t(teacher.flatten(2))
    torch.testing.assert_close(value, 0.05 * expected.square().sum() / 2)
    # The bias of phi adds the same to every product of a position, which the softmax takes away.
    names = ["student", *(name for name, _ in loss.named_parameters())]
    small = {name for name, found in zip(names, gradients, strict=True) if found.abs().max() < 1e-12}
    assert small == {"non_local_s.phi.bias", "non_local_t.phi.bias"}


def test_a_non_local_block_relates_every_position_to_every_other():
    torch.manual_seed(2)
    block = stirred(NonLocalBlock(6))
    features = torch.randn(2, 6, 35).double()
    found = block(features)
    for image, one in zip(features, found, strict=True):

        def embedded(layer: nn.Conv1d, image: Tensor = image) -> Tensor:
            return nn.functional.conv1d(image, layer.weight, layer.bias)

        scores = embedded(block.theta).T @ embedded(block.phi)
        gathered = embedded(block.g) @ scores.softmax(dim=1).T
        torch.testing.assert_close(one, image + embedded(block.out, gathered))


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation gives."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor):
                self.values = max(self.values, tensor.numel())
        return found


def test_a_non_local_block_never_holds_the_products_of_all_positions():
    block, features = NonLocalBlock(4), torch.randn(1, 4, 500, requires_grad=True)
    with Largest() as largest:
        block(features).square().sum().backward()
    assert largest.values < 500 * 500


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        (
            {"regions": "all"},
            "regions 'all' is unknown: use one of 'split', 'foreground', 'backgr",
        ),
        ({"attention": "none"}, "attention 'none' is unknown: use one of 'both', 'spatial', 'channel'"),
        ({"relation": "gcb"}, "relation 'gcb' is unknown: use one of 'gc', 'nonlocal'"),
        ({"regions": "background", "beta": 0.0, "gamma": 0.0, "lambda_": 0.0}, "every term of regions"),
    ],
    ids=str,
)
def test_a_choice_that_means_nothing_is_refused(choices, says):
    with pytest.raises(ValueError, match=says):
        FGDAblationLoss(4, 6, **choices)
