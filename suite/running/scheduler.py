"""What may start, in which order, who waits for whom, and what a failure blocks.

Nothing here starts anything: whoever does tells how a run has ended, and is told what that changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Scheduler:
    """The runs of a plan that are still open, from the first that starts to the last that ends.

    A run waits for those that it needs (its teacher, and the run whose backbone it starts from) while they
    are open; what is not among the open runs is there already.
    """

    def __init__(
        self, needs: Mapping[str, Collection[str]], places: int | None, queued: bool = False
    ) -> None:
        """Takes the open runs; none has started.

        Args:
            needs: open run -> the runs that must have finished before it; in the order in which they start. A
                run stands behind those that it needs.
            places: how many go at one time; None: as many as may.
            queued: whether whoever starts a run lets it wait for what it needs, so that it may start before.

        Raises:
            ValueError: there is not a single place, or a run stands behind one that needs it.
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

    @property
    def done(self) -> bool:
        """Whether every run has ended, or is blocked."""
        return not self._waiting and not self._running

    @property
    def waits_for(self) -> dict[str, list[str]]:
        """Run that waits -> the open runs that have to finish before it starts."""
        open_runs = self._running.union(self._waiting)
        found = {run_id: [one for one in self._needs[run_id] if one in open_runs] for run_id in self._waiting}
        return {run_id: needed for run_id, needed in found.items() if needed}

    def next(self) -> str | None:
        """The run that starts now, taken out of those that wait; None where none may, or no place is free."""
        if self._places is not None and len(self._running) >= self._places:
            return None
        waits_for = {} if self._queued else self.waits_for
        run_id = next((run_id for run_id in self._waiting if run_id not in waits_for), None)
        if run_id is not None:
            self._waiting.remove(run_id)
            self._running.add(run_id)
        return run_id

    def finished(self, run_id: str) -> None:
        """Takes in that a run is through; nothing waits for it any longer."""
        self._running.remove(run_id)

    def failed(self, run_id: str) -> dict[str, str]:
        """Takes in that a run failed, or is blocked.

        Returns:
            Run that can never start -> the run that it needs and that did not finish; what needs such runs is
            among them. A run that was started before those that it needs had finished ends by itself.
        """
        self._running.remove(run_id)
        lost, blocked = {run_id}, {}
        # In the order of the plan, a run is met behind those that it needs.
        for waiting in list(self._waiting):
            missing = next((needed for needed in self._needs[waiting] if needed in lost), None)
            if missing is not None:
                lost.add(waiting)
                blocked[waiting] = missing
                self._waiting.remove(waiting)
        return blocked
