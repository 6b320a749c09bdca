"""One attempt at a run: everything is checked, trained and scored, and kept for the record."""

from __future__ import annotations

import math
import resource
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.audit.compare import audit, mismatches
from suite.contract import (
    Adapter,
    BlockedError,
    EffectiveProtocol,
    Job,
    MethodSeen,
    Sample,
    Scalars,
    StoppedError,
    load,
)
from suite.datasets.classes import hold_classes
from suite.paths import datasets_dir
from suite.planning.plan import Run
from suite.published.finding import find_claim
from suite.running.complaints import describe, one_line
from suite.running.events import Training
from suite.running.execution import Execution, Tell, announce
from suite.running.needed_weights import check_accuracy, check_released, scored_weights
from suite.running.ranks import SECONDS_FOR_OTHERS
from suite.running.recording import record_of
from suite.store.files import sha256_of
from suite.store.ownership import Ownership, TakenOverError
from suite.store.record import Distillation, Record, TaughtBy
from suite.store.run_folders import RunFolder
from suite.store.scalars import shares_of


class Outcome:
    """What is known of a run so far, which becomes its record.

    Attributes:
        status: `finished`, `failed` or `blocked`; `failed` until it has finished.
        error: why it failed or is blocked; one line.
        metrics: of the test set.
        protocol: the effective protocol, read back from the built objects.
        provenance: what is added to the provenance of the execution.
        timings: seconds; see `suite.store.record.Record`.
        per_class: metric -> name of the class -> percent.
        skipped: what the data loader left out -> how many.
        released: file of weights that were trained elsewhere -> its SHA-256.
        adapter: once it has been built for training.
        teacher_scored: metrics of the teacher's checkpoint.
        distillation: the evidence that the method acted.
        samples: predictions on test images.
    """

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


def attempt(execution: Execution, folder: RunFolder, tell: Tell, ownership: Ownership) -> Outcome:
    """Trains and scores; any other error becomes an outcome with that error.

    Raises:
        TakenOverError: another process executes the run by now.
        StoppedError: the run was asked to stop.
    """
    started = time.monotonic()
    outcome = Outcome()
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


def _measure(
    execution: Execution, folder: RunFolder, tell: Tell, ownership: Ownership, outcome: Outcome
) -> None:
    adapter = train_and_score(execution, folder, tell, outcome)
    outcome.per_class = adapter.per_class()
    if execution.samples:
        outcome.samples = adapter.samples(execution.samples)
    outcome.distillation = _distillation(execution, adapter.method_seen(), outcome)
    if outcome.distillation and (faults := outcome.distillation.faults):
        announce(f"the method did not act: {'; '.join(faults)}", tell)
    _check_metrics(outcome.metrics)
    ownership.check()
    if execution.run.checkpoint is None:
        _save(adapter, folder.weights)
    elif execution.run.checkpoint.kind == "released":
        check_accuracy(execution.run, outcome.metrics)
    # For a file trained elsewhere, the hash of what was scored: the file may have changed since.
    outcome.provenance["weights_sha256"] = outcome.released.get(folder.weights) or sha256_of(folder.weights)
    outcome.timings["peak_memory_mib"] = _peak_memory(str(outcome.provenance["device"]))


def _distillation(execution: Execution, seen: MethodSeen | None, outcome: Outcome) -> Distillation | None:
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


def train_and_score(execution: Execution, folder: RunFolder, tell: Tell, outcome: Outcome) -> Adapter:
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
        tell=lambda text: announce(text, tell),
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


def _check_same_data(folder: RunFolder, adapter: Adapter, outcome: Outcome) -> None:
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


def _take_released(run: Run, folder: RunFolder, adapter: Adapter, outcome: Outcome) -> None:
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


def _teacher_weights(execution: Execution, outcome: Outcome) -> dict[Path, str]:
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


def _start_weights(execution: Execution, outcome: Outcome) -> dict[Path, str]:
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
