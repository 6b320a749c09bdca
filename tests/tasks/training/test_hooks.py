"""Hooks of the training loop: what a resumed run draws, and the losses of first steps."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tasks.training.hooks import EnoughStepsError, EpochSeedHook, FirstStepsHook


def drawn_by_a_loader_process(iteration: int, worker: int = 0, seed: int = 0, rank: int = 0) -> float | None:
    """The first number of a loader process of a run that starts at an iteration; None: mmengine seeds it."""
    loader = DataLoader(TensorDataset(torch.zeros(2)), num_workers=2)
    EpochSeedHook(seed).before_train(SimpleNamespace(iter=iteration, rank=rank, train_dataloader=loader))
    if loader.worker_init_fn is None:
        return None
    loader.worker_init_fn(worker)
    return torch.rand(1).item()


def test_loader_processes_of_a_resumed_run_draw_numbers_of_their_own():
    assert drawn_by_a_loader_process(0) is None
    first = drawn_by_a_loader_process(100)
    assert first == drawn_by_a_loader_process(100)
    others = [
        drawn_by_a_loader_process(200),
        drawn_by_a_loader_process(100, worker=1),
        drawn_by_a_loader_process(100, seed=1),
        drawn_by_a_loader_process(100, rank=1),
    ]
    assert len({first, *others}) == 5


def test_first_steps_keep_every_loss_and_end_the_training():
    hook = FirstStepsHook(2)
    hook.after_train_iter(None, 0, outputs={"loss": torch.tensor(2.5), "loss_kd": 1.0, "top1": 50.0})
    with pytest.raises(EnoughStepsError):
        hook.after_train_iter(None, 1, outputs={"loss": torch.tensor(1.5), "loss_kd": 0.5, "top1": 60.0})
    assert hook.losses == [{"loss": 2.5, "loss_kd": 1.0}, {"loss": 1.5, "loss_kd": 0.5}]
