"""Noise priors of the published metrics: how far one training scatters, read from `baselines/priors.yaml`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator

from suite.paths import BASELINES
from suite.strict_yaml import parse, refuse

PRIORS_FILE = BASELINES / "priors.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Evidence(_Strict):
    """Somebody's repeated trainings.

    Attributes:
        source: the document.
        where: its address.
        what: which model, and how often.
        runs: number of trainings.
        values: their results, percent, where published.
        sd: their sample standard deviation, percent points.
        bound: upper bound on the difference of two trainings, where that is all that was said.
    """

    source: str
    where: str
    what: str
    runs: PositiveInt | None = None
    values: list[float] | None = None
    sd: PositiveFloat | None = None
    bound: PositiveFloat | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Evidence:
        if self.sd is None and self.bound is None:
            raise ValueError("evidence needs an sd or a bound")
        if self.values is not None and self.runs != len(self.values):
            raise ValueError(f"runs is {self.runs}, but {len(self.values)} values are listed")
        return self


class Prior(_Strict):
    """What is assumed about the scatter of a metric on a data set.

    Attributes:
        dataset: data set id as in the claims.
        metrics: metric names as in the claims.
        sigma0: sd of one run, percent points.
        delta: practical margin, percent points.
        scope: the trainings that the numbers are meant for.
        evidence: what they were chosen from.
        note: anything a reader must know before trusting them.
    """

    dataset: str
    metrics: list[str]
    sigma0: PositiveFloat
    delta: PositiveFloat
    scope: str
    evidence: list[Evidence]
    note: str | None = None


class Absence(_Strict):
    """Metrics without a prior, and why there is none."""

    dataset: str
    metrics: list[str]
    why: str


class Priors(_Strict):
    """The whole file.

    Attributes:
        version: raised with every change of a number; reports print it.
        priors: metrics that are judged.
        absent: metrics that are shown and not judged.
    """

    version: PositiveInt
    priors: list[Prior]
    absent: list[Absence]


@functools.lru_cache(maxsize=8)
def load_priors(path: Path = PRIORS_FILE) -> Priors:
    """Reads and checks the priors; kept for the life of the process.

    Raises:
        SuiteError: the file is missing, is no YAML, breaks the schema, or lists a metric twice; names
            file and line.
    """
    priors = parse(Priors, path)
    seen: set[tuple[str, str]] = set()
    groups: dict[str, Sequence[Prior | Absence]] = {"priors": priors.priors, "absent": priors.absent}
    for group, rows in groups.items():
        for index, row in enumerate(rows):
            for position, metric in enumerate(row.metrics):
                if (row.dataset, metric) in seen:
                    text = f"{metric} on {row.dataset} is listed twice; leave one of them"
                    refuse(path, (group, index, "metrics", position), text)
                seen.add((row.dataset, metric))
    return priors


def find_prior(dataset: str, metric: str) -> Prior | None:
    """The prior of a metric on a data set; None when none is known (see `why_absent`)."""
    for prior in load_priors().priors:
        if prior.dataset == dataset and metric in prior.metrics:
            return prior
    return None


def why_absent(dataset: str, metric: str) -> str:
    """Why a metric has no prior, as half a sentence for a report."""
    for row in load_priors().absent:
        if row.dataset == dataset and metric in row.metrics:
            return row.why
    return f"no noise prior for {metric} on {dataset} is on file"
