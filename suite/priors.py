"""Noise priors of the published metrics: how far one training scatters, read from `baselines/priors.yaml`."""

from __future__ import annotations

import functools
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError, model_validator

from suite.errors import SuiteError
from suite.paths import BASELINES

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
    """The whole file."""

    version: PositiveInt
    priors: list[Prior]
    absent: list[Absence]

    @model_validator(mode="after")
    def _each_metric_once(self) -> Priors:
        seen: set[tuple[str, str]] = set()
        rows: list[Prior | Absence] = [*self.priors, *self.absent]
        for pair in ((row.dataset, metric) for row in rows for metric in row.metrics):
            if pair in seen:
                raise ValueError(f"{pair[1]} on {pair[0]} is listed twice")
            seen.add(pair)
        return self


@functools.lru_cache(maxsize=8)
def load_priors(path: Path = PRIORS_FILE) -> Priors:
    """Reads and checks the priors; kept for the life of the process.

    Raises:
        SuiteError: the file is missing, is no YAML, or breaks the schema; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SuiteError(f"{path}: there is no such file; restore it from the repository") from None
    try:
        return Priors.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(f"{path}:{line}: not valid YAML ({error.problem}); mend that line") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        line = _line_of(text, first["loc"])
        raise SuiteError(f"{path}:{line}: {where}: {first['msg']}; mend that entry") from None


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


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Line of the deepest node on the way to a pydantic error location, counted from 1."""
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    line = 1
    for part in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            # An unknown key is itself the fault, so the line of the key is the line to mend.
            pair = next((pair for pair in node.value if pair[0].value == part), None)
            if pair is not None:
                line, child = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line + 1
        if child is None:
            break
        node = child
    return line
