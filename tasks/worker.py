"""Carries out one run in a process of its own, and leaves its record."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from suite.paths import datasets_dir
from suite.plan import Run
from suite.records import Record, newest_by_run, read_for_run, write_record
from suite.workspace import WEIGHTS_FILE, RunFolder
from tasks.adapter import Adapter, BlockedError, Job, load
from tasks.embedded.store import WrongFingerprintError


@dataclass(frozen=True)
class Order:
    """A run and the circumstances in which it is carried out.

    Attributes:
        run: what to train.
        records: the record store.
        work: folder of checkpoints and data (`suite.paths.work_dir`).
        device: `auto`, `cpu` or `cuda`.
        threads: cores that this run may use.
        provenance: what the engine knows of code, packages and host.
        title: one line for the log: what is run, and by which command.
    """

    run: Run
    records: Path
    work: Path
    device: str
    threads: int
    provenance: dict[str, Any]
    title: str


def carry_out(order: Order, channel: Connection, lifeline: Connection) -> None:
    """Entry point of the worker process.

    Sends dictionaries through `channel`: `state` (`waiting`, `running`, `ended`), with progress or
    the outcome (`status`, `metrics`, `error`). Ends at once when the other end of `lifeline` closes,
    for a run whose engine is gone has nobody to report to; its checkpoint stays.
    """
    threading.Thread(target=_die_with_engine, args=(lifeline,), daemon=True).start()
    folder = RunFolder(order.work, order.run.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    _log_to(folder.log, order.title)
    with _locked(folder.lock, on_wait=lambda: channel.send({"state": "waiting"})):
        recorded = newest_by_run(read_for_run(order.records, order.run.run_id)).get(order.run.run_id)
        finished = recorded if recorded is not None and recorded.status == "finished" else None
        if finished and folder.weights.exists():
            # Another engine trained it while this one waited.
            channel.send({"state": "ended", "status": "finished", "metrics": finished.metrics, "error": None})
            return
        record = _train(order, folder, channel)
        if finished is None:
            record = write_record(order.records, record)
        channel.send(
            {"state": "ended", "status": record.status, "metrics": record.metrics, "error": record.error}
        )


def _train(order: Order, folder: RunFolder, channel: Connection) -> Record:
    """Trains and scores; whatever goes wrong becomes a record that says so."""
    started = time.monotonic()
    outcome = _Outcome()
    try:
        _measure(order, folder, channel, outcome)
        outcome.status = "finished"
    except (BlockedError, WrongFingerprintError) as error:
        outcome.status, outcome.error = "blocked", _one_line(error)
    except Exception as error:
        traceback.print_exc()
        outcome.error = f"{type(error).__name__}: {_one_line(error)}"
    outcome.timings["wall"] = time.monotonic() - started
    return outcome.record(order)


class _Outcome:
    """What is known of a run so far."""

    def __init__(self) -> None:
        self.status: Any = "failed"
        self.error: str | None = None
        self.metrics: dict[str, float] = {}
        self.protocol: dict[str, Any] = {}
        self.provenance: dict[str, Any] = {}
        self.timings: dict[str, float] = {}

    def record(self, order: Order) -> Record:
        """The record of the run as it stands."""
        run = order.run
        return Record(
            run_id=run.run_id,
            series=run.series,
            claims=list(run.claims),
            task=run.recipe["task"],
            arm=run.arm,
            profile=run.recipe["profile"],
            seed=run.seed,
            status=self.status,
            metrics=self.metrics if self.status == "finished" else {},
            comparable=run.recipe["comparable"],
            recipe=run.recipe,
            protocol=self.protocol,
            departures=run.recipe["departures"],
            provenance={**order.provenance, **self.provenance},
            timings={name: round(value, 4) for name, value in self.timings.items()},
            error=self.error,
            finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )


def _measure(order: Order, folder: RunFolder, channel: Connection, outcome: _Outcome) -> None:
    import torch

    torch.set_num_threads(order.threads)
    device = _device(order.device)
    outcome.provenance = {"device": device, "threads": order.threads, **_device_facts(device)}
    job = Job(
        recipe=order.run.recipe,
        seed=order.run.seed,
        run_dir=folder.path,
        data_dir=order.work / "data" if order.run.recipe["scale"] == "embedded" else datasets_dir(),
        device=device,
        teacher_weights=_teacher_weights(order, outcome),
        progress=lambda event: channel.send({"state": "running", **event}),
    )
    adapter: Adapter = load(order.run.recipe["adapter"])(job)
    outcome.provenance["data_fingerprint"] = adapter.fingerprint()
    adapter.build()
    outcome.protocol = adapter.describe()
    outcome.timings |= adapter.fit()
    started = time.monotonic()
    outcome.metrics = adapter.evaluate()
    outcome.timings["evaluation"] = time.monotonic() - started
    adapter.save(folder.weights)
    outcome.provenance["weights_sha256"] = _sha256(folder.weights)
    outcome.timings["peak_memory_mib"] = _peak_memory(device)


def _teacher_weights(order: Order, outcome: _Outcome) -> Path | None:
    if order.run.teacher is None:
        return None
    path = RunFolder(order.work, order.run.teacher).weights
    if not path.exists():
        raise BlockedError(
            f"{WEIGHTS_FILE} of the teacher's run {order.run.teacher} is missing; reproduce the teacher first"
        )
    outcome.provenance["teacher"] = {"run_id": order.run.teacher, "weights_sha256": _sha256(path)}
    return path


def _device(wanted: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise BlockedError(
            "--device cuda: PyTorch sees no GPU here; use --device cpu or see 'python -m suite doctor'"
        )
    return "cuda" if available and wanted != "cpu" else "cpu"


def _device_facts(device: str) -> dict[str, Any]:
    import torch

    if device == "cpu":
        return {"gpu": None}
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def _peak_memory(device: str) -> float:
    """Peak memory in MiB: of the GPU where there is one, else of this process."""
    import torch

    if device == "cuda":
        return float(torch.cuda.max_memory_allocated()) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _die_with_engine(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)


def _log_to(path: Path, title: str) -> None:
    """Sends everything this process prints, C code included, to the run's log."""
    log = open(path, "a", buffering=1)  # noqa: SIM115  (stays open as long as the process)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    print(f"--- {datetime.now(timezone.utc).isoformat(timespec='seconds')} {title}")


@contextmanager
def _locked(path: Path, on_wait: Any) -> Iterator[None]:
    """Holds an exclusive lock that the system takes back when the process dies."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
