"""The schema of the config that Hydra composes: every group is validated before anything reads it.

The groups of ``suite/conf`` and of the folders of papers hold more than the engine reads: values that others
refer to by interpolation, such as ``data.num_classes``. Those may be anything; the rest is validated here.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationInfo,
    model_validator,
)

from suite.catalogue import python_files
from suite.contract import (
    ComposedData,
    ComposedLoss,
    ComposedMethod,
    ComposedModel,
    Devices,
    Python,
    Resources,
    Scale,
    Tap,
)
from suite.errors import did_you_mean
from suite.planning import versions
from suite.published.models import load_models
from suite.published.recipes import group_choices
from suite.settings import PACKAGES, Arguments, Count, Settings
from suite.strict import Strict

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=100)]
"""The name of a folder, not a path."""

Zoo = Annotated[str, Field(pattern=rf"^(({'|'.join(PACKAGES)})::(\w[\w.-]*/)*\w[\w.-]*\.py)?$")]
"""A config that a model zoo ships, ``<package>::<path>``; empty for a network that is in no zoo."""


class _Config(BaseModel):
    """One group: strict in what the engine reads; other keys, which configs refer to, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


def _is_here(prepare: str) -> str:
    """Refuses a file that no paper's folder has; modules of the suite are only checked when loaded."""
    file = prepare.partition(":")[0]
    known = [f"{path.parent.name}/{path.name}" for path in python_files()]
    if file.endswith(".py") and file not in known:
        raise ValueError(f"no paper folder has {file}; {did_you_mean(file, known)}")
    return prepare


class AtScale(_Config):
    """A model, or a method, at one scale.

    Attributes:
        devices: number of devices in the published training, where it is not the profile's.
        images: number of images by part, where they are not those of the data.
        taps: places whose tensors methods may read, in addition to the model's own.
        overrides: what is changed in the zoo's network.
        config: what is changed in the zoo's config.
    """

    devices: Devices | None = None
    images: dict[str, Count] = {}
    taps: dict[str, Tap] = {}
    overrides: Settings = {}
    config: Settings = {}


def _is_a_network(pretrained: str) -> str:
    """Refuses anything but ``<task>/<model>`` of an existing task and a model of that task.

    Raises:
        ValueError: says what is wrong, and which choices exist.
    """
    task, separator, model = pretrained.partition("/")
    if not (task and separator and model):
        raise ValueError(f"{pretrained!r} is not <task>/<model>; write classification/resnet50, say")
    for group, choice in (("task", task), ("model", model)):
        choices = group_choices(group)
        if choice not in choices:
            raise ValueError(f"no {group} {choice!r}; {did_you_mean(choice, choices)}")
    known = load_models().get(model)
    if known is not None and known.task != task:
        raise ValueError(f"{model} is a model of {known.task}; write {known.task}/{model}")
    return pretrained


class Embedded(AtScale):
    """A model at the scale of the embedded data.

    Attributes:
        pretrained: ``<task>/<model>`` of the network whose backbone it starts from, which a run of the plan
            trains; None if it starts from random weights.
    """

    pretrained: Annotated[str, AfterValidator(_is_a_network)] | None = None


class _Group(_Config):
    """A group whose file is chosen by a recipe."""

    name: str


class ModelConfig(_Group):
    """A network. `embedded` and `published` are the scales that it can be trained at."""

    kind: str
    zoo: Zoo = ""
    taps: dict[str, Tap] = {}
    embedded: Embedded | None = None
    published: AtScale | None = None

    def at(self, scale: Scale) -> AtScale:
        """The section of a scale, which `ComposedConfig` has checked to exist."""
        side = self.embedded if scale == "embedded" else self.published
        assert side is not None
        return side

    def composed(self, scale: Scale) -> ComposedModel:
        """The network in the type that adapters expect."""
        own = self.at(scale)
        return ComposedModel(
            name=self.name,
            kind=self.kind,
            zoo=self.zoo,
            taps={**self.taps, **own.taps},
            overrides=own.overrides,
            config=own.config,
            pretrained=own.pretrained if isinstance(own, Embedded) else None,
        )


def _is_registered(loss: str) -> str:
    if loss not in versions.loss_versions():
        known = did_you_mean(loss, versions.loss_versions())
        raise ValueError(f"no loss {loss!r} is registered; {known}")
    return loss


class LossConfig(ComposedLoss):
    """One loss, whose type must be registered."""

    type: Annotated[str, AfterValidator(_is_registered)]
    arguments: Arguments = {}

    @model_validator(mode="after")
    def _scales_numbers(self) -> LossConfig:
        for name in self.scaled:
            value = self.arguments.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"argument {name} is scaled, so it must be a number")
        return self


class MethodConfig(_Group):
    """A method; `published` holds what it changes in the zoo's config at published scale."""

    # A misspelt key would otherwise be a hyper-parameter that is silently ignored.
    model_config = ConfigDict(extra="forbid")

    title: str
    task_loss_weight: float = 1.0
    inherit: bool = False
    losses: dict[str, LossConfig]
    published: AtScale = AtScale()

    def composed(self, scale: Scale) -> ComposedMethod:
        """The method in the type that adapters expect."""
        return ComposedMethod(
            name=self.name,
            title=self.title,
            task_loss_weight=self.task_loss_weight,
            inherit=self.inherit,
            losses=dict(self.losses),
            config=self.published.config if scale == "published" else {},
        )


class DataConfig(_Config):
    """The data; see `suite.contract.ComposedData`."""

    name: FolderName
    prepare: Annotated[Python, AfterValidator(_is_here)]
    fingerprint: str | None
    overrides: Settings = {}
    scales: dict[str, PositiveFloat] | None = None
    images: dict[str, Count] = {}

    def composed(self, images: dict[str, int]) -> ComposedData:
        """The data in the type that adapters expect.

        Args:
            images: number of images by part, where a model has its own.
        """
        return ComposedData(
            name=self.name,
            prepare=self.prepare,
            fingerprint=self.fingerprint,
            overrides=self.overrides,
            scales=dict(self.scales or {}),
            images={**self.images, **images},
        )


class ScheduleConfig(_Config):
    """Optimiser, schedule and length."""

    overrides: Settings


class ProfileDeparture(Strict):
    """A departure that a profile declares."""

    setting: str
    published: str | None = None
    ours: str


class ProfileConfig(_Config):
    """The properties of a profile, which no override may change."""

    name: str
    scale: Scale
    comparable: bool
    teacher_seed: int
    devices: Devices = 1
    departures: list[ProfileDeparture]


class ComposedConfig(_Config):
    """All groups; `teacher` and `method` only for recipes that have them.

    Validated with the recipe's choices (`student`, `teacher`, `method`) as context: the name in each group
    must be that of the chosen file, since weights and costs are looked up by name.
    """

    profile: ProfileConfig
    task: _Group
    student: ModelConfig
    teacher: ModelConfig | None = None
    method: MethodConfig | None = None
    data: DataConfig
    schedule: ScheduleConfig
    resources: Resources

    @model_validator(mode="after")
    def _has_what_was_chosen(self, info: ValidationInfo) -> ComposedConfig:
        context: dict[str, Any] = info.context or {}
        scale = self.profile.scale
        for group, chosen in context.items():
            found: ModelConfig | MethodConfig | None = getattr(self, group)
            if chosen is None:
                continue
            if found is None:
                raise ValueError(f"{group} is empty; leave the choice {chosen!r} in")
            if found.name != chosen:
                raise ValueError(
                    f"{group}.name is {found.name!r} in the file of {chosen!r}; use one name for both"
                )
            if isinstance(found, ModelConfig) and getattr(found, scale) is None:
                raise ValueError(f"{group}.{scale} is missing in {chosen!r}; say what it is at that scale")
        return self
