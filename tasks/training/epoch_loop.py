"""A loop over epochs that can begin in the middle of one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from tasks.training.random_state import set_random_state


class ResumingEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, whose first epoch may have iterations behind it.

    The same batches follow as in an epoch that was never left: the sampler draws its order from the seed of
    the epoch, and what is behind is passed over without being loaded. Where the process that trains loads the
    images, the same random numbers follow as well.
    """

    _behind = 0
    _random: dict[str, Any] | None = None

    def go_on(self, epoch: int, iteration: int, random: dict[str, Any] | None) -> None:
        """Goes on from a place in the training.

        Args:
            epoch: how many epochs are behind it.
            iteration: how many iterations are, of all epochs together.
            random: the state of the generators there; needed in the middle of an epoch only.
        """
        self._epoch, self._iter = epoch, iteration
        self._behind, self._random = iteration % len(self.dataloader), random

    def run_epoch(self) -> None:
        """Makes the iterations of an epoch that are not behind."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        behind, self._behind = self._behind, 0
        batches = batches_after(self.dataloader, behind)
        if behind and self._random is not None:
            # After all that is drawn as an epoch begins.
            set_random_state(self._random)
        for index, batch in enumerate(batches, start=behind):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


def batches_after(loader: DataLoader[Any], behind: int) -> Iterator[Any]:
    """The batches of an epoch without its first ones, which are not loaded.

    Args:
        loader: of the training data.
        behind: how many batches to leave out.
    """
    if not behind:
        return iter(loader)
    # A loader takes no other sampler, but an iterator keeps the one that it is made with. So loader
    # processes, which fetch ahead from the first moment, never see what is behind.
    sampler = loader.batch_sampler
    assert sampler is not None
    vars(loader)["batch_sampler"] = _Rest(sampler, behind)
    try:
        return iter(loader)
    finally:
        vars(loader)["batch_sampler"] = sampler


class _Rest:
    """A sampler of batches that leaves out the first ones, once: persistent loader processes keep it."""

    def __init__(self, sampler: Iterable[Any], behind: int) -> None:
        self._sampler = sampler
        self._behind = behind

    def __iter__(self) -> Iterator[Any]:
        # An iterator with loader processes asks for this twice, and draws from the second alone.
        behind, self._behind = self._behind, 0
        yield from itertools.islice(iter(self._sampler), behind, None)

    def __len__(self) -> int:
        return len(self._sampler)  # type: ignore[arg-type]  # samplers of batches have a length
