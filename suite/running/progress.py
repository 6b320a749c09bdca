"""Progress on standard error: live bars on a terminal, one line per event elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from suite.paths import work_dir
from suite.planning.plan import Run
from suite.running.events import News, RunEvent, Training, Waiting
from suite.store.run_folders import RunFolder

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


class Progress:
    """Shows runs done, the current epoch and loss of each run, and the time left."""

    def __init__(self, stream: TextIO | None = None, verbosity: int = 0) -> None:
        """Shows nothing yet.

        Args:
            stream: where lines go; None for what `sys.stderr` is when they are printed.
            verbosity: below 0 only problems are shown; above 0 also each start, with its log, and each epoch.
        """
        self._stream = stream
        self._verbosity = verbosity
        self._epochs: dict[str, int] = {}
        self._live: Bars | None = None
        self._tasks: dict[str, Any] = {}
        self._total = 0
        self._done = 0
        self._jobs = 1
        self._began = time.monotonic()
        self._started_at: dict[str, float] = {}
        self._seconds: list[float] = []

    def begin(self, total: int, skipped: int, jobs: int | None) -> None:
        """Says how many runs there are to execute, and how many run in parallel (None: no limit)."""
        left = total - skipped
        self._total, self._done, self._jobs = total, skipped, jobs or max(1, left)
        text = f"{total} runs: {skipped} recorded already, {left} to execute"
        self._note(text + (f", {jobs} side by side" if jobs and min(left, jobs) > 1 else ""))

    def __enter__(self) -> Progress:
        """Starts the live display on a terminal."""
        if sys.stderr.isatty() and self._verbosity >= 0:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._live = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._live.start()
            self._tasks["all"] = self._live.add_task(
                "all runs", total=self._total, completed=self._done, text=""
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the live display."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def started(self, run: Run) -> None:
        """Shows that a run was started, or restarted."""
        self._started_at[run.run_id] = time.monotonic()
        self._detail(f"{run.label}: starts; log {RunFolder(work_dir(), run.run_id).log}")
        self._remove_bar(run)
        if self._live is not None:
            self._tasks[run.run_id] = self._live.add_task(run.label, total=1.0, text="starting")

    def update(self, run: Run, event: RunEvent) -> None:
        """Shows an event of a run; its end is reported by `ended`."""
        if isinstance(event, News):
            self._say(f"suite: {run.label}: {event.text}")
        elif isinstance(event, Waiting):
            where = f" on {event.host}" if event.host else ""
            by = "another command" + (f" (process {event.holder}{where})" if event.holder else "")
            if self._live is None:
                self._note(f"{run.label}: {by} trains it; waiting for it")
            else:
                self._live.update(self._tasks[run.run_id], text=f"{by} trains it; waiting")
        elif isinstance(event, Training):
            step = event.step
            text = f"epoch {step.epoch}/{step.epochs}, loss {step.loss:.3f}"
            if self._live is not None:
                self._live.update(self._tasks[run.run_id], completed=step.done, text=text)
            if self._epochs.get(run.run_id) != step.epoch:
                self._epochs[run.run_id] = step.epoch
                self._detail(f"{run.label}: {text}")

    def set_aside(self, run: Run) -> None:
        """Shows that other runs go before one that another command trains."""
        self._detail(f"{run.label}: other runs go first")
        self._started_at.pop(run.run_id, None)
        self._remove_bar(run)

    def ended(self, run: Run, status: str, metrics: dict[str, float], error: str | None) -> None:
        """Shows that a run has ended: its metrics, or the error."""
        self._done += 1
        now = time.monotonic()
        seconds = now - self._started_at.pop(run.run_id, now)
        if status == "finished":
            self._seconds.append(seconds)
        where = f"[{self._done}/{self._total}] {run.label}"
        if error is None:
            result = ", ".join(f"{name} {value:.2f}" for name, value in metrics.items())
            self._note(f"{where}: {status} in {seconds:.0f} s, {result}{self._left()}")
        else:
            self._say(f"suite: {where}: {status} after {seconds:.0f} s: {error}")
        self._remove_bar(run)
        if self._live is not None:
            self._live.update(
                self._tasks["all"], completed=self._done, text=f"{self._done}/{self._total}{self._left()}"
            )

    def _remove_bar(self, run: Run) -> None:
        """Removes the live bar of a run, if it has one."""
        if self._live is not None and run.run_id in self._tasks:
            self._live.remove_task(self._tasks.pop(run.run_id))

    def _left(self) -> str:
        """The time left, estimated from the runs that finished so far; empty if it is not known."""
        left = self._total - self._done
        if not self._seconds or not left:
            return ""
        minutes = left * sum(self._seconds) / len(self._seconds) / self._jobs / 60
        return f", about {max(1, round(minutes))} min left"

    def _note(self, text: str) -> None:
        """Prints a message that is no problem."""
        if self._verbosity >= 0:
            self._say(text)

    def _detail(self, text: str) -> None:
        """Prints a message for verbose output only."""
        if self._verbosity > 0:
            self._say(text)

    def _say(self, text: str) -> None:
        if self._live is not None:
            # An error may contain what looks like markup, and stays on one line however long it is.
            self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, file=self._stream or sys.stderr, flush=True)
