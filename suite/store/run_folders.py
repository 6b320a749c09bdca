"""The run folders in the work folder: one per run, with request, checkpoints, weights, log and owner."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from suite.store.ownership import Owner, owner_of

WEIGHTS_FILE = "weights.pth"
RESUME_FILE = "resume.pth"
RESUME_BEFORE_FILE = "resume-before.pth"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        work: the work folder.
        run_id: the run.
    """

    work: Path
    run_id: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.work / "runs" / self.run_id

    @property
    def weights(self) -> Path:
        """The trained student's weights, under the keys of the plain zoo model.

        For a checkpoint that was trained elsewhere, a link to the unchanged file.
        """
        return self.path / WEIGHTS_FILE

    @property
    def resume(self) -> Path:
        """The newest resume point: the state of model, optimiser and schedule."""
        return self.path / RESUME_FILE

    @property
    def resume_before(self) -> Path:
        """The resume point before it, which is used if the newest is unusable."""
        return self.path / RESUME_BEFORE_FILE

    def drop_resume_points(self) -> None:
        """Deletes the resume points: the next attempt starts anew."""
        self.resume.unlink(missing_ok=True)
        self.resume_before.unlink(missing_ok=True)

    @property
    def request(self) -> Path:
        """The latest request for the run: what to execute, and how (`suite.running.request`).

        The file keeps its first name, so that runs interrupted under earlier versions resume.
        """
        return self.path / "order.json"

    @property
    def submission(self) -> Path:
        """The cluster job that the run was last submitted as (`suite.running.submissions`)."""
        return self.path / "submission.json"

    @property
    def log(self) -> Path:
        """The file of everything that the run printed."""
        return self.path / "log.txt"

    def log_of(self, rank: int) -> Path:
        """The log of one of several processes that execute the run together."""
        return self.path / f"log-{rank}.txt" if rank else self.log

    @property
    def events(self) -> Path:
        """How far the run is, line by line (`suite.running.heartbeats`)."""
        return self.path / "events.jsonl"

    @property
    def ownership(self) -> Path:
        """The folder that says which process executes the run (`suite.store.ownership`)."""
        return self.path / "owner"

    def owner(self) -> Owner | None:
        """The process that executes the run right now, on any machine; None if none does."""
        return owner_of(self.ownership)


def lead_to(folder: RunFolder, checkpoint: Path) -> None:
    """Links a run to weights that were trained elsewhere, in place of its own."""
    folder.path.mkdir(parents=True, exist_ok=True)
    aside = folder.weights.with_name(f"{folder.weights.name}.{os.getpid()}")
    aside.symlink_to(checkpoint.resolve())
    aside.replace(folder.weights)
