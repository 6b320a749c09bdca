"""Executes one run in a process of its own, and records it."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from suite.audit.compare import audit, mismatches
from suite.contract import (
    Adapter,
    BlockedError,
    ComposedRecipe,
    EffectiveProtocol,
    Job,
    MethodSeen,
    Sample,
    Scalars,
    StoppedError,
    load,
    never,
)
from suite.datasets.classes import hold_classes
from suite.environment import host_facts
from suite.paths import datasets_dir
from suite.planning.plan import Run
from suite.published.finding import find_claim
from suite.running.complaints import describe, one_line
from suite.running.events import Ended, News, RunEvent, Training, Waiting
from suite.running.heartbeats import Journal
from suite.running.needed_weights import check_accuracy, check_released, scored_weights
from suite.running.ranks import ALONE, SECONDS_FOR_OTHERS, Group, Rank
from suite.running.recording import record_of
from suite.running.request import RunRequest
from suite.running.run_log import RunLog
from suite.store.files import sha256_of
from suite.store.ownership import Owner, Ownership, TakenOverError, owned, this_process
from suite.store.plain_files import append_to, refuse_link
from suite.store.record import Distillation, Provenance, Record, TaughtBy
from suite.store.records import read_for_run, write_record
from suite.store.run_folders import RunFolder
from suite.store.samples import write_samples
from suite.store.scalars import shares_of, write_scalars

Tell = Callable[[RunEvent], None]
"""Called with each event of a run."""


@dataclass(frozen=True)
class Execution:
    """A run as this process executes it.

    Attributes:
        run: what to train.
        records: the record store.
        work: folder of checkpoints and data (`suite.paths.work_dir`).
        device: `auto`, `cpu` or `cuda`.
        threads: cores that this run may use.
        provenance: what is known of code, packages and host.
        title: one line for the log: what is run, and by which command.
        slot: the slot that it has on this machine, if a launcher gave it one.
        stops: asked at every step whether the run is to leave a resume point and stop.
        rank: which of the processes that execute the run together this is.
        log_to: where else the training is logged.
        samples: for how many test images predictions are kept.
    """

    run: Run
    records: Path
    work: Path
    device: str
    threads: int
    provenance: Provenance
    title: str
    slot: str | None = None
    stops: Callable[[], bool] = never
    rank: Rank = ALONE
    log_to: str | None = None
    samples: int = 0

    @classmethod
    def of(
        cls,
        request: RunRequest,
        records: Path,
        work: Path,
        slot: str | None = None,
        stops: Callable[[], bool] = never,
        rank: Rank = ALONE,
    ) -> Execution:
        """The execution of a request in this process, with the cores, host and packages of this machine."""
        return cls(
            run=request.run,
            records=records,
            work=work,
            device=request.device,
            threads=threads_for(request.recipe, request.beside * rank.size),
            provenance=request.provenance_here,
            title=request.title,
            slot=slot,
            stops=stops,
            rank=rank,
            log_to=request.log_to,
            samples=request.samples,
        )


def threads_for(recipe: ComposedRecipe, beside: int) -> int:
    """The number of cores for a run.

    The order in which threads sum shows in the last digits of a result. So a run on embedded data always gets
    one core, whatever runs beside it: resumed with other `--jobs`, or repeated on a larger machine of the
    same kind, it has the same result.

    Args:
        recipe: of the run.
        beside: how many training processes share the cores of this machine.
    """
    if recipe.scale == "embedded":
        return 1
    return max(1, int(host_facts()["cores"]) // beside)


def execute(
    request: RunRequest, records: Path, work: Path, slot: str, channel: Connection, lifeline: Connection
) -> None:
    """Entry point of the worker process.

    Sends events (`suite.running.events`) through `channel`. Ends at once when the other end of `lifeline`
    closes, since a run whose engine is gone has nobody to report to; its resume point is kept.
    """
    threading.Thread(target=_die_with_engine, args=(lifeline,), daemon=True).start()
    channel.send(execute_here(Execution.of(request, records, work, slot), channel.send))


def execute_here(execution: Execution, tell: Tell) -> Ended:
    """Executes a run in this process, whose output then goes to the log of the run.

    Args:
        execution: the run.
        tell: called with every event of the run except its end.

    Returns:
        How it ended; not recorded if its folder or the record store cannot be written.

    Raises:
        StoppedError: it was asked to stop, and did; there is nothing to record yet.
    """
    try:
        return _execute(execution, tell)
    except StoppedError:
        raise
    except Exception as error:
        return Ended("failed", error=describe(error, execution.work), recorded=False)


def follow(execution: Execution) -> None:
    """Executes a run together with the process that owns it, if the owner decides to; has its own log.

    Raises:
        StoppedError: all processes were asked to stop, and did.
        Exception: whatever stopped this one; the owner has the same error, or is ended by torchrun.
    """
    folder = RunFolder(execution.work, execution.run.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    _log_to(folder.log_of(execution.rank.number), execution.title, lambda text: None)
    if Group(execution.rank, execution.device).follow():
        _train_and_score(execution, folder, lambda event: None, _Outcome())


def _execute(execution: Execution, tell: Tell) -> Ended:
    folder = RunFolder(execution.work, execution.run.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    _log_to(folder.log, execution.title, lambda text: tell(News(text)))
    group = Group(execution.rank, execution.device)
    journal = Journal(folder.events, execution.slot)
    tried_before = len(read_for_run(execution.records, execution.run.run_id))
    refuse_link(folder.ownership)

    def wait_for(owner: Owner | None) -> None:
        journal.state("waiting")
        tell(_waiting_for(owner))

    while True:
        with owned(folder.ownership, on_wait=wait_for, on_beat=journal.beat) as ownership:
            try:
                return _execute_owned(execution, folder, tell, tried_before, ownership, journal, group)
            except StoppedError:
                journal.state("stopped")
                raise
            except TakenOverError as error:
                # The new owner records the run: this process waits for that, as for any other command.
                tell(News(str(error)))
                journal.state("waiting")
                if execution.rank.size > 1:
                    # The others are in the middle of a step, and have to restart together with this one.
                    raise StoppedError(str(error)) from None


def _waiting_for(owner: Owner | None) -> Waiting:
    if owner is None:
        return Waiting()
    return Waiting(owner.pid, None if owner.shares_machine_with(this_process()) else owner.host)


def _execute_owned(
    execution: Execution,
    folder: RunFolder,
    tell: Tell,
    tried_before: int,
    ownership: Ownership,
    journal: Journal,
    group: Group,
) -> Ended:
    """Executes a run that this process owns, unless its outcome is known already.

    Raises:
        TakenOverError: another process owns it by now; nothing was recorded here.
    """
    records = read_for_run(execution.records, execution.run.run_id)
    finished = next((record for record in records if record.status == "finished"), None)
    known = finished if finished and folder.weights.exists() else None
    if not finished and len(records) > tried_before:
        # Another command tried it while this one waited, and it would fail again here.
        known = records[-1]
    group.decide(known is None)
    if known is not None:
        return _ending(known)

    def tell_step(event: RunEvent) -> None:
        if ownership.lost:
            ownership.check()
        if isinstance(event, Training):
            journal.step(event.step)
        tell(event)

    journal.state("running")
    outcome = _train(execution, folder, tell_step, ownership)
    record = outcome.record(execution)
    # A finished run is trained again only for its lost weights. On another machine they may come out
    # different: then a record of their own says what the weights score that teach from now on.
    again = finished and record.status == "finished" and _weights_of(record) == _weights_of(finished)
    ownership.check()
    ending = _ending(record if again else _keep(execution, record, outcome, tell))
    journal.state("ended")
    return ending


def _keep(execution: Execution, record: Record, outcome: _Outcome, tell: Tell) -> Record:
    """Records a run with its scalars and samples; if these cannot be written, records it without them."""
    refused: dict[str, OSError] = {}
    digests: dict[str, str] = {}
    folder, run_id = execution.records, record.run_id
    if scalars := outcome.scalars:
        with _noting(refused, "scalars"):
            digests["scalars_sha256"] = write_scalars(folder, run_id, scalars)
    if outcome.samples and record.status == "finished":
        with _noting(refused, "samples"):
            digests["samples_sha256"] = write_samples(folder, run_id, outcome.samples)
    written = write_record(folder, record.model_copy(update=digests))
    # Reported last: if there was no room for the record either, only that error matters.
    for what, error in refused.items():
        _tell(f"its {what} are not kept ({one_line(error)})", tell)
    return written


@contextlib.contextmanager
def _noting(refused: dict[str, OSError], what: str) -> Iterator[None]:
    """Notes an error of the file system under `what`, and continues."""
    try:
        yield
    except OSError as error:
        refused[what] = error


def _weights_of(record: Record) -> str | None:
    return record.provenance.weights_sha256


def _ending(record: Record) -> Ended:
    return Ended(record.status, record.metrics, record.error)


def _train(execution: Execution, folder: RunFolder, tell: Tell, ownership: Ownership) -> _Outcome:
    """Trains and scores; any other error becomes an outcome with that error.

    Raises:
        TakenOverError: another process executes the run by now.
        StoppedError: the run was asked to stop.
    """
    started = time.monotonic()
    outcome = _Outcome()
    try:
        _measure(execution, folder, tell, ownership, outcome)
        outcome.status = "finished"
    except (TakenOverError, StoppedError):
        raise
    except BlockedError as error:
        outcome.status, outcome.error = "blocked", one_line(error)
    except Exception as error:
        traceback.print_exc()
        outcome.error = describe(error, folder.path)
    if outcome.error is not None and execution.rank.size > 1:
        time.sleep(SECONDS_FOR_OTHERS)
    outcome.timings["wall"] = time.monotonic() - started
    return outcome


class _Outcome:
    """What is known of a run so far."""

    def __init__(self) -> None:
        self.status: Any = "failed"
        self.error: str | None = None
        self.metrics: dict[str, float] = {}
        self.protocol = EffectiveProtocol({})
        self.provenance: dict[str, Any] = {}
        self.timings: dict[str, float] = {}
        self.per_class: dict[str, dict[str, float]] = {}
        self.skipped: dict[str, int] = {}
        self.released: dict[Path, str] = {}
        self.adapter: Adapter | None = None
        self.teacher_scored: Mapping[str, float] = {}
        self.distillation: Distillation | None = None
        self.samples: Sequence[Sample] = ()

    @property
    def scalars(self) -> Sequence[Scalars]:
        """The series logged so far."""
        return self.adapter.scalars() if self.adapter else ()

    def record(self, execution: Execution) -> Record:
        """The record of the run with what is known so far."""
        return record_of(
            execution.run,
            self.status,
            execution.provenance.model_copy(update=self.provenance),
            metrics=self.metrics if self.status == "finished" else {},
            per_class=self.per_class if self.status == "finished" else {},
            skipped=self.skipped,
            protocol=dict(self.protocol.settings),
            timings={name: round(value, 4) for name, value in self.timings.items()},
            distillation=self.distillation if self.status == "finished" else None,
            error=self.error,
        )


def _measure(
    execution: Execution, folder: RunFolder, tell: Tell, ownership: Ownership, outcome: _Outcome
) -> None:
    adapter = _train_and_score(execution, folder, tell, outcome)
    outcome.per_class = adapter.per_class()
    if execution.samples:
        outcome.samples = adapter.samples(execution.samples)
    outcome.distillation = _distillation(execution, adapter.method_seen(), outcome)
    if outcome.distillation and (faults := outcome.distillation.faults):
        _tell(f"the method did not act: {'; '.join(faults)}", tell)
    _check_metrics(outcome.metrics)
    ownership.check()
    if execution.run.checkpoint is None:
        _save(adapter, folder.weights)
    elif execution.run.checkpoint.kind == "released":
        check_accuracy(execution.run, outcome.metrics)
    # For a file trained elsewhere, the hash of what was scored: the file may have changed since.
    outcome.provenance["weights_sha256"] = outcome.released.get(folder.weights) or sha256_of(folder.weights)
    outcome.timings["peak_memory_mib"] = _peak_memory(str(outcome.provenance["device"]))


def _distillation(execution: Execution, seen: MethodSeen | None, outcome: _Outcome) -> Distillation | None:
    """The evidence that the method of a run acted; None if there is no method or nothing was observed."""
    method = execution.run.recipe.method
    if seen is None or method is None:
        return None
    return Distillation(
        steps=seen.steps,
        fired=seen.fired,
        shares=shares_of(outcome.scalars, [f"loss_{name}" for name in method.losses]),
        gradients=seen.gradients,
        teacher=dict(outcome.teacher_scored),
    )


def _train_and_score(execution: Execution, folder: RunFolder, tell: Tell, outcome: _Outcome) -> Adapter:
    """Trains and scores; every process of a run does so in the same order, since they wait for each other."""
    import torch

    torch.set_num_threads(execution.threads)
    device = _device(execution.device)
    outcome.provenance = {"device": device, "threads": execution.threads, **_device_facts(device)}
    taught_by, starts_from = _teacher_weights(execution, outcome), _start_weights(execution, outcome)
    outcome.released = {} if execution.run.trains else check_released(execution.run, folder)
    job = Job(
        recipe=execution.run.recipe,
        seed=execution.run.seed,
        run_dir=folder.path,
        data_dir=execution.work / "data" if execution.run.recipe.scale == "embedded" else datasets_dir(),
        device=device,
        teacher_weights=next(iter(taught_by), None),
        start_weights=next(iter(starts_from), None),
        sha256=taught_by | starts_from | outcome.released,
        launcher="pytorch" if execution.rank.size > 1 else "none",
        progress=lambda step: tell(Training(step)),
        tell=lambda text: _tell(text, tell),
        stops=execution.stops,
        log_to=execution.log_to,
    )
    adapter: Adapter = load(execution.run.recipe.adapter)(job)
    outcome.provenance["data_fingerprint"] = adapter.fingerprint()
    if not execution.run.trains:
        _take_released(execution.run, folder, adapter, outcome)
        hold_classes(execution.run.recipe.data, adapter.classes())
    else:
        adapter.build()
        outcome.protocol = adapter.describe()
        _check_devices(execution.run, outcome.protocol)
        _check_protocol(execution.run, outcome.protocol)
        _check_start(execution.run, outcome.protocol, starts_from.values())
        hold_classes(execution.run.recipe.data, adapter.classes())
        outcome.adapter = adapter
        outcome.timings |= adapter.fit()
        outcome.skipped = adapter.skipped()
        if not execution.rank.follows:
            _check_same_data(folder, adapter, outcome)
    started = time.monotonic()
    outcome.metrics = adapter.evaluate()
    outcome.timings["evaluation"] = time.monotonic() - started
    return adapter


def _check_devices(run: Run, protocol: EffectiveProtocol) -> None:
    """Checks that a run trains on the number of devices in its recipe, which is part of its identity.

    Raises:
        BlockedError: it was started on a different number.
    """
    ours, wanted = protocol.at("devices"), run.recipe.devices_used
    if ours not in (None, wanted):
        raise BlockedError(
            f"its recipe trains on {wanted} devices, but it was started on {ours}: --launcher torchrun uses "
            f"{wanted}, and resources.devices={ours} declares what is available"
        )


def _check_protocol(run: Run, protocol: EffectiveProtocol) -> None:
    """Checks that a run whose result will be compared with the published one follows the paper's protocol.

    Raises:
        BlockedError: a setting is not the published one, and no listed departure says so.
    """
    if not run.recipe.comparable:
        return
    claims = [(find_claim(entry.claim)[1], entry.arm) for entry in run.claims]
    wrong = {
        comparison.difference
        for claim, arm in claims
        for comparison in mismatches(audit(claim, arm, run.recipe, protocol))
    }
    if wrong:
        raise BlockedError(
            f"not the published protocol: {'; '.join(sorted(wrong))}; 'python -m suite audit' shows all of it"
        )


def _check_start(run: Run, protocol: EffectiveProtocol, weights: Iterable[str]) -> None:
    """Checks that a network has the initial weights that its record will name.

    Args:
        run: the run.
        protocol: as built.
        weights: SHA-256 of the file whose backbone it starts from; none for random weights.

    Raises:
        BlockedError: it was built without them.
    """
    for sha256 in weights:
        if protocol.at("initial_weights.backbone.sha256") != sha256:
            raise BlockedError(
                f"{run.recipe.adapter} has not started it from the backbone of run {run.start}, or does not "
                "say so in initial_weights.backbone.sha256; leave 'pretrained' out of the model's file"
            )


def _check_same_data(folder: RunFolder, adapter: Adapter, outcome: _Outcome) -> None:
    """Checks that the data are still those that the training began with.

    Raises:
        BlockedError: they are not. The resume points are deleted, so that the next attempt starts anew.
    """
    began = outcome.provenance["data_fingerprint"]
    try:
        found = adapter.fingerprint()
    except BlockedError:
        folder.drop_resume_points()
        raise
    if found != began:
        folder.drop_resume_points()
        raise BlockedError(
            f"the data have changed while the run trained (fingerprint {found[:16]} instead of "
            f"{began[:16]}); leave them alone and run it again"
        )


def _tell(text: str, tell: Tell) -> None:
    """Prints a message about the run to its log and shows it to the user."""
    print(text)
    tell(News(text))


def _take_released(run: Run, folder: RunFolder, adapter: Adapter, outcome: _Outcome) -> None:
    """Loads weights that were trained elsewhere, instead of training.

    Raises:
        BlockedError: they do not fit, or belong to another network according to their own config.
    """
    path, wanted = folder.weights, run.checkpoint
    report = adapter.build_released(path)
    outcome.provenance["checkpoint"] = {"file": path.resolve().name, **report}
    # A published file is identified by its hash and by what it scores.
    if (found := report.get("contradictions")) and wanted is not None and wanted.weights is None:
        raise BlockedError(
            f"{path.resolve().name} is of a different network than {run.recipe.student.name}, although its "
            f"weights look the same: {'; '.join(found[:3])}; name the claim of that network"
        )


def _check_metrics(metrics: dict[str, float]) -> None:
    """Checks that a run has measured something.

    Raises:
        ValueError: there is no metric, or one is not finite.
    """
    wrong = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if wrong or not metrics:
        raise ValueError(f"the evaluation gave no result: {', '.join(wrong) or 'no metric'}")


def _save(adapter: Adapter, path: Path) -> None:
    """Writes the weights.

    Raises:
        OSError: they cannot be written; names the file, where PyTorch's own error names a line of its source.
    """
    try:
        adapter.save(path)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"cannot write {path} ({one_line(error)[:80]}); make room there and run the same command again"
        ) from error


def _teacher_weights(execution: Execution, outcome: _Outcome) -> dict[Path, str]:
    """The weights of the teacher, checked against its records.

    Returns:
        The file -> its SHA-256; empty for a run without a teacher.

    Raises:
        BlockedError: see `suite.running.needed_weights.scored_weights`.
    """
    if (run_id := execution.run.teacher) is None:
        return {}
    found = scored_weights(execution.work, execution.records, run_id, "teacher")
    outcome.teacher_scored = found.metrics
    outcome.provenance["teacher"] = TaughtBy(run_id=run_id, weights_sha256=found.sha256)
    return {found.path: found.sha256}


def _start_weights(execution: Execution, outcome: _Outcome) -> dict[Path, str]:
    """The weights whose backbone the training starts from; as `_teacher_weights`."""
    if (run_id := execution.run.start) is None:
        return {}
    found = scored_weights(execution.work, execution.records, run_id, "backbone")
    outcome.provenance["start"] = TaughtBy(run_id=run_id, weights_sha256=found.sha256)
    return {found.path: found.sha256}


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
    """Peak memory in MiB: of the GPU if one is used, else of this process."""
    import torch

    if device == "cuda":
        return float(torch.cuda.max_memory_allocated()) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _die_with_engine(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)


def _log_to(path: Path, title: str, complain: Callable[[str], None]) -> None:
    """Redirects everything this process prints, C code included, to the run's log."""
    log = RunLog(path, append_to(path), complain)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    print(f"--- {datetime.now(timezone.utc).isoformat(timespec='seconds')} {title}")
