"""An epoch that begins in its middle: which batches follow, and which numbers are drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tasks.training.epoch_loop import batches_after
from tasks.training.random_state import random_state, set_random_state


class Counted(Dataset[int]):
    """Numbers, which know when they were loaded."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> int:
        self.loaded.append(index)
        return index


@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_of_an_undisturbed_epoch_follow_and_those_behind_are_not_loaded(workers: int):
    backwards, alive = range(11, -1, -1), workers > 0
    data = Counted()
    loader = DataLoader(data, 3, sampler=backwards, num_workers=workers, persistent_workers=alive)
    whole = [[11, 10, 9], [8, 7, 6], [5, 4, 3], [2, 1, 0]]
    assert [batch.tolist() for batch in batches_after(loader, 3)] == whole[3:]
    # What loader processes load, they do not tell here.
    assert data.loaded == ([] if workers else [2, 1, 0])
    # The next epoch is whole again, loader processes that live on included.
    assert [batch.tolist() for batch in batches_after(loader, 0)] == whole
    assert len(loader) == 4


def draw() -> list[Any]:
    return [random.random(), random.gauss(0, 1), np.random.normal(), *torch.rand(2).tolist()]


def test_what_is_drawn_goes_on_from_a_state():
    # One number of a pair of normal ones is kept for the next draw.
    random.gauss(0, 1), np.random.normal()
    state = random_state()
    drawn = draw()
    assert draw() != drawn
    set_random_state(state)
    assert draw() == drawn


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("python", "words", torch.zeros(3, dtype=torch.int64)),
        ("numpy", "position", 10**6),
        ("numpy", "words", torch.zeros(3, dtype=torch.int64)),
        ("torch", None, torch.zeros(3, dtype=torch.uint8)),
    ],
)
def test_what_is_no_state_is_refused(part: str, key: str | None, value: Any):
    state = random_state()
    if key is None:
        state[part] = value
    else:
        state[part][key] = value
    with pytest.raises((ValueError, RuntimeError)):
        set_random_state(state)
