"""What lies in the work folder: one folder a run, with its checkpoint, weights, log and lock."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from suite.store.files import is_locked

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

        For a checkpoint that was trained elsewhere, a link to it as it is.
        """
        return self.path / WEIGHTS_FILE

    @property
    def resume(self) -> Path:
        """The newest resume point: model, optimiser and schedule after the last whole epoch."""
        return self.path / RESUME_FILE

    @property
    def resume_before(self) -> Path:
        """The resume point before it, which is taken where the newest is no good."""
        return self.path / RESUME_BEFORE_FILE

    def drop_resume_points(self) -> None:
        """Forgets how far the training is: the next attempt starts anew."""
        self.resume.unlink(missing_ok=True)
        self.resume_before.unlink(missing_ok=True)

    @property
    def log(self) -> Path:
        """All that the run printed."""
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains the run."""
        return self.path / "lock"

    def is_running(self) -> bool:
        """Whether a process holds the run right now."""
        return is_locked(self.lock)

    def holder(self) -> int | None:
        """The process that holds the run, where the system tells; None elsewhere, and where nobody does."""
        return _holder_of(self.lock)


def lead_to(folder: RunFolder, checkpoint: Path) -> None:
    """Leads a run to weights of others: a link in its folder, where trained ones would lie."""
    folder.path.mkdir(parents=True, exist_ok=True)
    aside = folder.weights.with_name(f"{folder.weights.name}.{os.getpid()}")
    aside.symlink_to(checkpoint.resolve())
    aside.replace(folder.weights)


def _holder_of(lock: Path) -> int | None:
    """The process that holds a lock, as Linux lists them: by device and number of the file."""
    try:
        found = lock.stat()
        held = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in held.splitlines():
        match line.split():
            case [_, "FLOCK", _, _, process, at, *_] if at == place and int(process) > 0:
                return int(process)
    return None
