"""What may start, in which order, who waits for whom, and what a failure blocks.

Nothing here starts anything: whoever does tells how a run has ended, and is told what that changes.
"""

from __future__ import annotations

from collections.abc import Mapping


class Scheduler:
    """The runs of a plan that are still open, from the first that starts to the last that ends.

    A run whose teacher is open too waits for it; a teacher that is not among the open runs is there already.
    """

    def __init__(self, teachers: Mapping[str, str | None], places: int | None, queued: bool = False) -> None:
        """Takes the open runs; none has started.

        Args:
            teachers: open run -> the run that teaches it, if any; in the order in which they start. A teacher
                stands before its students.
            places: how many go at one time; None: as many as may.
            queued: whether whoever starts a run lets it wait for its teacher, so that it may start before.

        Raises:
            ValueError: there is not a single place, or a teacher stands behind a student of its own.
        """
        if places is not None and places < 1:
            raise ValueError(f"there must be a place for at least one run, got {places}")
        self._teachers = dict(teachers)
        order = {run_id: number for number, run_id in enumerate(self._teachers)}
        for run_id, teacher in self._teachers.items():
            if teacher is not None and order.get(teacher, -1) >= order[run_id]:
                raise ValueError(f"{teacher} teaches {run_id} and stands behind it")
        self._places = places
        self._queued = queued
        self._waiting = list(self._teachers)
        self._running: set[str] = set()

    @property
    def done(self) -> bool:
        """Whether every run has ended, or is blocked."""
        return not self._waiting and not self._running

    @property
    def waits_for(self) -> dict[str, str]:
        """Run that waits -> the open run that has to finish before it starts."""
        open_runs = self._running.union(self._waiting)
        teachers = ((run_id, self._teachers[run_id]) for run_id in self._waiting)
        return {run_id: teacher for run_id, teacher in teachers if teacher in open_runs}

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
        """Takes in that a run is through; its students wait no longer."""
        self._running.remove(run_id)

    def failed(self, run_id: str) -> dict[str, str]:
        """Takes in that a run failed, or is blocked.

        Returns:
            Run that can never start -> its teacher that did not finish; students of students among them. A
            student that was started before its teacher had finished ends by itself.
        """
        self._running.remove(run_id)
        lost, blocked = {run_id}, {}
        # In the order of the plan, a teacher is met before its students.
        for student in list(self._waiting):
            teacher = self._teachers[student]
            if teacher in lost:
                lost.add(student)
                blocked[student] = str(teacher)
                self._waiting.remove(student)
        return blocked
