"""Noise priors of the published metrics, ``baselines/priors.yaml``: how much results of one run scatter."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import PositiveFloat, PositiveInt, model_validator

from suite.catalogue import Catalogue, current
from suite.published.datasets import read_dataset_names
from suite.published.metrics import read_metrics
from suite.published.names import DatasetName, Known, MetricName
from suite.strict import Strict
from suite.strict_yaml import Location, line_of, parse, refuse, shown


class Evidence(Strict):
    """Published results of repeated trainings.

    Attributes:
        source: the document.
        where: its address.
        what: which model, and how often it was trained.
        runs: number of trainings.
        values: their results, percent, if published.
        sd: their sample standard deviation, percent points.
        bound: upper bound on the difference of two trainings, if nothing else was published.
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


class Prior(Strict):
    """What is assumed about the scatter of a metric on a data set.

    Attributes:
        dataset: data set id as in the claims.
        metrics: metric names as in the claims.
        sigma0: standard deviation of one run, percent points.
        delta: practical margin, percent points.
        scope: the trainings that the numbers are meant for.
        evidence: what they are based on.
        note: anything a reader must know before trusting them.
    """

    dataset: DatasetName
    metrics: list[MetricName]
    sigma0: PositiveFloat
    delta: PositiveFloat
    scope: str
    evidence: list[Evidence]
    note: str | None = None


class Margin(Strict):
    """The gain on embedded data below which nothing counts as changed.

    Attributes:
        metrics: metric names as in the claims.
        margin: percent points, in either direction.
        why: what it is based on.
    """

    metrics: list[MetricName]
    margin: PositiveFloat
    why: str


class Absence(Strict):
    """Metrics without a prior, and why there is none."""

    dataset: DatasetName
    metrics: list[MetricName]
    why: str


class _Rows(Strict):
    """The rows of a file of priors.

    Attributes:
        priors: for metrics that are judged.
        absent: metrics that are shown but not judged.
        margins: what counts as no change on embedded data.
    """

    priors: list[Prior] = []
    absent: list[Absence] = []
    margins: list[Margin] = []


class Priors(_Rows):
    """The priors of the shared file and those that paper folders add.

    Attributes:
        version: raised with every change of a number in the shared file; reports print it.
    """

    version: PositiveInt


def load_priors() -> Priors:
    """The priors of all files; read once per catalogue.

    Raises:
        SuiteError: a file is missing, is no YAML, breaks the schema, or lists a metric twice; names file and
            line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> Priors:
    return read_priors(*catalogue)


def read_priors(shared: Path, outside: tuple[Path, ...] = ()) -> Priors:
    """The priors of a catalogue; see `load_priors`."""
    catalogue = Catalogue(shared, outside)
    known: Known = {"metric": read_metrics(shared, outside), "data set": read_dataset_names(shared, outside)}
    first = shared / "priors.yaml"
    whole = parse(Priors, first, known)
    parts: dict[Path, _Rows] = {first: whole}
    parts |= {path: parse(_Rows, path, known) for path in catalogue.in_papers("priors.yaml")}
    _refuse_repeats(parts)
    return Priors(
        version=whole.version,
        priors=[row for part in parts.values() for row in part.priors],
        absent=[row for part in parts.values() for row in part.absent],
        margins=[row for part in parts.values() for row in part.margins],
    )


def _refuse_repeats(parts: Mapping[Path, _Rows]) -> None:
    seen: dict[tuple[str | None, str], tuple[Path, Location]] = {}
    for path, part in parts.items():
        for dataset, metric, at in _listed(part):
            if (dataset, metric) in seen:
                other, place = seen[dataset, metric]
                what = f"{metric} on {dataset}" if dataset else f"a margin of {metric}"
                where = f"{shown(other)}:{line_of(other, place)}"
                refuse(path, at, f"{what} is listed in {where} too; remove one of them")
            seen[dataset, metric] = (path, at)


def _listed(part: _Rows) -> Iterator[tuple[str | None, str, Location]]:
    """Every data set and metric of a file with its location; a margin has None for any data set."""
    groups: dict[str, Sequence[Prior | Absence | Margin]] = {
        "priors": part.priors,
        "absent": part.absent,
        "margins": part.margins,
    }
    for group, rows in groups.items():
        for index, row in enumerate(rows):
            dataset = None if isinstance(row, Margin) else row.dataset
            for position, metric in enumerate(row.metrics):
                yield dataset, metric, (group, index, "metrics", position)


def find_prior(dataset: str, metric: str) -> Prior | None:
    """The prior of a metric on a data set; None if there is none (see `why_absent`)."""
    for prior in load_priors().priors:
        if prior.dataset == dataset and metric in prior.metrics:
            return prior
    return None


def practical_margin(dataset: str, metric: str) -> float:
    """The difference to a published number that is too small to matter, percent points; 0 without a prior."""
    prior = find_prior(dataset, metric)
    return prior.delta if prior else 0.0


def find_margin(metric: str) -> float:
    """The gain on embedded data below which nothing counts as changed, percent points; 0 without a margin."""
    margins = (row.margin for row in load_priors().margins if metric in row.metrics)
    return next(margins, 0.0)


def why_absent(dataset: str, metric: str) -> str:
    """Why a metric has no prior, as a clause for reports."""
    for row in load_priors().absent:
        if row.dataset == dataset and metric in row.metrics:
            return row.why
    return f"no noise prior for {metric} on {dataset} is on file"
