"""Losses on relations between instances, pixels and images: GID, SKDS and CIRKD.

GID with the head of a detector is in test_head_losses.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmengine.optim import build_optim_wrapper
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from suite.paths import ROOT
from tasks.methods.cirkd import CIRKDMemoryLoss, CIRKDMiniBatchLoss, Draws
from tasks.methods.gid import GIDLoss, _level_of
from tasks.methods.skds import (
    RELEASES,
    Critic,
    Release,
    SelfAttention,
    SKDSHolisticLoss,
    SKDSPairLoss,
    SKDSPixelLoss,
)
from tests.fake_gpu import FakeGPU
from tests.methods.cases.skds import ToyCritic


class Operations(TorchDispatchMode):
    """Counts the operations of tensors by name, and measures the largest new tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count[func.overloadpacket.__name__] += 1
        taken = [of.untyped_storage().data_ptr() for of in args if isinstance(of, Tensor)]
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in taken:
            self.largest = max(self.largest, result.numel())
        return result


def operations(run: Callable[[], Any]) -> Operations:
    seen = Operations()
    with seen:
        run()
    return seen


# GID


def gid_parts(instances: int, anchors: int) -> Tensor:
    """Selection, assignment, pooling and all four parts, in an image of 64 x 64 pixels."""
    torch.manual_seed(0)
    loss = GIDLoss(instances=instances, overlap=0.95, resolution=2)
    logits, taught = torch.randn(2, 1, anchors, 3)
    corners = 40 * torch.rand(1, anchors, 2)
    boxes = torch.cat([corners, corners + 12 + 10 * torch.rand(1, anchors, 2)], dim=2)
    found = loss.select(logits, taught, boxes, boxes, [(64, 64)])
    rois = [image.boxes for image in found]
    assert len(rois[0]) == instances
    pyramids = [[torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)] for _ in range(2)]
    own, other = (loss.pooled(pyramid, rois, [8, 16]) for pyramid in pyramids)
    assigned = loss.assigned(rois[0], boxes[0]).unsqueeze(0)
    deltas = torch.randn(2, 1, anchors, 4)
    return loss.combine(loss.terms(own, other, (logits, deltas[0]), (taught, deltas[1]), assigned))


def test_gid_has_no_loop_over_boxes_or_anchors() -> None:
    few = operations(lambda: gid_parts(instances=4, anchors=50))
    many = operations(lambda: gid_parts(instances=40, anchors=500))
    assert few.count == many.count


def test_gid_pools_a_box_from_the_level_of_its_size() -> None:
    sides = torch.tensor([10.0, 56.0, 111.9, 112.0, 223.0, 224.0, 447.0, 448.0, 896.0, 5000.0])
    boxes = torch.stack([torch.zeros(10), torch.zeros(10), sides, sides], dim=1)
    assert _level_of(boxes, [8, 16, 32, 64, 128]).tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 3, 4]
    # Fewer levels take what would belong to those that are missing.
    assert _level_of(boxes, [8, 16]).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_gid_prefers_the_box_of_the_model_that_is_more_certain() -> None:
    logits, taught = torch.tensor([[[2.0], [-2.0]]]), torch.tensor([[[-2.0], [2.0]]])
    own = torch.tensor([[[0.0, 0, 20, 20], [30, 0, 50, 20]]])
    (found,) = GIDLoss().select(logits, taught, own, own + torch.tensor([0, 30.0, 0, 30]), [(60, 60)])
    assert sorted(found.boxes.tolist()) == [[0, 0, 20, 20], [30, 30, 50, 50]]


def test_gid_with_instances_of_one_feature_is_finite() -> None:
    same = torch.ones(4, 3, 2, 2, requires_grad=True)
    teacher = torch.randn(4, 3, 2, 2)
    for own, other in ((same, teacher), (same, same.detach())):
        value = GIDLoss().relation(own, other)
        (gradient,) = torch.autograd.grad(value, same)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()
    assert value == 0


# SKDS


def skds_gradients(critic: nn.Module, logits: Tensor, taught: Tensor, **weights: Any) -> list[Tensor]:
    """The gradients of the student's logits and of the critic's parameters."""
    leaf = logits.clone().requires_grad_()
    loss = SKDSHolisticLoss(3, critic=critic, **weights)
    loss(leaf, taught, torch.full((len(logits), 1, 1, 1), 0.3)).backward()
    found = [leaf.grad, *(parameter.grad for parameter in critic.parameters())]
    critic.zero_grad()
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def test_the_critic_is_trained_by_its_own_term_and_the_student_by_its_own() -> None:
    torch.manual_seed(0)
    logits, taught = torch.randn(2, 2, 3, 8, 8)
    critic = ToyCritic(3)
    base = skds_gradients(critic, logits, taught)
    louder_student = skds_gradients(critic, logits, taught, weight=0.2)
    louder_critic = skds_gradients(critic, logits, taught, critic_weight=0.2)
    assert all(gradient.any() for gradient in base[:-1])
    torch.testing.assert_close(louder_student, [2 * base[0], *base[1:]])
    torch.testing.assert_close(louder_critic, [base[0], *(2 * of for of in base[1:])], atol=1e-6, rtol=1e-5)


def test_a_step_against_the_gradient_lets_the_critic_tell_the_teacher_from_the_student() -> None:
    torch.manual_seed(0)
    logits, taught = torch.randn(4, 3, 8, 8), 2 * torch.randn(4, 3, 8, 8) + 1
    objectives: list[Any] = ["wgan-gp", "hinge"]
    for objective in objectives:
        critic = ToyCritic(3)
        loss = SKDSHolisticLoss(3, penalty=0.1, objective=objective, critic=critic)
        optimizer = torch.optim.SGD(critic.parameters(), lr=0.5)
        gaps = []
        for _ in range(20):
            optimizer.zero_grad()
            loss(logits, taught).backward()
            optimizer.step()
            with torch.no_grad():
                gaps.append((critic(taught).mean() - critic(logits).mean()).item())
        assert gaps[-1] > gaps[0] + 0.5, objective


def test_the_gradient_penalty_is_drawn_from_the_seed() -> None:
    torch.manual_seed(0)
    critic, logits, taught = ToyCritic(3), torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    loss = SKDSHolisticLoss(3, critic=critic)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(loss.critic_term(logits, taught, None).item())
    assert values[0] == values[1] != values[2]


def test_a_critic_without_a_gradient_is_finite() -> None:
    critic = ToyCritic(3)
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)
    assert all(torch.isfinite(of).all() for of in skds_gradients(critic, *torch.randn(2, 1, 3, 8, 8)))


@pytest.mark.parametrize(
    ("size", "scores"), [((65, 65), (1, 1)), ((64, 128), (1, 5)), ((16, 32), (1, 1)), ((5, 130), (1, 5))]
)
def test_the_published_critic_takes_maps_of_any_size(size: tuple[int, int], scores: tuple[int, int]) -> None:
    torch.manual_seed(0)
    critic = Critic(3, width=8)
    logits, taught = torch.randn(2, 2, 3, *size)
    assert critic(logits).shape == (2, 1, *scores)
    assert all(torch.isfinite(of).all() for of in skds_gradients(critic, logits, taught))


def test_attention_of_the_critic_is_learnt_from_nothing() -> None:
    """Its factor starts at zero; with another one the scores depend on the attention."""
    torch.manual_seed(0)
    critic, maps = Critic(3, width=8).eval(), torch.randn(2, 3, 64, 64)
    factors = [of.gamma for of in critic.modules() if isinstance(of, SelfAttention)]
    assert [factor.item() for factor in factors] == [0.0, 0.0]
    before = critic(maps)
    nn.init.ones_(factors[0])
    assert not torch.allclose(critic(maps), before)


def test_the_holistic_loss_with_its_critic_stays_on_the_gpu() -> None:
    with FakeGPU().in_use():
        loss = SKDSHolisticLoss(3, objective="hinge")
        value = loss(torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(2, 3, 8, 8))
    assert (value.device.type, value.shape) == ("cuda", torch.Size())


def test_the_method_file_gives_the_critic_its_published_learning_rate() -> None:
    method = yaml.safe_load((ROOT / "suite/conf/method/skds.yaml").read_text())
    (name,) = (key for key, loss in method["losses"].items() if loss["type"] == "SKDSHolisticLoss")
    config = {"optimizer": {"type": "SGD", "lr": 0.01}, **method["published"]["config"]["optim_wrapper"]}
    distiller = nn.Module()
    distiller.student = nn.Linear(2, 2)
    distiller.losses = nn.ModuleDict({name: SKDSHolisticLoss(3)})
    groups = build_optim_wrapper(distiller, config).optimizer.param_groups
    rates = {id(of): group["lr"] for group in groups for of in group["params"]}
    assert {rates[id(of)] for of in distiller.student.parameters()} == {0.01}
    (critic,) = {rates[id(of)] for of in distiller.losses.parameters()}
    assert critic == pytest.approx(4e-4)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (5, 6)])
def test_flat_and_tiny_maps_have_finite_pairs(release: Release, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    feature = torch.randn(2, 4, *size)
    # One image has nothing in its left half, or anywhere.
    feature[0, :, :, : (size[1] + 1) // 2] = 0
    feature.requires_grad_()
    value = SKDSPairLoss(release)(feature, torch.randn(2, 6, *size))
    value.backward()
    assert torch.isfinite(value)
    assert feature.grad is not None
    # Not the reciprocal of what keeps a length from zero.
    assert feature.grad.abs().max() < 100


def test_pairs_and_pixels_of_an_exact_match() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 6, 7)
    for release in RELEASES:
        assert SKDSPairLoss(release)(logits, logits) == 0
        own = logits.clone().requires_grad_()
        value = SKDSPixelLoss(release)(own, logits)
        value.backward()
        assert own.grad is not None
        torch.testing.assert_close(own.grad, torch.zeros_like(logits), rtol=0, atol=1e-6)
        # The journal's version keeps the teacher's entropy.
        assert (value > 1) == (release == "journal")


def test_what_skds_does_not_know_is_refused() -> None:
    for loss in (SKDSPixelLoss, SKDSPairLoss):
        with pytest.raises(ValueError, match="release '2020' is unknown: use 'journal', 'cvpr2019', 'cirkd'"):
            loss(release="2020")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="objective 'lsgan' is unknown: use 'wgan-gp' or 'hinge'"):
        SKDSHolisticLoss(3, objective="lsgan")  # type: ignore[arg-type]


# CIRKD

IGNORED = 255


def memory(**options: Any) -> CIRKDMemoryLoss:
    torch.manual_seed(0)
    return CIRKDMemoryLoss(4, 6, 3, **({"pixels": 23, "regions": 5, "stored": 4} | options))


def batch(images: int = 2, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Maps of 5 x 7 positions; a fifth of the labels is ignored."""
    labels = torch.randint(classes, (images, 5, 7))
    labels = labels.masked_fill(torch.rand(labels.shape) < 0.2, IGNORED)
    return torch.randn(images, 4, 5, 7), torch.randn(images, 6, 5, 7), labels


def stored_one_by_one(
    loss: CIRKDMemoryLoss, keys: Tensor, labels: Tensor, draws: Draws, pointers: dict[str, list[int]]
) -> dict[str, Tensor]:
    """What the release does, entry by entry."""
    queues = {name: getattr(loss, f"{name}_queue").clone() for name in pointers}
    for image, features in enumerate(functional.normalize(keys.flatten(2), dim=1)):
        of_image = labels[image].flatten()
        for found in range(3):
            count = int((of_image == found).sum())
            if not count:
                continue
            mean = features[:, of_image == found].mean(dim=1)
            chosen = draws.stored[image, found, : min(count, loss.stored)]
            entries = {"region": [functional.normalize(mean, dim=0)], "pixel": list(features[:, chosen].T)}
            for name, new in entries.items():
                size, start = queues[name].shape[1], pointers[name][found]
                ends = start + len(new) >= size
                first = size - len(new) if ends else start
                for step, entry in enumerate(new):
                    queues[name][found, first + step] = entry
                pointers[name][found] = 0 if ends else start + len(new)
    return queues


@pytest.mark.parametrize("own_pixels", [False, True])
def test_queues_hold_what_is_stored_one_by_one_also_where_they_end(own_pixels: bool) -> None:
    loss = memory(own_pixels=own_pixels)
    pointers = {"pixel": [0, 0, 0], "region": [0, 0, 0]}
    ended = 0
    for step in range(8):
        student, teacher, labels = batch()
        # A class is missing in one image, and in another step in all.
        labels[0][labels[0] == step % 3] = IGNORED
        if step == 4:
            labels[labels == 1] = IGNORED
        draws = loss.draw(labels.flatten(1))
        expected = stored_one_by_one(loss, teacher, labels, draws, pointers)
        loss(student, teacher, labels, draws)
        for name, queue in expected.items():
            torch.testing.assert_close(getattr(loss, f"{name}_queue"), queue, rtol=0, atol=1e-6)
            assert getattr(loss, f"{name}_queue_ptr").tolist() == pointers[name]
        ended += 0 in pointers["pixel"]
    assert ended


def test_stored_pixels_are_the_first_of_the_map_as_released_or_those_of_their_class() -> None:
    labels = torch.tensor([[2] * 20 + [0] * 10 + [1] * 3 + [IGNORED] * 2])
    of_class = {0: set(range(20, 30)), 1: set(range(30, 33)), 2: set(range(20))}
    seen: dict[bool, dict[int, set[int]]] = {own: {0: set(), 1: set(), 2: set()} for own in (False, True)}
    for own, positions in seen.items():
        loss = memory(own_pixels=own)
        for _ in range(30):
            stored = loss.draw(labels).stored[0]
            for found, members in of_class.items():
                drawn = stored[found, : len(members)].tolist()
                assert len(set(drawn)) == min(len(members), 4)
                positions[found] |= set(drawn)
    assert seen[True] == of_class
    assert seen[False] == {found: set(range(len(members))) for found, members in of_class.items()}


def test_a_step_updates_the_queues_in_place_and_copies_neither() -> None:
    loss = memory(pixels=5000, regions=3000, drawn_pixels=30, drawn_regions=30)
    queues = [loss.pixel_queue, loss.region_queue]
    before = [queue.data_ptr() for queue in queues], [queue.clone() for queue in queues]
    student, teacher, labels = batch()
    seen = operations(lambda: loss(student.requires_grad_(), teacher, labels).backward())
    assert [loss.pixel_queue.data_ptr(), loss.region_queue.data_ptr()] == before[0]
    assert all(not torch.equal(queue, of) for queue, of in zip(queues, before[1], strict=True))
    # The permutations of the places are as long as a queue of one class, and no longer.
    assert seen.largest <= 5000 < min(queue.numel() for queue in queues)


def test_storing_has_no_loop_over_classes_or_pixels() -> None:
    def step(classes: int, stored: int) -> Callable[[], Any]:
        loss = CIRKDMemoryLoss(4, 6, classes, pixels=50, regions=5, stored=stored)
        inputs = batch(classes=classes)
        return lambda: loss(*inputs)

    assert operations(step(2, 3)).count == operations(step(30, 20)).count


def test_a_batch_of_ignored_pixels_is_zero_and_leaves_the_memory_alone() -> None:
    loss = memory()
    student, teacher, labels = batch()
    before = {name: of.clone() for name, of in loss.state_dict().items() if "queue" in name}
    value = loss(student.requires_grad_(), teacher, torch.full_like(labels, IGNORED))
    value.backward()
    assert value == 0
    assert student.grad is not None
    assert not student.grad.any()
    assert all(torch.equal(loss.state_dict()[name], of) for name, of in before.items())


def test_ignored_pixels_do_not_count() -> None:
    loss = memory().eval()
    student, teacher, labels = batch()
    draws = loss.draw(labels.flatten(1))
    values = []
    for other in (0.0, 5.0):
        loss = memory().eval()
        changed = torch.where(labels.unsqueeze(1) == IGNORED, student + other, student)
        values.append(loss(changed, teacher, labels, draws))
    assert values[0] == values[1]


def test_features_of_zeros_are_finite_across_images() -> None:
    student, teacher, labels = batch()
    student[0], teacher[1, :, 0] = 0, 0
    for loss, rest in ((CIRKDMiniBatchLoss(), ()), (memory(), (labels,))):
        leaf = student.clone().requires_grad_()
        value = loss(leaf, teacher, *rest)
        value.backward()
        assert torch.isfinite(value)
        assert leaf.grad is not None
        assert leaf.grad.abs().max() < 100


def test_what_does_not_fit_a_memory_is_refused() -> None:
    student, teacher, labels = batch()
    with pytest.raises(ValueError, match="stored 16 and pixels 8 do not fit"):
        CIRKDMemoryLoss(4, 6, 3, pixels=8)
    for wrong in (labels[:1], labels.unsqueeze(1)):
        with pytest.raises(ValueError, match=r"target .* and teacher \(2, 6, 5, 7\) do not fit"):
            memory()(student, teacher, wrong)


def test_the_entries_drawn_are_shared_among_the_classes_as_released() -> None:
    loss = CIRKDMemoryLoss(2, 2, 19)
    assert [loss.drawn_pixels, loss.drawn_regions] == [4096 // 19 + 1, 1024 // 19 + 1] == [216, 54]


def pixel_gradient(logits: Tensor, taught: Tensor, release: Release) -> Tensor:
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(SKDSPixelLoss(release)(leaf, taught), leaf)
    return gradient


def one_of_two(rank: int, folder: Path, inputs: tuple[Tensor, ...], draws: Draws) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    loss = memory()
    own = tuple(of[rank : rank + 1] for of in inputs)
    loss(*own, draws)
    found = {"pixel": loss.pixel_queue, "region": loss.region_queue}
    found |= {release: pixel_gradient(own[0], 2 * own[0], release) for release in RELEASES}
    torch.save(found, folder / f"{rank}.pth")
    distributed.destroy_process_group()


def test_two_processes_store_the_images_of_both_and_have_the_gradients_of_one(tmp_path: Path) -> None:
    loss, inputs = memory(), batch()
    draws = loss.draw(inputs[2].flatten(1))
    spawn(one_of_two, (tmp_path, inputs, draws), nprocs=2)
    loss(*inputs, draws)
    found = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1)]
    for of_rank in found:
        torch.testing.assert_close(of_rank["pixel"], loss.pixel_queue)
        torch.testing.assert_close(of_rank["region"], loss.region_queue)
    for release in RELEASES:
        # Gradients are averaged over the processes.
        both = torch.cat([of_rank[release] for of_rank in found]) / 2
        torch.testing.assert_close(both, pixel_gradient(inputs[0], 2 * inputs[0], release))
