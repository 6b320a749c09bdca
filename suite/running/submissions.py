"""What was submitted to a queue: which job executes a run, after which others, with which script.

It lies in the run's folder, so that any later command can report, follow and cancel what an earlier one
queued. It only informs: who executes a run is decided by `suite.store.ownership`, and how it ended is in its
record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, model_validator

from suite.store.files import write
from suite.store.plain_files import NotAPlainFileError, content_of
from suite.store.run_folders import RunFolder
from suite.strict import Line, RunId, Strict

_LARGEST = 64 * 1024

JobId = Annotated[str, Field(pattern=r"^\d{1,18}$")]
JobKey = Annotated[str, Field(pattern=r"^\d{1,18}(_\d{1,9})?$")]
"""A job as Slurm names it: its id or, for a task of an array, ``<id>_<index>``."""


class Submission(Strict):
    """A run in the queue of a cluster.

    Attributes:
        schema_version: of this layout.
        run_id: the run.
        series: of the run.
        seed: of the run.
        label: human-readable name of the run.
        job: id of the job.
        index: its index, if it is a task of an array.
        name: of the job; it tells jobs apart when a cluster that was set up again reuses ids.
        user: whose job it is.
        after: the runs whose jobs have to succeed first -> these jobs.
        script: file of the script that was submitted.
        log: file of what the job itself prints; the run has a log of its own.
        submitted_at: when, in ISO 8601.
        attempts: how many records of the run there were before.
    """

    schema_version: Literal[2] = 2
    run_id: RunId
    series: RunId
    seed: NonNegativeInt
    label: Line
    job: JobId
    index: NonNegativeInt | None = None
    name: Line
    user: Line
    after: dict[RunId, JobKey] = {}
    script: Line
    log: Line
    submitted_at: Line
    attempts: NonNegativeInt

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, content: Any) -> Any:
        """Reads the layout of version 1, in which a job waited only for the job of a teacher.

        Jobs of an earlier release may still be in the queue, and must not be submitted twice.
        """
        if not isinstance(content, dict) or content.get("schema_version") != 1:
            return content
        rest = {name: value for name, value in content.items() if name not in ("teacher", "after")}
        after = {content["teacher"]: content.get("after")} if content.get("teacher") else {}
        return {**rest, "schema_version": 2, "after": after}

    @property
    def key(self) -> str:
        """The job as Slurm names it."""
        return self.job if self.index is None else f"{self.job}_{self.index}"


def write_submission(folder: RunFolder, submission: Submission) -> None:
    """Writes a submission into the folder of its run, in place of an earlier one.

    Raises:
        OSError: the file system refuses.
    """
    write(folder.submission, (submission.model_dump_json(indent=1) + "\n").encode())


def read_submission(folder: RunFolder) -> Submission | None:
    """The latest submission of a run; None if there is none, or none that can be read.

    A run without one is submitted again; even then only one process at a time can own it.
    """
    try:
        found = Submission.model_validate_json(content_of(folder.submission, _LARGEST))
    except (OSError, NotAPlainFileError, ValueError):
        return None
    return found if found.run_id == folder.run_id else None


def all_submissions(work: Path) -> Iterator[Submission]:
    """The latest submission of every run in a work folder that has one."""
    for path in sorted((work / "runs").glob("*/submission.json")):
        if (found := read_submission(RunFolder(work, path.parent.name))) is not None:
            yield found
