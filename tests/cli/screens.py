"""What every verb shows on a terminal of 80 columns, kept as text in ``tests/cli/screens/``.

    python -m tests.cli.screens            # writes all of them anew; look at the difference before it is kept
    python -m tests.cli.screens status     # one of them

A scene lays out a folder, calls the verb in it and takes down both outputs, without colour. Paths are told
from that folder, so that nothing depends on where it lies.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from suite.audit.compare import Audited, Comparison
from suite.cli import main
from suite.doctor import Finding
from suite.planning.plan import Plan, Run, make_plan, plan_released
from suite.published.finding import find_claim
from suite.running.heartbeats import Beat
from suite.running.request import RunRequest, write_request
from suite.store.files import sha256_of
from suite.store.ownership import owned, this_process
from suite.store.record import Provenance, Record
from suite.store.records import write_record
from suite.store.run_folders import RunFolder

COLUMNS = 80
FOLDER = Path(__file__).with_name("screens")

CLAIM = "nkd-resnet18-nkd"
CLAIMS = ("nkd-resnet18-student", CLAIM, "nkd-resnet18-tf-nkd")
A_RUN = "RUN_ID"
"""Stands for the id of `one_run`."""
FINISHED_AT = "2026-11-01T10:00:00+00:00"


class Terminal(io.StringIO):
    """What is shown on a terminal, both outputs in the order in which they came."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Scene:
    """A verb as somebody calls it.

    Attributes:
        words: behind ``python -m suite``.
        laid_out: what there is while it runs, below the current folder.
        status: what it ends with.
    """

    words: tuple[str, ...]
    laid_out: Callable[[pytest.MonkeyPatch], contextlib.AbstractContextManager[None]]
    status: int = 0


def laid_out(prepare: Callable[[pytest.MonkeyPatch], None]) -> Any:
    """A scene's layout from a function that makes it."""

    @contextlib.contextmanager
    def lay_out(patch: pytest.MonkeyPatch) -> Iterator[None]:
        prepare(patch)
        yield

    return lay_out


@laid_out
def empty(patch: pytest.MonkeyPatch) -> None:
    """Nothing."""


def planned(profile: str = "mini", seeds: int = 3) -> Plan:
    return make_plan([find_claim(name)[1] for name in CLAIMS], profile, seeds)


def record_of(run: Run, metrics: dict[str, float], **more: Any) -> Record:
    content = {
        "run_id": run.run_id,
        "series": run.series,
        "claims": [entry.model_dump() for entry in run.claims],
        "task": run.recipe.task,
        "arm": run.arm,
        "profile": run.recipe.profile,
        "seed": run.seed,
        "status": "finished",
        "metrics": metrics,
        "comparable": run.recipe.comparable,
        "recipe": run.recipe.model_dump(mode="json"),
        "finished_at": FINISHED_AT,
    }
    return Record.model_validate(content | more)


LEVELS = {"teacher": 83.2, "student": 70.0, "distilled": 74.0}


def metrics_of(run: Run, shift: float = 0.0) -> dict[str, float]:
    """Numbers that a run of its arm could have: the seeds apart, and tf-NKD no better than the student."""
    level = LEVELS["student" if run.arm == "distilled" and not run.teacher else run.arm] + shift
    noise = (0.3, -0.2, 0.1) if run.arm == "student" else (0.1, 0.4, -0.3)
    return {"top1": level + noise[run.seed], "top5": 92.0}


def record_all(store: Path, runs: list[Run], shift: float = 0.0) -> None:
    for run in runs:
        write_record(store, record_of(run, metrics_of(run, shift)))


@laid_out
def recorded(patch: pytest.MonkeyPatch) -> None:
    """Everything that was asked for has finished."""
    record_all(Path("results/records"), list(planned().runs.values()))


ERROR = "NonFiniteLossError: loss is nan in epoch 2, iteration 17; lower the learning rate"


@laid_out
def recorded_by_oneself(patch: pytest.MonkeyPatch) -> None:
    """The same, where the reference of this project is not at hand."""
    record_all(Path("results/records"), list(planned().runs.values()))
    patch.setattr("suite.cli.known.REFERENCE", Path("reference"))


@laid_out
def partly_failed(patch: pytest.MonkeyPatch) -> None:
    """One run has failed, and has a log."""
    *runs, last = planned().runs.values()
    record_all(Path("results/records"), runs)
    write_record(Path("results/records"), record_of(last, {}, status="failed", error=ERROR))
    log = RunFolder(Path("work"), last.run_id).log
    log.parent.mkdir(parents=True)
    log.write_text("loss: nan\n", encoding="utf-8")


@contextlib.contextmanager
def at_work(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """One run has finished, one has failed, one is being trained, and one was interrupted."""
    finished, failed, running, interrupted, *_ = planned(seeds=1).runs.values()
    record_all(Path("results/records"), [finished])
    write_record(Path("results/records"), record_of(failed, {}, status="failed", error=ERROR))
    now, me = datetime.now(timezone.utc), this_process()
    here = Beat(at=now.isoformat(), host=me.host, pid=me.pid, state="running", epoch=3, epochs=8, loss=1.2345)
    ago = timedelta(minutes=12, seconds=5), timedelta(hours=2, minutes=7, seconds=5)
    beats = [
        here.model_copy(update={"since": (now - ago[0]).isoformat()}),
        here.model_copy(update={"at": (now - ago[1]).isoformat(), "pid": 1, "epoch": 5}),
    ]
    for run, beat in zip((running, interrupted), beats, strict=True):
        folder = RunFolder(Path("work"), run.run_id)
        command = f"python -m suite reproduce --claim {' '.join(CLAIMS)} --profile mini --seeds 1"
        write_request(folder, RunRequest.of(run, "cpu", 1, Provenance(command=command)))
        folder.events.write_text(beat.model_dump_json(exclude_none=True) + "\n", encoding="utf-8")
        folder.log.write_text("epoch\n", encoding="utf-8")
    with owned(RunFolder(Path("work"), running.run_id).ownership):
        yield


@laid_out
def two_stores(patch: pytest.MonkeyPatch) -> None:
    """The same runs twice, four points apart."""
    runs = list(planned().runs.values())
    record_all(Path("before"), runs)
    record_all(Path("after"), runs, shift=-4.0)


@laid_out
def scored(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint that has been scored before."""
    checkpoint = Path("resnet18.pth")
    checkpoint.write_bytes(b"weights")
    (run,) = plan_released(find_claim(CLAIM)[1], "mini", sha256_of(checkpoint)).runs.values()
    loaded = {"file": "resnet18.pth", "loaded": 122, "left_out": {"teacher": 40}, "own_config": False}
    provenance = Provenance(checkpoint=loaded).model_dump()
    write_record(
        Path("results/records"), record_of(run, {"top1": 71.5, "top5": 90.25}, provenance=provenance)
    )


def one_run() -> Run:
    return next(iter(planned(seeds=1).runs.values()))


@laid_out
def done_before(patch: pytest.MonkeyPatch) -> None:
    """A run that was requested, and has finished."""
    run = one_run()
    folder = RunFolder(Path("work"), run.run_id)
    write_request(folder, RunRequest.of(run, "cpu", 1, Provenance(command="python -m suite reproduce")))
    folder.weights.write_bytes(b"weights")
    record_all(Path("results/records"), [run])


@laid_out
def built(patch: pytest.MonkeyPatch) -> None:
    """Trainings as an audit finds them, without the packages that build them."""

    def audited(plan: Plan, *_: object) -> Iterator[Audited]:
        for run in plan.runs.values():
            if run.trains:
                settings = [Comparison("weight_decay", 1e-4, 1e-4, "match", "config nkd.py")] * 30
                if run.arm == "distilled":
                    why = "config nkd.py; declared by method.losses.nkd.arguments.gamma"
                    settings += [Comparison("losses.nkd.gamma", 1.5, 15.0, "departure", why)]
                    settings += [Comparison("global_batch", 256, 128, "mismatch", "paper, section 4.1")]
                yield Audited(run, 1, settings, ["dtype"])

    patch.setattr("suite.audit.compare.audit_plan", audited)


@laid_out
def examined(patch: pytest.MonkeyPatch) -> None:
    """A machine that lacks a GPU and a data set."""
    remedy = "download it from https://www.cityscapes-dataset.com and unpack it to work/datasets/cityscapes"
    found = [
        Finding("package", "rich", "ok", "15.0.0", "15.0.0"),
        Finding("package", "torch", "ok", "2.10.0", "2.10.0"),
        Finding("system", "GPU", "note", "none; runs go to the CPU", "any CUDA device", "add a GPU"),
        Finding("data", "Cityscapes", "note", "not in work/datasets/cityscapes", "12 GB", remedy),
    ]
    patch.setattr("suite.doctor.examine", lambda: found)


@laid_out
def some_night(patch: pytest.MonkeyPatch) -> None:
    """A certain night."""
    patch.setattr("suite.cli.night.night_of", lambda now: date(2026, 11, 26))


@laid_out
def some_disk(patch: pytest.MonkeyPatch) -> None:
    """A disk of a certain size."""
    patch.setattr("suite.cost.free_gigabytes", lambda folder: 500.0)


SCENES = {
    "list": Scene(("list", "--paper", "mgd", "--role", "ours"), empty),
    "show": Scene(("show", "mgd-resnet18"), empty),
    "show-paper": Scene(("show", "--paper", "nkd", "--all"), recorded_by_oneself),
    "plan": Scene(("plan", "--claim", *CLAIMS, "--profile", "paper", "--budget", "40"), some_disk),
    "data": Scene(("data",), empty),
    "audit": Scene(("audit", "--claim", *CLAIMS), built, status=1),
    "reproduce": Scene(("reproduce", "--claim", *CLAIMS, "--seeds", "3"), recorded),
    "evaluate": Scene(
        ("evaluate", "--claim", CLAIM, "--checkpoint", "resnet18.pth", "--profile", "mini"), scored
    ),
    "weights": Scene(("weights", "list"), empty),
    "status": Scene(("status",), at_work),
    "cancel": Scene(("cancel", "--all"), empty),
    "work": Scene(("work", A_RUN), done_before),
    "report": Scene(("report", "--paper", "nkd"), partly_failed),
    "compare": Scene(("compare", "before", "after"), two_stores),
    "nightly": Scene(
        ("nightly", "--tier", "smoke", "--claim", CLAIM, "--device", "cpu", "--dry-run"), some_night
    ),
    "archive": Scene(("archive", "upgrade"), recorded),
    "doctor": Scene(("doctor",), examined),
}
"""Verb, with what it shows where it has several screens -> the scene."""


def shot(scene: Scene, folder: Path) -> str:
    """Both outputs of a verb on a terminal.

    Args:
        scene: the verb.
        folder: an empty folder, where it is called.
    """
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("results", "work"):
            patch.setenv(f"SUITE_{name.upper()}", name)
        for name in ("SUITE_DATA", "SUITE_WEIGHTS", "SUITE_PAPERS", "GITHUB_STEP_SUMMARY", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in {"COLUMNS": str(COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["suite"])
        with scene.laid_out(patch):
            for name in ("stdout", "stderr"):
                patch.setattr(sys, name, terminal)
            words = [one_run().run_id if word == A_RUN else word for word in scene.words]
            status = main(words)
    shown = "".join(f"{line.rstrip()}\n" for line in terminal.getvalue().splitlines())
    assert status == scene.status, shown
    return f"$ python -m suite {' '.join(words)}\n{shown}"


def path_of(name: str) -> Path:
    """Where the screen of a scene is kept."""
    return FOLDER / f"{name}.txt"


if __name__ == "__main__":
    for scene in sys.argv[1:] or SCENES:
        with tempfile.TemporaryDirectory() as empty_folder:
            path_of(scene).write_text(shot(SCENES[scene], Path(empty_folder)), encoding="utf-8")
