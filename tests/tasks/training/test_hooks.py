"""Hooks of the training loop: what a resumed run draws."""

from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader, TensorDataset

from tasks.training.hooks import EpochSeedHook


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
