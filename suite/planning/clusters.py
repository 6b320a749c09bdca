"""What a job asks a cluster for, as the Hydra group `cluster` has it. It is no part of what makes a run."""

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
"""Options of sbatch that say how runs are submitted, and are not for a cluster to set."""


def _minutes(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _like(pattern: str, what: str) -> AfterValidator:
    """Refuses texts that do not look like what they have to be, and says what that is."""

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
"""A time limit as sbatch takes it."""

Memory = Annotated[str, _like(r"[1-9]\d*[KMGT]", "a number followed by K, M, G or T")]

Word = Annotated[str, _like(r"[^\s'\"\\$`]{1,200}", "one word, without quotes")]
"""A value that a shell takes as it is."""

Option = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]*$")]


class Cluster(Strict):
    """What a job asks for; where a field is None, the cluster's own default applies.

    Attributes:
        name: choice of the Hydra group `cluster`.
        partition: as sbatch takes it, and so are the next three.
        account: who pays.
        qos: quality of service.
        constraint: features that a node must have.
        time: limit of one job.
        gpus: GPUs of one node; 0 where runs go on its cores; None: as Slurm tells.
        cpus: cores for every GPU of a run, or for the run where there is none.
        memory: likewise.
        throttle: runs of one array side by side; None: as many as may.
        notice: seconds before its end in which a job is told to leave a resume point.
        setup: lines of shell before the training.
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
    """Overrides of the cluster, and those of the recipe."""
    of_cluster: list[str] = []
    of_recipe: list[str] = []
    for text in overrides:
        key = text.lstrip("+~").partition("=")[0]
        (of_cluster if key.partition(".")[0] == GROUP else of_recipe).append(text)
    return of_cluster, of_recipe


def find_cluster(overrides: Sequence[str]) -> Cluster:
    """The cluster that overrides choose and change: `cluster=NAME`, `cluster.time=60`.

    Raises:
        SuiteError: there is no such cluster, or a setting is none that a cluster has.
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
