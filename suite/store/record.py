"""A run record: what one attempt at a run was, measured and was executed with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from suite.contract import Arm, Departure, ServedClaim, TapGradient
from suite.strict import Line, Name, RunId, Sha256, Strict

SCHEMA_VERSION = 3
"""Version of a record's layout; older files are upgraded as they are read (`suite.store.upgrades`)."""

_ADDED = ("scalars_sha256", "samples_sha256", "distillation")
"""Fields that were added to this schema later: a record without a value for one is written without the field;
the same goes for `Provenance.start`."""

Status = Literal["finished", "failed", "blocked"]


class TaughtBy(Strict):
    """The checkpoint that a student learned from, or that its backbone started from.

    Attributes:
        run_id: the run that trained or scored it.
        weights_sha256: of the file.
    """

    run_id: RunId
    weights_sha256: Sha256


class Provenance(Strict):
    """The code, packages, machine and inputs that a run was executed with.

    Attributes:
        commit: of the code; None outside a repository.
        dirty: whether the code differed from it.
        command: the command line that asked for the run.
        packages: import name -> version.
        lock_sha256: of ``requirements.lock``; None if the suite was installed without one.
        host: the machine (`suite.environment.host_facts`).
        device: `cpu` or `cuda`.
        threads: cores that the run could use.
        gpu: name of the GPU.
        cuda: version of CUDA.
        teacher: the checkpoint that taught.
        start: the checkpoint whose backbone the training started from.
        checkpoint: for a scored checkpoint, its file and how its keys were loaded.
        data_fingerprint: of the data.
        weights_sha256: of the weights that the run trained or scored.
    """

    commit: Name | None = None
    dirty: bool | None = None
    command: Line | None = None
    packages: dict[Name, Line] = {}
    lock_sha256: Sha256 | None = None
    host: dict[Name, Line | int | float] = {}
    device: Name | None = None
    threads: int | None = None
    gpu: Line | None = None
    cuda: Line | None = None
    teacher: TaughtBy | None = None
    start: TaughtBy | None = None
    checkpoint: dict[str, Any] | None = None
    data_fingerprint: Line | None = None
    weights_sha256: Sha256 | None = None


class Distillation(Strict):
    """The evidence that a method acted on the training of a student.

    Attributes:
        steps: iterations of the training.
        fired: tap -> how often the modules that it taps ran in them.
        shares: loss of the method -> its share of the total loss over the first, the middle and the last
            tenth of the training (`suite.store.scalars.shares_of`).
        gradients: at a few fixed iterations and every tap of the student, the norm of the method's gradient
            and that of the task's.
        teacher: metrics of the teacher's checkpoint; empty if unknown.
    """

    steps: NonNegativeInt
    fired: dict[Line, NonNegativeInt] = {}
    shares: dict[Name, tuple[float, float, float]] = {}
    gradients: list[TapGradient] = []
    teacher: dict[Name, float] = {}

    @property
    def faults(self) -> list[str]:
        """The signs that the method did not act, in words; empty if it did."""
        silent = [tap for tap, times in self.fired.items() if not times]
        idle = [name for name, shares in self.shares.items() if not any(shares)]
        found = [f"tap {tap} never fired" for tap in silent]
        found += [f"{name} contributes nothing to the total loss" for name in idle]
        if self.gradients and not any(gradient.method for gradient in self.gradients):
            found.append("the gradient of the method is zero at every tap of the student")
        return found


class Choices(NamedTuple):
    """The task, networks and method of a run, by name; None if a record does not say.

    Attributes:
        task: id of the task.
        student: the network that was trained.
        teacher: the network that it was distilled from.
        method: the distillation method.
        teacher_seed: the seed of the one teacher that all students learn from.
    """

    task: str | None = None
    student: str | None = None
    teacher: str | None = None
    method: str | None = None
    teacher_seed: int | None = None


_NO_CHOICES = Choices()


class _Part(BaseModel):
    """The part of a network or a method in a recipe that is read from records."""

    name: Name


class _Recipe(BaseModel):
    """The part of a recipe that is read from every record; the rest is kept unchecked."""

    task: Name | None = None
    student: _Part | None = None
    teacher: _Part | None = None
    method: _Part | None = None
    teacher_seed: int | None = Field(default=None, strict=True)


class Record(BaseModel):
    """The record of one attempt at a run.

    Attributes:
        schema_version: version of this layout; a record of a newer one is refused.
        run_id: hash of `identity` (see `suite.planning.identity`).
        series: the same hash without seed and repetition: records of one series differ only in these.
        attempt: 1 for the first try; a run that failed or was blocked may be tried again.
        former_ids: ids that the run had under older identity schemes.
        claims: the claims served when the run was planned, each with the arm it fills.
        task: id of the task.
        arm: the arm the run was first planned as.
        profile: `smoke`, `mini` or `paper`.
        seed: seed of the run; 0 if nothing was trained.
        repetition: how often the same run had been measured before (``--again``).
        status: `finished`, `failed` or `blocked`; only a finished record has metrics.
        metrics: by metric name (`top1`, `box_AP`, ...), in the unit of ``metrics.yaml``.
        per_class: metric (`IoU`, ...) -> name of the class -> percent.
        skipped: what the data loader left out (`annotations without area`, `images that cannot be decoded`,
            ...) -> how many.
        comparable: whether the data are the published ones, so that a claimed number may be judged.
        identity: what determines the result, item by item.
        recipe: the composed recipe as it was run (`suite.contract.ComposedRecipe`).
        protocol: the effective protocol, read back from the built objects.
        departures: known differences from the published protocol.
        provenance: code, packages, host, device, data, teacher.
        timings: seconds (`wall`, `train`, `evaluation`, `seconds_per_step`) and `peak_memory_mib`.
        scalars_sha256: of the file of its scalars (`suite.store.scalars`); None if it left none.
        samples_sha256: of the file of its sample predictions (`suite.store.samples`), likewise.
        distillation: the evidence that the method acted; None if nothing was distilled or observed.
        error: why it failed or is blocked; one line.
        finished_at: UTC time in ISO 8601.
    """

    # JSON has no NaN: as a string it is read back as the same number, as null it would not be.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: int = Field(default=SCHEMA_VERSION, le=SCHEMA_VERSION)
    run_id: RunId
    series: RunId
    attempt: PositiveInt = 1
    former_ids: list[RunId] = []
    claims: list[ServedClaim]
    task: Name
    arm: Arm
    profile: Name
    seed: int
    repetition: NonNegativeInt = 0
    status: Status
    metrics: dict[Name, float] = {}
    per_class: dict[Name, dict[Line, float]] = {}
    skipped: dict[Line, NonNegativeInt] = {}
    comparable: bool
    identity: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    protocol: dict[str, Any] = {}
    departures: list[Departure] = []
    provenance: Provenance = Provenance()
    timings: dict[Name, float] = {}
    scalars_sha256: Sha256 | None = None
    samples_sha256: Sha256 | None = None
    distillation: Distillation | None = None
    error: Line | None = None
    finished_at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.+:Z-]{0,16}$")

    @field_validator("recipe")
    @classmethod
    def _check_recipe(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        _Recipe.model_validate(recipe)
        return recipe

    @property
    def choices(self) -> Choices:
        """The names in the recipe."""
        if not self.recipe:
            return _NO_CHOICES
        student, teacher, method = (
            part["name"] if (part := self.recipe.get(key)) else None
            for key in ("student", "teacher", "method")
        )
        return Choices(self.recipe.get("task"), student, teacher, method, self.recipe.get("teacher_seed"))

    @property
    def inert(self) -> list[str]:
        """The signs that its method did not act, in words; see `Distillation.faults`."""
        return self.distillation.faults if self.distillation else []

    @property
    def weights_sha256(self) -> str | None:
        """The SHA-256 of the weights that the run trained or scored."""
        return self.provenance.weights_sha256

    @property
    def taught_by(self) -> str | None:
        """The SHA-256 of the weights that it learned from."""
        return self.provenance.teacher.weights_sha256 if self.provenance.teacher else None

    @property
    def started_from(self) -> str | None:
        """The SHA-256 of the weights that its backbone started from."""
        return self.provenance.start.weights_sha256 if self.provenance.start else None

    @property
    def environment(self) -> dict[str, str]:
        """Code, GPU, packages and host of the run, in words."""
        provenance = self.provenance
        facts = {"commit": provenance.commit, "gpu": provenance.gpu, **provenance.packages, **provenance.host}
        return {name: str(value) for name, value in facts.items() if value is not None}


def file_name(record: Record) -> str:
    """The name of a record's file."""
    return f"{record.run_id}-{record.attempt:02d}.json"


def as_bytes(record: Record) -> bytes:
    """The content of a record's file."""
    absent: dict[str, Any] = {name: True for name in _ADDED if getattr(record, name) is None}
    if record.provenance.start is None:
        absent["provenance"] = {"start": True}
    return (record.model_dump_json(indent=1, exclude=absent) + "\n").encode()


class _Attempt(Protocol):
    """The fields of a record or a summary that decide which one counts for its run."""

    @property
    def run_id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def status(self) -> Status: ...


Attempt = TypeVar("Attempt", bound=_Attempt)


def standing_by_run(records: Iterable[Attempt]) -> dict[str, Attempt]:
    """Run id -> its first finished record, or its latest attempt if none has finished.

    The first one counts: a run whose weights were lost is trained again, perhaps on another machine, and that
    must not change what has been reported for it.
    """

    def rank(record: Attempt) -> tuple[bool, int]:
        finished = record.status == "finished"
        return finished, -record.attempt if finished else record.attempt

    standing: dict[str, Attempt] = {}
    for record in records:
        known = standing.get(record.run_id)
        if known is None or rank(record) > rank(known):
            standing[record.run_id] = record
    return standing
