"""Plans as the tests of costs need them, what they cost, and records that time a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suite.cost import PlanCost, cost_of
from suite.planning.plan import Plan, Run, make_plan
from suite.published.finding import select
from suite.store.record import Record

COCO = 117266
IMAGENET = 1281167


@pytest.fixture(autouse=True)
def _folders(shared_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared cache of composed recipes, and no data sets."""
    monkeypatch.setenv("SUITE_WORK", str(shared_work))
    monkeypatch.setenv("SUITE_DATA", str(tmp_path / "datasets"))


def plan_of(*claims: str, profile: str = "paper", seeds: int = 1, overrides: tuple[str, ...] = ()) -> Plan:
    return make_plan([claim for _, claim in select(claims=claims)], profile, seeds, overrides)


def runs_of(plan: Plan) -> dict[str, Run]:
    """Runs by label without the seed."""
    return {run.label.rpartition(", ")[0]: run for run in plan.runs.values()}


def priced(plan: Plan, *records: Record, finished: tuple[str, ...] = ()) -> PlanCost:
    states = {run_id: "finished" if run_id in finished else "to do" for run_id in plan.runs}
    return cost_of(plan, states, records)


def record_of(run: Run, seconds: float, **fields: Any) -> Record:
    """A finished record of a run on eight GPUs, two images each, a thousand iterations."""
    content: dict[str, Any] = {
        "run_id": run.run_id,
        "series": run.series,
        "claims": run.claims,
        "task": run.recipe.task,
        "arm": run.arm,
        "profile": run.recipe.profile,
        "seed": run.seed,
        "status": "finished",
        "metrics": {"box_AP": 40.0},
        "comparable": run.recipe.comparable,
        "recipe": run.recipe.model_dump(),
        "protocol": {"iterations": 1000, "batch_size": 2, "devices": 8},
        "provenance": {"device": "cuda", "gpu": "NVIDIA H100"},
        "timings": {"seconds_per_step": seconds},
        "finished_at": "2026-11-01T10:00:00+00:00",
    }
    return Record.model_validate(content | fields)
