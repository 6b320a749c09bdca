"""Decides which runs may start, in which order, which wait for which, and what a failure blocks.

Nothing here starts anything: the caller does, reports how each run has ended, and learns what that changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Scheduler:
    """Schedules the runs of a plan that are still open.

    A run waits for those that it needs (its teacher, and the run whose backbone it starts from) while they
    are open; a run that is not among the open ones has finished already.
    """

    def __init__(
        self, needs: Mapping[str, Collection[str]], places: int | None, queued: bool = False
    ) -> None:
        """Takes the open runs; none has started.

        Args:
            needs: open run -> the runs that must finish before it starts; in the order in which they start,
                each run after those that it needs.
            places: how many run at the same time; None for no limit.
            queued: whether runs wait for what they need in a queue, so that they may be submitted before.

        Raises:
            ValueError: `places` is less than 1, or a run comes before one that it needs.
        """
        if places is not None and places < 1:
            raise ValueError(f"there must be a place for at least one run, got {places}")
        self._needs = dict(needs)
        order = {run_id: number for number, run_id in enumerate(self._needs)}
        for run_id, needed in self._needs.items():
            for other in needed:
                if order.get(other, -1) >= order[run_id]:
                    raise ValueError(f"{run_id} needs {other}, which stands behind it")
        self._places = places
        self._queued = queued
        self._waiting = list(self._needs)
        self._running: set[str] = set()
        self._set_aside: set[str] = set()

    @property
    def done(self) -> bool:
        """Whether every run has ended, or is blocked."""
        return not self._waiting and not self._running

    @property
    def waits_for(self) -> dict[str, list[str]]:
        """Waiting run -> the open runs that have to finish before it starts."""
        open_runs = self._running.union(self._waiting)
        found = {run_id: [one for one in self._needs[run_id] if one in open_runs] for run_id in self._waiting}
        return {run_id: needed for run_id, needed in found.items() if needed}

    @property
    def held_up(self) -> bool:
        """Whether a run that was never set aside could start now if a place were free."""
        return self._full and not self._set_aside.issuperset(self._ready())

    def next(self) -> str | None:
        """Takes the next run that may start from those waiting; None if none may, or no place is free."""
        run_id = None if self._full else next(iter(self._ready()), None)
        if run_id is not None:
            self._waiting.remove(run_id)
            self._running.add(run_id)
        return run_id

    @property
    def _full(self) -> bool:
        return self._places is not None and len(self._running) >= self._places

    def _ready(self) -> list[str]:
        """The waiting runs that may start, in the order in which they do."""
        waits_for = {} if self._queued else self.waits_for
        return [run_id for run_id in self._waiting if run_id not in waits_for]

    def set_aside(self, run_id: str) -> None:
        """Notes that a run has left its place, since another command trains it; all others start first."""
        self._running.remove(run_id)
        self._set_aside.add(run_id)
        self._waiting.append(run_id)

    def finished(self, run_id: str) -> None:
        """Notes that a run has finished; nothing waits for it any longer."""
        self._running.remove(run_id)

    def failed(self, run_id: str) -> dict[str, str]:
        """Notes that a run failed, or is blocked.

        Returns:
            Run that can never start -> the run that it needs and that did not finish; runs that need such a
            run are included. A run that is in a queue already, where it waits for what it needs, is not: it
            ends by itself.
        """
        self._running.remove(run_id)
        lost, blocked = {run_id}, {}
        # Each run comes after those that it needs, except one set aside: it has started, so it lacks nothing.
        for waiting in list(self._waiting):
            missing = next((needed for needed in self._needs[waiting] if needed in lost), None)
            if missing is not None:
                lost.add(waiting)
                blocked[waiting] = missing
                self._waiting.remove(waiting)
        return blocked
