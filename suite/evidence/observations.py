"""The long frame: a row is one number that one run measured, for one arm of one claim.

Which records count is decided by `suite.evidence.gathered`; here its result is only turned into rows. The
means of the rows that count are the numbers of the judged frame (`suite.evidence.frame`); only that of a
student trained alone on embedded data is, beside a distilled one, taken over the seeds that both have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pandas as pd

from suite.evidence.columns import Column, framed
from suite.evidence.gathered import Arms, Measured, by_claim, measured_arms
from suite.evidence.served import ClaimArm
from suite.published.claims import Claim, Paper
from suite.store.summaries import Evidence

COLUMNS: Final[dict[str, Column]] = {
    "paper": Column("string", "id of the paper"),
    "claim": Column(
        "string", "id of the claim that the run serves; a run shared by several claims has rows for each"
    ),
    "method": Column("string", "method of the claim in words, also for a model trained alone"),
    "teacher": Column("string", "teacher of the claim; missing if it has none"),
    "student": Column("string", "student of the claim; missing if the claim is about a teacher"),
    "dataset": Column("string", "data set of the claim; embedded data replace it if `comparable` is false"),
    "metric": Column(
        "string", "name of the metric; all metrics that the run reports, not only the claimed ones"
    ),
    "arm": Column(
        "string",
        "role of the run in the claim: `teacher`, `student` (the student trained alone), `distilled`, "
        "`backbone` (a network whose backbone the others start from), or `released` (a checkpoint "
        "trained elsewhere and only evaluated here)",
    ),
    "variant": Column("string", "overrides of the variant; missing for the claim's own runs"),
    "profile": Column("string", "profile of the run: `smoke`, `mini` or `paper`"),
    "seed": Column("Int64", "seed of the run; 0 where nothing was trained"),
    "repetition": Column("Int64", "how often the same run had been measured before (`reproduce --again`)"),
    "value": Column(
        "Float64", "measured value, in the unit of the metric; missing if the run did not finish"
    ),
    "counts": Column(
        "boolean", "whether the value is part of the mean of its arm, which is the number in the judged frame"
    ),
    "standing": Column(
        "string",
        "`current`: the run of its seed; `repeated`: a further run of the same measurement; `older`: from an "
        "earlier recipe, data set or version. Only `current` rows count",
    ),
    "status": Column(
        "string", "`finished`, `failed` or `blocked`; an unfinished run has a row for each claimed metric"
    ),
    "error": Column("string", "why the run failed or was blocked"),
    "run_id": Column("string", "id of the run; its records are `results/records/<run_id>-*.json`"),
    "series": Column("string", "shared by runs that differ only in seed and repetition"),
    "commit": Column("string", "commit of the code; missing outside a repository"),
    "cpu": Column("string", "processor of the host"),
    "gpu": Column("string", "GPU; missing if the run had none"),
    "finished_at": Column(
        "datetime64[us, UTC]", "when the run ended; missing if the recorded text is not a date"
    ),
    "comparable": Column(
        "boolean", "whether the run used the published data, so that a claimed number can be judged"
    ),
    "seconds": Column("Float64", "wall time of the run, seconds; missing if it was not recorded"),
}
"""The columns of the long frame. Metrics are in the unit of ``metrics.yaml``, most of them percent."""


def build_observations(
    papers: Iterable[Paper], records: Iterable[Evidence], profile: str, arms: Arms | None = None
) -> pd.DataFrame:
    """Builds the long frame.

    Args:
        papers: the papers whose judged claims get rows.
        records: the store; the order does not matter.
        profile: which records count.
        arms: what was measured at that profile, if known already.

    Returns:
        One row for each claim, metric, arm, seed and repetition, including earlier series, in the order of
        the papers' files, then by arm. Columns and dtypes as in `COLUMNS`.
    """
    measured_of = by_claim(measured_arms(records, profile) if arms is None else arms)
    rows = (
        row
        for paper in papers
        for claim in paper.claims
        if claim.judged
        for entry, measured in measured_of.get(claim.id, {}).items()
        for row in _rows(paper, claim, entry, measured)
    )
    return framed(rows, COLUMNS)


def _rows(paper: Paper, claim: Claim, entry: ClaimArm, measured: Measured) -> Iterator[dict[str, Any]]:
    _, arm, variant = entry
    shared = {
        "paper": paper.id,
        "claim": claim.id,
        "method": claim.label,
        "teacher": claim.teacher,
        "student": claim.student,
        "dataset": claim.dataset,
        "arm": arm,
        "variant": " ".join(variant) or None,
    }
    older = sorted(measured.older, key=lambda run: (run.finished_at, run.run_id), reverse=True)
    for standing, runs in (("current", measured.runs), ("repeated", measured.repeated), ("older", older)):
        for run in runs:
            told = shared | _of_run(run) | {"standing": standing}
            for metric, value in _values(run, claim).items():
                counts = standing == "current" and value is not None
                yield told | {"metric": metric, "value": value, "counts": counts}


def _values(run: Evidence, claim: Claim) -> dict[str, float | None]:
    """Metric -> its value; None if the run did not finish or the value is not finite."""
    if run.status != "finished":
        return dict.fromkeys(claim.metrics)
    return {name: value if math.isfinite(value) else None for name, value in run.metrics.items()}


def _of_run(run: Evidence) -> dict[str, Any]:
    """The columns that every metric of a run shares."""
    return {
        "profile": run.profile,
        "seed": run.seed,
        "repetition": run.repetition,
        "status": run.status,
        "error": run.error,
        "run_id": run.run_id,
        "series": run.series,
        "commit": run.environment.get("commit"),
        "cpu": run.environment.get("cpu"),
        "gpu": run.environment.get("gpu"),
        "finished_at": run.finished_at,
        "comparable": run.comparable,
        "seconds": run.timings.get("wall"),
    }
