"""An epoch-based training loop that can resume in the middle of an epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from tasks.training.random_state import set_random_state


class ResumingEpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch-based loop, whose first epoch may have completed iterations.

    The same batches follow as in an uninterrupted epoch: the sampler draws its order from the seed of the
    epoch, and completed batches are skipped without being loaded. If the training process itself loads the
    images, the same random numbers follow as well.
    """

    _behind = 0
    _random: dict[str, Any] | None = None

    def go_on(self, epoch: int, iteration: int, random: dict[str, Any] | None) -> None:
        """Sets where the training resumes.

        Args:
            epoch: number of completed epochs.
            iteration: number of completed iterations, over all epochs.
            random: the state of the random generators at that point; only needed in the middle of an epoch.
        """
        self._epoch, self._iter = epoch, iteration
        self._behind, self._random = iteration % len(self.dataloader), random

    def run_epoch(self) -> None:
        """Runs the remaining iterations of an epoch."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        behind, self._behind = self._behind, 0
        batches = batches_after(self.dataloader, behind)
        if behind and self._random is not None:
            # Only now, after everything that is drawn at the start of an epoch.
            set_random_state(self._random)
        for index, batch in enumerate(batches, start=behind):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


def batches_after(loader: DataLoader[Any], behind: int) -> Iterator[Any]:
    """Iterates over the batches of an epoch without its first ones, which are not loaded.

    Args:
        loader: of the training data.
        behind: how many batches to skip.
    """
    if not behind:
        return iter(loader)
    # A loader refuses another sampler, but an iterator keeps the one that it was created with. So loader
    # processes, which prefetch from the start, never see the skipped batches.
    sampler = loader.batch_sampler
    assert sampler is not None
    vars(loader)["batch_sampler"] = _Rest(sampler, behind)
    try:
        return iter(loader)
    finally:
        vars(loader)["batch_sampler"] = sampler


class _Rest:
    """A batch sampler that skips the first batches, once: persistent loader processes keep it."""

    def __init__(self, sampler: Iterable[Any], behind: int) -> None:
        self._sampler = sampler
        self._behind = behind

    def __iter__(self) -> Iterator[Any]:
        # An iterator with loader processes calls this twice, and draws only from the second iterator.
        behind, self._behind = self._behind, 0
        yield from itertools.islice(iter(self._sampler), behind, None)

    def __len__(self) -> int:
        return len(self._sampler)  # type: ignore[arg-type]  # samplers of batches have a length
