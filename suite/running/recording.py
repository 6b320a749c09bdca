"""Makes the record of an attempt at a run."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from suite.planning.plan import Run
from suite.store.record import Provenance, Record, Status


def record_of(run: Run, status: Status, provenance: Provenance, **measured: Any) -> Record:
    """The record of an attempt at a run, with the current time as its end.

    Args:
        run: the run.
        status: how it ended.
        provenance: the code, packages and machine that executed it.
        measured: further fields of the record, such as `metrics`, `protocol`, `timings` or `error`.
    """
    return Record(
        run_id=run.run_id,
        series=run.series,
        claims=list(run.claims),
        task=run.recipe.task,
        arm=run.arm,
        profile=run.recipe.profile,
        seed=run.seed,
        repetition=run.repetition,
        status=status,
        comparable=run.recipe.comparable,
        identity=run.identity.model_dump(),
        recipe=run.recipe.model_dump(),
        departures=run.recipe.departures,
        provenance=provenance,
        finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **measured,
    )


def blocked_by(run: Run, needed: str) -> str:
    """Why a run is blocked when one that it needs did not finish.

    Args:
        run: the run.
        needed: its teacher, or the run whose backbone it starts from.
    """
    return f"its {'teacher' if needed == run.teacher else 'backbone'}, run {needed}, did not finish"
