"""Processes that execute one run together: the first decides and records, the others follow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

_MARK = "TORCHELASTIC_RUN_ID"
"""What torchrun sets in the environment of every process that it starts, beside the numbers below."""

_FOREVER = timedelta(days=365)
"""Others follow as long as the first waits for another command; when it dies, torchrun ends them."""

SECONDS_FOR_OTHERS = 5.0
"""How long the first waits with an error before it records it. It may come from the end of another process:
then torchrun ends this one meanwhile, and says which process was the first to go."""

SECONDS_FOR_FIRST = 30.0
"""How long another process waits with an error before it ends. The first has met the same one, mostly, and is
to record it; where it has not, torchrun tells this one's."""


@dataclass(frozen=True)
class Rank:
    """Which of the processes of a run this is.

    Attributes:
        number: from 0; the first owns the run's folder, and alone writes journal, resume points and record.
        size: how many there are.
        local: its number on its machine, which is that of its GPU.
    """

    number: int = 0
    size: int = 1
    local: int = 0

    @property
    def follows(self) -> bool:
        """Whether another one decides."""
        return self.number > 0


ALONE = Rank()
"""A process that executes a run by itself."""


def started_by_torchrun() -> bool:
    """Whether torchrun has started this process, or one that has started it."""
    return _MARK in os.environ


def this_rank() -> Rank:
    """Which of the processes of torchrun this is."""
    if not started_by_torchrun():
        return ALONE
    return Rank(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))


def tell_torchrun(error: Exception) -> None:
    """Leaves an error where torchrun looks for it when this process ends."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)


class Group:
    """The processes of a run, from one of them; a process alone is a group too."""

    def __init__(self, rank: Rank, device: str) -> None:
        """Waits until all are there.

        Args:
            rank: which one this is.
            device: `auto`, `cpu` or `cuda`; on GPUs each process has the one of its number.
        """
        self.rank = rank
        self._control: Any = None
        if rank.size == 1:
            return
        import torch
        from torch import distributed

        on_gpu = device != "cpu" and torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(rank.local)
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if on_gpu else "gloo")
        self._control = distributed.new_group(backend="gloo", timeout=_FOREVER)

    def decide(self, executes: bool) -> None:
        """Tells the others whether the run is executed now; called by the first."""
        self._broadcast(executes)

    def follow(self) -> bool:
        """Waits for the decision of the first, and returns it; called by the others."""
        return self._broadcast(False)

    def _broadcast(self, executes: bool) -> bool:
        if self._control is None:
            return executes
        import torch
        from torch import distributed

        decision = torch.tensor([executes], dtype=torch.uint8)
        distributed.broadcast(decision, src=0, group=self._control)
        return bool(decision.item())
