"""One tidy table of claimed and reproduced numbers: a row is one metric of one claim.

Everything that a report shows about a number comes from this frame; `suite.report.page` only words it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from suite.contract import Arm
from suite.evidence.columns import Column, framed
from suite.evidence.embedded_noise import Kind, KindNoise, embedded_noise, gains_of, pairs_of
from suite.evidence.gathered import Arms, Measured, measured_arms
from suite.planning.overrides import part_of_variant
from suite.published.claims import Claim, Metric, Paper, Quoted
from suite.published.finding import claims_by_id
from suite.published.metrics import find_metric
from suite.published.names import MetricName
from suite.published.priors import find_margin, find_prior, why_absent
from suite.store.summaries import Evidence
from suite.verdicts import (
    BLOCKED,
    GAIN_UNCLEAR,
    STANDARD_RUNS,
    GainVerdict,
    PooledGain,
    benjamini_hochberg,
    gate,
    judge_claim,
    judge_gain,
    judge_with,
    mean_interval,
    mean_of,
    shared_noise,
    teacher_reason,
)

COLUMNS: Final[dict[str, Column]] = {
    "paper": Column("string", "id of the paper"),
    "tables": Column("string", "ids of the published tables that print the number, separated by ` | `"),
    "claim": Column("string", "id of the claim; for a quoted number, the id of its row"),
    "origin": Column(
        "string",
        "`claim`: what the paper claims; `variant`: the same with overrides; `quoted`: what others printed",
    ),
    "role": Column(
        "string",
        "role of the claim (`ours`, `baseline`, `teacher`, `rival`, `ablation`); "
        "for a quoted number, its kind",
    ),
    "about": Column("string", "for quoted numbers, the claim they are about"),
    "variant": Column("string", "overrides of the variant; missing for the claim's own runs"),
    "method": Column("string", "method in words, also for a model trained alone"),
    "teacher": Column("string", "teacher of the claim; missing if it has none"),
    "student": Column("string", "student of the claim; missing if the claim is about a teacher"),
    "dataset": Column("string", "data set of the claim"),
    "metric": Column("string", "name of the metric; missing for a quotation without a number"),
    "main": Column("boolean", "whether the metric represents its claim when claims are counted"),
    "profile": Column("string", "which runs: `smoke`, `mini` or `paper`"),
    "status": Column(
        "string", "`finished`, `not run`, `blocked`, `failed` (the worst of its runs), or `quoted`"
    ),
    "claimed": Column("float64", "the published number"),
    "decimals": Column("Int64", "number of decimals printed"),
    "reproduced": Column("float64", "mean over the seeds"),
    "sd": Column("float64", "sample standard deviation over the seeds; missing for one seed"),
    "mean_lower": Column(
        "float64",
        "lower end of the 90 % interval of the mean; without a noise prior, missing below three seeds",
    ),
    "mean_upper": Column("float64", "upper end of that interval"),
    "n": Column("Int64", "number of seeds in the mean"),
    "seeds": Column("string", "these seeds, separated by spaces"),
    "repetitions": Column("Int64", "finished repeated runs (`--again`), which are not in the mean"),
    "difference": Column("float64", "`reproduced` - `claimed`; missing if the two cannot be compared"),
    "lower": Column("float64", "lower end of the 95 % prediction interval for one more run of ours"),
    "upper": Column("float64", "upper end of that interval"),
    "verdict": Column("string", "verdict on the number"),
    "strength": Column("string", "`screen` for a verdict on one or two runs, `standard` for three or more"),
    "equivalent": Column("boolean", "whether the difference is certainly smaller than the practical margin"),
    "marked": Column(
        "boolean", "whether the runs had listed departures: the verdict is printed with an asterisk"
    ),
    "survives_wider_prior": Column(
        "boolean", "whether a deviation remains one with a noise prior 1.5 times as wide"
    ),
    "p_value": Column("float64", "two-sided p value of the difference"),
    "survives_bh": Column(
        "boolean", "whether it survives Benjamini-Hochberg at q = 0.10 over the judged rows of the paper"
    ),
    "best_of_k": Column(
        "Int64", "for a number that is too low: the k for which the best of k runs would explain the claim"
    ),
    "runs_needed": Column("Int64", "for an undecided number: number of runs that would decide it"),
    "reason": Column("string", "why there is no verdict on the number"),
    "claimed_gain": Column("float64", "published gain over the student trained alone"),
    "student_claimed": Column("float64", "published number of the student trained alone"),
    "student_mean": Column(
        "float64",
        "our own student trained alone, mean over its seeds; on embedded data over those that the distilled "
        "runs have too, so that `reproduced` - `student_mean` is the gain",
    ),
    "student_n": Column("Int64", "number of seeds in that mean"),
    "gain": Column("float64", "gain of the distilled student over our own student trained alone"),
    "gain_lower": Column("float64", "lower end of the 90 % interval of the gain"),
    "gain_upper": Column("float64", "upper end of that interval"),
    "gain_sd": Column(
        "float64",
        "embedded data: standard deviation of one paired difference, shrunk towards that of the task's rows",
    ),
    "gain_prior_sd": Column("float64", "embedded data: the standard deviation shared by these rows"),
    "gain_prior_df": Column("float64", "embedded data: degrees of freedom of the shared standard deviation"),
    "gain_df": Column("float64", "embedded data: degrees of freedom of the interval"),
    "retained": Column("float64", "`gain` / `claimed_gain`; missing if the two cannot be compared"),
    "retained_lower": Column("float64", "lower end of its 90 % interval"),
    "retained_upper": Column("float64", "upper end of that interval"),
    "released": Column("float64", "score of a checkpoint that was trained elsewhere"),
    "gain_verdict": Column("string", "verdict on the gain"),
    "gain_marked": Column("boolean", "like `marked`, for the runs of the gain"),
    "gain_reason": Column("string", "why there is no verdict on the gain"),
    "teacher_claimed": Column("float64", "published number of the teacher"),
    "teacher_measured": Column("float64", "our score of the teacher that taught the distilled runs"),
    "departures": Column(
        "string", "listed departures of the runs from the published protocol, separated by ` | `"
    ),
    "skipped": Column(
        "string", "what was skipped when loading the data, with the number of each, separated by ` | `"
    ),
    "discrepancies": Column(
        "string",
        "ids of the contradictions between published sources that affect the claim, separated by ` | `",
    ),
    "series": Column("string", "shared by the runs of the mean, which differ only in seed and repetition"),
    "older_records": Column("Int64", "number of finished runs of earlier series, which do not count"),
    "older": Column("string", "their results: mean, number of runs and date, separated by ` | `"),
    "source": Column("string", "where the number is printed"),
    "note": Column("string", "what a reader must know about the claim"),
}
"""The columns of the judged frame. Metrics are in the unit of ``metrics.yaml``, most of them percent."""

SEPARATOR: Final = " | "
"""Separator of the entries of a cell with several (tables, departures, what was skipped, discrepancies)."""

_NUMBERS: Final = (
    "lower",
    "upper",
    "strength",
    "equivalent",
    "survives_wider_prior",
    "p_value",
    "best_of_k",
    "runs_needed",
)
"""Columns that are filled from attributes of the same name of `suite.verdicts.AbsoluteVerdict`."""


_NOTHING: Final = Measured()


def build_frame(
    papers: Iterable[Paper], records: Iterable[Evidence], profile: str, arms: Arms | None = None
) -> pd.DataFrame:
    """Builds the frame behind every report.

    Args:
        papers: the published numbers.
        records: the store; the order does not matter.
        profile: which records count.
        arms: what was measured at that profile, if known already.

    Returns:
        Per paper, in the order of its files, one row for each metric of each claim, then of each variant of a
        claim, then of each quoted number; columns and dtypes as in `COLUMNS`.
    """
    papers, records = list(papers), list(records)
    claims = {claim.id: claim for paper in papers for claim in paper.claims}
    arms = measured_arms(records, profile) if arms is None else arms
    known = _Known(
        claims,
        arms,
        embedded_noise((claims_by_id() | claims).values(), arms),
        {
            record.weights_sha256: record
            for record in records
            if record.status == "finished" and record.weights_sha256
        },
    )
    rows: list[dict[str, Any]] = []
    for paper in papers:
        own = [row for claim in paper.claims for row in _claim_rows(paper, claim, known)]
        _mark_discoveries(own)
        rows += own
        for claim in paper.claims:
            for variant in known.variants(claim):
                rows += _claim_rows(paper, claim, known, variant)
        rows += [row for quoted in paper.quoted for row in _quoted_rows(paper, quoted)]
    for row in rows:
        row["profile"] = profile
    return framed(rows, COLUMNS)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain dictionaries, with None for missing values."""
    plain = frame.astype(object)
    rows: list[dict[str, Any]] = plain.where(plain.notna(), None).to_dict("records")
    return rows


@dataclass(frozen=True)
class _Known:
    """What a row is computed from besides its own claim: the other claims, and all measurements.

    Attributes:
        claims: by id.
        arms: what was measured for every arm.
        noise: the noise of the gains of a task on embedded data.
        checkpoints: SHA-256 of trained weights -> the finished run that trained them.
    """

    claims: Mapping[str, Claim]
    arms: Arms
    noise: Mapping[Kind, KindNoise]
    checkpoints: Mapping[str, Evidence]

    def arm(self, claim: Claim, name: Arm, variant: tuple[str, ...] = ()) -> Measured:
        """What was measured for an arm; an arm that no override of a variant affects is the claim's own."""
        return self.arms.get((claim.id, name, part_of_variant(variant, name)), _NOTHING)

    def variants(self, claim: Claim) -> list[tuple[str, ...]]:
        """The variants of a claim that were run or scored, in the order of their overrides."""
        if not claim.judged:
            return []
        speaking = (claim.kind.arm, "released")
        return sorted(
            {variant for name, arm, variant in self.arms if name == claim.id and arm in speaking and variant}
        )

    def teacher(self, claim: Claim, variant: tuple[str, ...] = ()) -> Measured:
        """The checkpoints that taught the distilled runs of a claim, or otherwise the claim's teacher arm.

        A teacher whose weights were lost and trained again on another machine is the same run, but a
        different checkpoint.
        """
        taught = {run.taught_by for run in self.arm(claim, "distilled", variant).finished}
        if taught and taught <= self.checkpoints.keys():
            return Measured(tuple(self.checkpoints[str(weights)] for weights in sorted(map(str, taught))))
        return self.arm(claim, "teacher", variant)

    def claimed(self, claim: str | None) -> dict[MetricName, Metric]:
        """The numbers of another claim; empty if there is no such claim."""
        return self.claims[claim].metrics if claim is not None and claim in self.claims else {}


def _claim_rows(
    paper: Paper, claim: Claim, known: _Known, variant: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """One row for each metric of a claim, or of a variant of it."""
    shared: dict[str, Any] = {
        "paper": paper.id,
        "tables": _joined(dict.fromkeys(source.table for source in claim.sources)),
        "claim": claim.id,
        "origin": "variant" if variant else "claim",
        "role": claim.role,
        "variant": " ".join(variant) or None,
        "method": claim.label,
        "teacher": claim.teacher,
        "student": claim.student,
        "dataset": claim.dataset,
        "discrepancies": _joined(claim.discrepancies),
        "source": _joined(source.where for source in claim.sources),
        "note": claim.note,
    }
    main = main_metric(claim)
    for name, metric in claim.metrics.items():
        row = shared | {
            "metric": name,
            # Variants are not counted among the claims.
            "main": name == main and not variant,
            "claimed": metric.value,
            "decimals": metric.decimals,
            "claimed_gain": _claimed_gain(claim, name, known),
            "teacher_claimed": _claimed_beside(claim.teacher_claim, name, known),
            "student_claimed": _claimed_beside(claim.baseline, name, known),
        }
        yield row | (_measured_columns(claim, name, known, variant) if claim.judged else {"status": "quoted"})


def main_metric(claim: Claim) -> MetricName:
    """The metric that represents a claim: its first with a noise prior, or else its first."""
    judged = (name for name in claim.metrics if find_prior(claim.dataset, name) is not None)
    return next(judged, next(iter(claim.metrics)))


def _quoted_rows(paper: Paper, quoted: Quoted) -> Iterator[dict[str, Any]]:
    """One row for each metric of a quoted number, or a single one without a number if it has no metric."""
    for name in dict.fromkeys([*quoted.metrics, *quoted.gains]) or [None]:
        printed = None if name is None else quoted.metrics.get(name)
        gain = None if name is None else quoted.gains.get(name)
        yield {
            "paper": paper.id,
            "tables": quoted.table,
            "claim": quoted.row,
            "origin": "quoted",
            "role": quoted.kind,
            "about": quoted.about,
            "method": quoted.method,
            "teacher": quoted.teacher,
            "student": quoted.student,
            "metric": name,
            "status": "quoted",
            "claimed": None if printed is None else float(printed),
            "decimals": max(_decimals(printed), _decimals(gain)),
            "claimed_gain": None if gain is None else float(gain),
            "discrepancies": _joined(quoted.discrepancies),
            "source": paper.document(quoted),
            "note": quoted.note,
        }


def _claimed_gain(claim: Claim, name: MetricName, known: _Known) -> float | None:
    """The gain as printed, or else the difference of the two printed numbers.

    If only others print the number, there is no such difference: nobody claims it as a gain over the paper's
    own student.
    """
    metric = claim.metrics[name]
    baseline = known.claimed(claim.baseline).get(name)
    if metric.gain is not None or baseline is None or claim.claimed_by is not None:
        return metric.gain
    return float(find_metric(name).printed_gain(str(metric), str(baseline)))


def _claimed_beside(claim: str | None, name: MetricName, known: _Known) -> float | None:
    """The published number of another claim, such as that of the teacher or the student alone; or None."""
    metric = known.claimed(claim).get(name)
    return None if metric is None else metric.value


def _measured_columns(
    claim: Claim, name: MetricName, known: _Known, variant: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The columns that come from our records, for one metric of a judged claim."""
    arm = claim.kind.arm
    own = known.arm(claim, arm, variant)
    columns = {"status": own.status, "released": known.arm(claim, "released", variant).mean(name)}
    columns |= _columns_beside(claim, name, known, variant) if arm == "distilled" else {}
    if not own.runs:
        return columns
    values = list(own.by_seed(name).values())
    columns |= {
        "reproduced": own.mean(name),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        **_mean_interval(claim, name, own),
        "n": len(values) or None,
        "seeds": " ".join(str(seed) for seed in own.by_seed(name)) or None,
        "departures": _joined(own.departures),
        "skipped": _joined(own.skipped),
        "series": own.runs[0].series,
        "repetitions": len(own.repeated) or None,
        "older_records": len(own.older),
        "older": _joined(own.history(name)),
    }
    if arm != "distilled":
        return columns | _absolute_columns(claim, name, own, own.faults)
    teacher, student = known.teacher(claim, variant), known.arm(claim, "student", variant)
    reasons = own.faults + teacher.faults + _wrong_teacher(claim, teacher, known)
    return (
        columns
        | _absolute_columns(claim, name, own, reasons)
        | _gain_columns(claim, name, (own, student), known, reasons + student.faults)
    )


def _mean_interval(claim: Claim, name: MetricName, own: Measured) -> dict[str, float]:
    """The interval of the mean; the noise prior is only used for published data."""
    prior = find_prior(claim.dataset, name) if own.comparable else None
    ends = mean_interval(list(own.by_seed(name).values()), prior.sigma0 if prior else None)
    return dict(zip(("mean_lower", "mean_upper"), ends, strict=True)) if ends else {}


def _columns_beside(
    claim: Claim, name: MetricName, known: _Known, variant: tuple[str, ...]
) -> dict[str, Any]:
    """The columns of the teacher and the student alone, which may be measured before the distilled one."""
    distilled, student = known.arm(claim, "distilled", variant), known.arm(claim, "student", variant)
    alone = student.by_seed(name)
    if not (distilled.comparable and student.comparable):
        # A gain is paired by seed here, so the student beside it has the seeds of the pairs.
        alone = {seed: alone[seed] for seed in distilled.by_seed(name) if seed in alone} or alone
    return {
        "teacher_measured": known.teacher(claim, variant).mean(name),
        "student_mean": mean_of(alone.values()) if alone else None,
        "student_n": len(alone) or None,
    }


def _wrong_teacher(claim: Claim, teacher: Measured, known: _Known) -> list[str]:
    """Which metrics of the teacher are too far from the published ones; empty on embedded data."""
    if not teacher.comparable:
        return []
    reasons = []
    for name, metric in known.claimed(claim.teacher_claim).items():
        measured = teacher.mean(name)
        # Only metrics with a prior are judged, so only these can block a verdict.
        if measured is not None and find_prior(claim.dataset, name) is not None:
            reasons.append(teacher_reason(name, metric.value, measured))
    return [reason for reason in reasons if reason is not None]


def _absolute_columns(claim: Claim, name: MetricName, own: Measured, reasons: list[str]) -> dict[str, Any]:
    """The verdict on the claimed number, and the numbers behind it."""
    metric = claim.metrics[name]
    mean = own.mean(name)
    closed = gate(reasons, own.comparable)
    if closed is not None:
        return {"verdict": closed.verdict, "reason": closed.reason}
    if mean is None:
        return {"reason": f"the runs do not report {name}"}
    difference = {"difference": mean - metric.value}
    prior = find_prior(claim.dataset, name)
    if prior is None:
        return difference | {"reason": why_absent(claim.dataset, name)}
    judged = judge_claim(
        metric.value,
        metric.decimals,
        list(own.by_seed(name).values()),
        prior.sigma0,
        prior.delta,
        departures=own.departures,
    )
    numbers = {key: getattr(judged.numbers, key) for key in _NUMBERS}
    return difference | {"verdict": judged.verdict, "marked": judged.marked} | numbers


def _gain_columns(
    claim: Claim, name: MetricName, arms: tuple[Measured, Measured], known: _Known, reasons: list[str]
) -> dict[str, Any]:
    """The columns of the gain over our own student, judged by its size, or on embedded data by its sign."""
    own, student = arms
    if not student.runs:
        return {"gain_reason": "our own student was not run"}
    if reasons:
        return {"gain_verdict": BLOCKED, "gain_reason": "; ".join(reasons)}
    distilled, alone = own.oriented(name), student.oriented(name)
    if not distilled or not alone:
        return {"gain_reason": f"the runs do not report {name}"}
    if not (own.comparable and student.comparable):
        return _embedded_gain_columns(claim, name, arms, known)
    prior = find_prior(claim.dataset, name)
    if prior is None:
        gain = mean_of(distilled.values()) - mean_of(alone.values())
        return {"gain": gain, "gain_reason": why_absent(claim.dataset, name)}
    judged = judge_gain(
        _claimed_gain(claim, name, known),
        claim.metrics[name].decimals,
        list(distilled.values()),
        list(alone.values()),
        prior.sigma0,
        prior.delta,
    )
    retained = {key: getattr(judged, key) for key in ("retained", "retained_lower", "retained_upper")}
    marked = bool(own.departures or student.departures)
    return _gain_numbers(judged) | retained | {"gain_marked": marked}


def _embedded_gain_columns(
    claim: Claim, name: MetricName, arms: tuple[Measured, Measured], known: _Known
) -> dict[str, Any]:
    """The columns of a gain on embedded data, paired by seed and judged with the noise shared by its task."""
    gains = gains_of(pairs_of(name, *arms))
    if len(gains) < STANDARD_RUNS:
        columns = {"gain": mean_of(gains)} if gains else {}
        return columns | {"gain_verdict": GAIN_UNCLEAR, "gain_reason": "fewer than three seeds"}
    kind = known.noise.get((claim.task, name))
    # A variant may be the only one of its task that ran.
    judged = judge_with(kind.shared if kind else shared_noise({name: gains}), gains, find_margin(name))
    noise = {f"gain_{key}": getattr(judged, key) for key in ("sd", "prior_sd", "prior_df", "df")}
    return _gain_numbers(judged) | noise


def _gain_numbers(judged: GainVerdict | PooledGain) -> dict[str, Any]:
    return {
        "gain": judged.gain,
        "gain_lower": judged.lower,
        "gain_upper": judged.upper,
        "gain_verdict": judged.verdict,
    }


def _mark_discoveries(rows: list[dict[str, Any]]) -> None:
    """Adds to every judged row of a paper whether it survives Benjamini-Hochberg over all of them."""
    judged = [row for row in rows if row.get("p_value") is not None]
    survives = benjamini_hochberg([row["p_value"] for row in judged])
    for row, survived in zip(judged, survives, strict=True):
        row["survives_bh"] = survived


def _decimals(printed: str | None) -> int:
    return len((printed or "").partition(".")[2])


def _joined(entries: Iterable[str]) -> str | None:
    return SEPARATOR.join(entries) or None
