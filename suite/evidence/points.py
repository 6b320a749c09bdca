"""Points of the history: what a finished run measured, for which row, and in which night."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from suite.contract import Arm
from suite.evidence.served import ClaimArm, known_trainings
from suite.planning.plan import Run
from suite.published.finding import claims_by_id
from suite.published.weights import read_weights, weights_of
from suite.store.record import Record, standing_by_run
from suite.strict import Line, Name, RunId, Strict

SMOKE: Final = "smoke"
"""The profile with two iterations: its numbers only show that a row runs."""

LOSS: Final = "loss"
"""Used as the profile of rows that compare the first steps of a training with a stored trajectory."""

_NOON: Final = datetime.timedelta(hours=12)


class Row(NamedTuple):
    """The identity of one history.

    Attributes:
        subject: id of a claim, or of a released teacher in ``weights.yaml``.
        arm: the arm that was measured; `released` if a checkpoint was only scored.
        variant: the overrides of the variant; empty for the claim's own runs.
        profile: `smoke`, `mini` or `paper`, or `LOSS`.
        checkpoint: SHA-256 of the checkpoint that was scored, or its first digits; otherwise None.
    """

    subject: str
    arm: Arm
    variant: tuple[str, ...]
    profile: str
    checkpoint: str | None

    @property
    def title(self) -> str:
        """The row in words."""
        scored = f", checkpoint {self.checkpoint[:8]}" if self.checkpoint else ""
        return " ".join((self.subject, *self.variant)) + f" ({self.profile}{scored})"


class Point(Strict):
    """One metric of one run.

    Attributes:
        subject: as `Row`.
        arm: as `Row`.
        variant: as `Row`.
        profile: as `Row`.
        checkpoint: as `Row`.
        metric: name of the metric.
        run_id: the run.
        seed: seed of the run.
        repetition: how often the same run was measured before.
        value: measured value, in the unit of the metric.
        n: its position among the points of its row and metric, from 1.
        claimed: the published value; None if there is none.
        comparable: whether the data are the published ones.
        commit: commit of the code.
        packages: import name -> version.
        gpu: name of the GPU, or of the CPU if none was used; None for `LOSS` on a GPU.
        devices: number of devices that the run used.
        seconds_per_step: seconds per training step, or None.
        peak_memory_mib: peak memory in MiB, or None.
        finished_at: UTC time in ISO 8601.
        night: `night_of` that time.
    """

    subject: Name
    arm: Arm
    variant: tuple[Line, ...] = ()
    profile: Name
    checkpoint: Name | None = None
    metric: Name
    run_id: RunId
    seed: int
    repetition: NonNegativeInt
    value: float
    n: PositiveInt
    claimed: float | None = None
    comparable: bool
    commit: Name | None = None
    packages: dict[Name, Line] = {}
    gpu: Line | None = None
    devices: PositiveInt = 1
    seconds_per_step: float | None = None
    peak_memory_mib: float | None = None
    finished_at: Line
    night: datetime.date

    @property
    def row(self) -> Row:
        """The row that it belongs to."""
        return Row(self.subject, self.arm, self.variant, self.profile, self.checkpoint)

    @property
    def hardware(self) -> tuple[str | None, int]:
        """The hardware; performance is only compared between points with the same."""
        return self.gpu, self.devices

    @property
    def key(self) -> tuple[Row, str, str]:
        """The unique key of a point in a history."""
        return self.row, self.metric, self.run_id


def night_of(finished_at: str | datetime.datetime) -> datetime.date:
    """The night that a time belongs to: from noon to noon UTC, named by the date of its evening.

    Raises:
        ValueError: a text is not a time in ISO 8601.
    """
    # Python 3.10 cannot parse the Z.
    text = finished_at.replace("Z", "+00:00") if isinstance(finished_at, str) else None
    time = datetime.datetime.fromisoformat(text) if text is not None else finished_at
    assert isinstance(time, datetime.datetime)
    if time.tzinfo is not None:
        time = time.astimezone(datetime.timezone.utc)
    return (time - _NOON).date()


def rows_of(record: Record) -> list[tuple[Row, dict[str, float]]]:
    """The rows that a record belongs to, each with the published numbers.

    A run only counts for claims about its own number: a student alone is an arm of many claims, but only a
    point of the claim about that student. A released teacher has a row of its own, and so does each scored
    checkpoint.
    """
    checkpoint = record.identity.get("checkpoint")
    return _rows(
        record.arm,
        record.profile,
        record.choices.student,
        known_trainings().served_by(record),
        (checkpoint.get("sha256"),) if checkpoint else None,
    )


def rows_planned(run: Run) -> list[Row]:
    """The rows that a planned run will belong to; see `rows_of`."""
    scored = run.identity.checkpoint
    served = [(entry.claim, entry.arm, entry.variant) for entry in run.claims]
    checkpoint = None if scored is None else (scored.sha256,)
    found = _rows(run.arm, run.recipe.profile, run.recipe.student.name, served, checkpoint)
    return [row for row, _ in found]


def _rows(
    arm: Arm,
    profile: str,
    student: str | None,
    served: Iterable[ClaimArm],
    checkpoint: tuple[str | None] | None,
) -> list[tuple[Row, dict[str, float]]]:
    """As `rows_of`; for a run that only scores, `checkpoint` holds the SHA-256 of the file."""
    (sha256,) = checkpoint or (None,)
    if arm == "teacher" and checkpoint:
        weights = weights_of(student) if student else None
        if weights is None:
            return []
        accuracy = {name: float(number) for name, number in weights.accuracy.items()}
        return [(Row(weights.id, "released", (), profile, sha256), accuracy)]
    claims = claims_by_id()
    found = []
    for name, filled, variant in served:
        claim = claims.get(name)
        if claim is not None and filled in (claim.kind.arm, "released"):
            published = {metric: printed.value for metric, printed in claim.metrics.items()}
            found.append((Row(name, filled, variant, profile, sha256), published))
    return found


def is_teacher(subject: str) -> bool:
    """Whether the subject of a row is a released teacher instead of a claim."""
    return subject in read_weights()


def points_of(records: Iterable[Record], known: Iterable[Point] = ()) -> list[Point]:
    """The points of finished records that a history lacks, oldest first.

    Args:
        records: the store, in any order; of each run only its standing record is used.
        known: the points that are in the history already.
    """
    points = list(known)
    keys = {point.key for point in points}
    counts = Counter((point.row, point.metric) for point in points)
    finished = [record for record in standing_by_run(records).values() if record.status == "finished"]
    fresh = []
    for record in sorted(finished, key=lambda record: (_time(record), record.run_id)):
        for row, published in rows_of(record):
            for metric, value in record.metrics.items():
                if (row, metric, record.run_id) in keys or not math.isfinite(value):
                    continue
                counts[row, metric] += 1
                n = counts[row, metric]
                fresh.append(_point(record, row, metric, published.get(metric), n))
    return fresh


def _time(record: Record) -> str:
    return record.finished_at.replace("Z", "+00:00")


def _point(record: Record, row: Row, metric: str, claimed: float | None, n: int) -> Point:
    provenance = record.provenance
    devices = record.protocol.get("devices", 1)
    return Point(
        **row._asdict(),
        metric=metric,
        run_id=record.run_id,
        seed=record.seed,
        repetition=record.repetition,
        value=record.metrics[metric],
        n=n,
        claimed=claimed,
        comparable=record.comparable,
        commit=provenance.commit,
        packages=provenance.packages,
        gpu=provenance.gpu or str(provenance.host.get("cpu") or provenance.device or "unknown"),
        devices=devices if isinstance(devices, int) and devices > 0 else 1,
        seconds_per_step=_finite(record.timings.get("seconds_per_step")),
        peak_memory_mib=_finite(record.timings.get("peak_memory_mib")),
        finished_at=record.finished_at,
        night=night_of(record.finished_at),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
