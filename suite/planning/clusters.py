"""What a job requests from a cluster, as set in the Hydra group `cluster`; not part of a run's identity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
    field_validator,
)

from suite.catalogue import conf_folders
from suite.errors import SuiteError, did_you_mean, printable
from suite.published.recipes import group_choices
from suite.strict import Line, Name, Strict, first_fault

GROUP = "cluster"
DEFAULT = "default"

_ALONE = (
    *("profile=paper", "task=classification", "model@student=none"),
    *("data=classification/paper", "schedule=classification/paper"),
)
"""A composition that refers to no recipe."""

_OURS = frozenset(
    {
        *("array", "chdir", "dependency", "error", "export", "kill-on-invalid-dep", "nodes", "ntasks"),
        *("ntasks-per-node", "open-mode", "output", "requeue", "no-requeue", "signal", "wrap", "job-name"),
    }
)
"""Options of sbatch that the launcher sets itself, so that a cluster's config must not."""


def _minutes(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _like(pattern: str, what: str) -> AfterValidator:
    """A validator that refuses texts that do not match `pattern`, and says what to write instead."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"write {what}")
        return text

    return AfterValidator(check)


TimeLimit = Annotated[
    str,
    BeforeValidator(_minutes),
    _like(r"\d+(:\d\d){0,2}|\d+-\d+(:\d\d){0,2}", "minutes, or days-hours:minutes:seconds in quotes"),
]
"""A time limit as sbatch accepts it."""

Memory = Annotated[str, _like(r"[1-9]\d*[KMGT]", "a number followed by K, M, G or T")]

Word = Annotated[str, _like(r"[^\s'\"\\$`]{1,200}", "one word, without quotes")]
"""A value that needs no quoting in a shell."""

Option = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]*$")]


class Cluster(Strict):
    """The resources that a job requests; where a field is None, the cluster's own default applies.

    Attributes:
        name: choice of the Hydra group `cluster`.
        partition: as sbatch accepts it; likewise the next three.
        account: the account that is charged.
        qos: quality of service.
        constraint: features that a node must have.
        time: time limit of one job.
        gpus: GPUs per node; 0 to run on the CPU; None: as Slurm reports.
        cpus: cores per GPU of a run, or for the whole run if it uses none.
        memory: likewise.
        throttle: most runs of one array at the same time; None: no limit.
        notice: how many seconds before its time limit a job is told to leave a resume point.
        setup: shell commands to run before the training.
        options: further options of sbatch.
    """

    name: Name
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    time: TimeLimit | None = None
    gpus: NonNegativeInt | None = None
    cpus: PositiveInt | None = None
    memory: Memory | None = None
    throttle: PositiveInt | None = None
    notice: Annotated[int, Field(ge=1, le=3600)] = 180
    setup: list[Line] = []
    options: dict[Option, Word] = {}

    @field_validator("options")
    @classmethod
    def _leave_ours(cls, options: dict[str, str]) -> dict[str, str]:
        if ours := sorted(_OURS.intersection(options)):
            raise ValueError(f"{ours[0]} is set by the launcher; leave it out")
        return options


def split_off(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Splits overrides into those of the cluster and those of the recipe."""
    of_cluster: list[str] = []
    of_recipe: list[str] = []
    for text in overrides:
        key = text.lstrip("+~").partition("=")[0]
        (of_cluster if key.partition(".")[0] == GROUP else of_recipe).append(text)
    return of_cluster, of_recipe


def find_cluster(overrides: Sequence[str]) -> Cluster:
    """The cluster that overrides choose and change: `cluster=NAME`, `cluster.time=60`.

    Raises:
        SuiteError: there is no such cluster, or it has no such setting or cannot have that value.
    """
    from suite.planning.hydra_config import compose_config, find_place

    name = next((_chosen(text) for text in reversed(overrides) if _chosen(text) is not None), DEFAULT)
    settings = tuple(text for text in overrides if _chosen(text) is None)
    if name not in group_choices(GROUP):
        raise SuiteError(f"override 'cluster={name}': {did_you_mean(str(name), group_choices(GROUP))}")
    choices = (*_ALONE, f"+{GROUP}={name}")
    raw = compose_config(choices, settings, conf_folders())[GROUP]
    try:
        return Cluster.model_validate({**raw, "name": name})
    except ValidationError as error:
        place, fault = first_fault(error)
        by = (
            f"override {printable(repr(' '.join(settings)))}"
            if settings
            else find_place(choices, (GROUP, *fault["loc"]), conf_folders())
        )
        told = fault["ctx"]["error"] if fault["type"] == "value_error" else f"{fault['msg']}; correct it"
        value = printable(repr(fault["input"]), 80)
        raise SuiteError(f"{by}: {GROUP}.{place} cannot be {value}: {printable(told, 150)}") from None


def _chosen(override: str) -> str | None:
    """The cluster that an override chooses; None for one that changes a setting."""
    key, _, value = override.partition("=")
    return value if key == GROUP else None
