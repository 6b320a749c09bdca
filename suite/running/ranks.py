"""The processes that execute one run together: rank 0 decides and records, the others follow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

_MARK = "TORCHELASTIC_RUN_ID"
"""Environment variable that torchrun sets in every process that it starts, besides the ranks below."""

_FOREVER = timedelta(days=365)
"""The others wait for as long as rank 0 waits for another command; when it dies, torchrun ends them."""

SECONDS_FOR_OTHERS = 5.0
"""How long rank 0 waits after an error before it records it. The death of another process may be the cause:
then torchrun ends this one in the meantime, and says which process failed first."""

SECONDS_FOR_FIRST = 30.0
"""How long another process waits after an error before it ends. Usually rank 0 has the same error and should
record it; if it has not, torchrun reports this one's."""


@dataclass(frozen=True)
class Rank:
    """Which of the processes of a run this is.

    Attributes:
        number: from 0; rank 0 owns the run's folder, and alone writes journal, resume points and record.
        size: how many there are.
        local: its rank on its machine, which is also the index of its GPU.
    """

    number: int = 0
    size: int = 1
    local: int = 0

    @property
    def follows(self) -> bool:
        """Whether another process decides."""
        return self.number > 0


ALONE = Rank()
"""A process that executes a run by itself."""


def started_by_torchrun() -> bool:
    """Whether torchrun has started this process or one of its ancestors."""
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
    """The processes of a run, as seen by one of them; a single process is a group too."""

    def __init__(self, rank: Rank, device: str) -> None:
        """Waits until all processes have joined.

        Args:
            rank: which one this is.
            device: `auto`, `cpu` or `cuda`; on GPUs each process uses the one with its local rank.
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
        """Tells the others whether the run is executed now; called by rank 0."""
        self._broadcast(executes)

    def follow(self) -> bool:
        """Waits for the decision of rank 0, and returns it; called by the others."""
        return self._broadcast(False)

    def _broadcast(self, executes: bool) -> bool:
        if self._control is None:
            return executes
        import torch
        from torch import distributed

        decision = torch.tensor([executes], dtype=torch.uint8)
        distributed.broadcast(decision, src=0, group=self._control)
        return bool(decision.item())
