"""The contract between the engine and a task: what a task has to implement, and the types that it is given.

A task implements `Adapter`. It gets a `Job` with a `ComposedRecipe`, and raises `BlockedError` if a run must
not start. This module imports neither PyTorch nor an mm package, and is all that a task needs of the engine
besides its store and its data sets.
"""

from __future__ import annotations

import importlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from suite.catalogue import import_file, import_python_files
from suite.errors import SuiteError
from suite.strict import Line, Name, Strict

Scale = Literal["embedded", "published"]
"""Which section of a model's file applies: embedded data shrink the architecture, published data do not."""


HOMES = ("tasks", "suite.datasets")
"""The packages of the suite whose Python objects files may name."""

PYTHON = rf"^(({'|'.join(map(re.escape, HOMES))})(\.\w+)+|[A-Za-z0-9][\w.-]*/\w+\.py):[A-Za-z]\w*$"
"""How a file names a Python object: in the suite's own tasks and data sets, or in a paper's folder."""

Python = Annotated[str, Field(pattern=PYTHON)]
"""``package.module:name`` in ``tasks`` or ``suite.datasets``, or ``<paper>/<file>.py:name`` (`load`)."""

Arm = Literal["teacher", "student", "distilled", "backbone", "released"]
"""The part that a training plays in a claim; `backbone`: the network whose backbone others start from;
`released`: a checkpoint that was trained elsewhere and is only scored."""


class BlockedError(RuntimeError):
    """A run that must not or cannot start: no data, wrong data, a teacher that does not fit."""


class StoppedError(Exception):
    """A run was asked to stop; it left a resume point, and continues from there when executed again."""


class ServedClaim(Strict):
    """A claim that a run serves, with the arm that it fills and the user's overrides that apply to it.

    Attributes:
        claim: id of the claim.
        arm: the arm that the run fills.
        variant: the overrides that make the run differ from the claim's own; empty for the claim's own.
    """

    claim: Name
    arm: Arm
    variant: tuple[Line, ...] = ()


class Checkpoint(Strict):
    """Weights that exist before a run, which learns or starts from them, or only scores them.

    Attributes:
        kind: `released` by a publisher, `trained` by a run of ours, or `named` on the command line.
        weights: id in ``weights.yaml``; only for a released checkpoint.
        file: file name; only for a released checkpoint.
        sha256: SHA-256 of the file; for a released checkpoint as many of its first digits as its publisher
            gives.
        run: the run that trained it.
        claim: the claim that a named checkpoint is scored for; each claim has a score of its own.
    """

    kind: Literal["released", "trained", "named"]
    weights: str | None = None
    file: str | None = None
    sha256: str | None = None
    run: str | None = None
    claim: str | None = None


class Departure(Strict):
    """One setting in which a run differs from what was published, and what declares the difference.

    Attributes:
        kind: what it comes from: the profile, the method on smaller feature maps, the user's resources, or an
            override.
        setting: name of the setting (`EffectiveProtocol.at`), or its topic in a word; includes all settings
            below it.
        published: what was published; None where that is not a single value.
        ours: what is done instead; None where it follows from something else that is declared.
        declared_by: the profile, or the override as the user wrote it.
    """

    kind: Literal["profile", "method", "resources", "override"]
    setting: Line
    published: Any = None
    ours: Any = None
    declared_by: Line

    def __str__(self) -> str:
        """The departure in words, as tables print it."""
        if self.kind in ("profile", "method"):
            return f"{self.ours}" + (f" in place of {self.published}" if self.published is not None else "")
        if self.ours is None:
            return f"{self.setting} follows from {self.declared_by}"
        instead = "" if self.published is None else f", published {self.published}"
        return f"{self.setting} {self.ours}{instead} ({self.declared_by})"

    def covers(self, name: str) -> bool:
        """Whether a setting is `self.setting`, or lies below it."""
        return name == self.setting or name.startswith(f"{self.setting}.")


class Tap(Strict):
    """A place in a network whose tensors a method may read.

    Attributes:
        module: dotted path of the module, or of several (levels of a pyramid).
        pooling: how its tensor is pooled before a loss sees it (`tasks.distillation.taps`).
        side: whether the module's output is taken, or its input.
        calls: which calls of a module that runs several times in one pass are taken: all, or only the last.
    """

    module: str | list[str]
    pooling: str = "none"
    side: Literal["output", "input"] = "output"
    calls: Literal["all", "last"] = "all"


class ComposedModel(Strict):
    """A network of a composed recipe, at the scale of its profile.

    Attributes:
        name: id in ``models.yaml``.
        kind: the family by which schedules and data distinguish networks (`convnet`, `one-stage`, ...).
        zoo: ``<package>::<path>`` of the config that a model zoo ships.
        taps: places whose tensors methods may read, by name.
        overrides: what is changed in the zoo's network.
        config: what is changed in the zoo's config outside the network.
        pretrained: ``<task>/<model>`` of the network whose backbone it starts from; a run of the plan trains
            that network.
    """

    name: str
    kind: str
    zoo: str = ""
    taps: dict[str, Tap] = {}
    overrides: dict[str, Any] = {}
    config: dict[str, Any] = {}
    pretrained: str | None = None


class ComposedLoss(Strict):
    """One loss of a composed method.

    Attributes:
        type: the name that the loss is registered under.
        inputs: what it takes, in the order of its arguments (`tasks.distillation`).
        arguments: hyper-parameters.
        channels: argument -> input whose number of channels it is set to; for several inputs it is a list,
            with the channels of every tensor of each.
        sizes: argument -> input whose height it is set to.
        data: argument -> name of what the task reads from the whole training data set for it, such as
            `training_labels`.
        each_level: whether the loss is applied to every level of its inputs, and the results are summed.
        same_size: whether the feature maps of student and teacher must agree in number and size; checked
            before the training, and changes no number.
        scaled: argument -> key of the `ComposedData.scales` that it is multiplied by.
    """

    type: str
    inputs: list[str]
    arguments: dict[str, Any] = {}
    channels: dict[str, str | list[str]] = {}
    sizes: dict[str, str] = {}
    data: dict[str, str] = {}
    each_level: bool = False
    same_size: bool = True
    scaled: dict[str, str] = {}


class ComposedMethod(Strict):
    """A distillation method of a composed recipe.

    Attributes:
        name: choice of the Hydra group `method`.
        title: its name in tables.
        task_loss_weight: factor on the student's own losses.
        inherit: whether the student starts from the teacher's neck and head.
        losses: by the name under which they are logged.
        config: what the method changes in the zoo's config.
    """

    name: str
    title: str
    task_loss_weight: float = 1.0
    inherit: bool = False
    losses: dict[str, ComposedLoss]
    config: dict[str, Any] = {}


class StoredClass(NamedTuple):
    """A class of a data set, and its number in the files.

    Attributes:
        name: name of the folder, category or label.
        stored: the category's number in the annotation files, or the value of its pixels; None where files
            have no number for it, as in image folders.
    """

    name: str
    stored: int | None = None

    def __str__(self) -> str:
        """The class as it appears in messages."""
        return repr(self.name) if self.stored is None else f"{self.name!r} ({self.stored} in the files)"


class DataSource(Protocol):
    """The callable that `ComposedData.prepare` names; a plain function will do, but has no class list."""

    def __call__(self, folder: Path, expected: str | None) -> str:
        """Makes sure that a data set is at `folder`, and returns its fingerprint (`Adapter.fingerprint`)."""

    def classes(self, expected: str | None) -> Sequence[StoredClass] | None:
        """The classes in the order of their labels; None for other data in the same layout."""


class ComposedData(Strict):
    """The data of a composed recipe.

    Attributes:
        name: folder of the data set.
        prepare: ``package.module:name`` of the `DataSource` that makes sure the data are there.
        fingerprint: the expected fingerprint; None for a published data set, which is verified instead.
        overrides: loaders, pipelines and evaluators in the zoo's config.
        scales: factors on arguments of losses, where feature maps and boxes are smaller than published, by
            the quantity that is counted.
        images: number of images by part, as published.
    """

    name: str
    prepare: str
    fingerprint: str | None
    overrides: dict[str, Any] = {}
    scales: dict[str, float] = {}
    images: dict[str, int] = {}


Devices = Annotated[int, Field(ge=1, le=4096)]
"""Number of devices that train together; the largest published training has 16."""

BatchSize = Annotated[int, Field(ge=1, le=65536)]
"""Images per device; the largest published batch has 2,048 over all devices."""


class Resources(Strict):
    """The resources that a training runs with; a field that is None is as published.

    Attributes:
        devices: number of devices that train together.
        batch_size: images per device.
        precision: `float16` or `bfloat16` for mixed precision.
    """

    devices: Devices | None = None
    batch_size: BatchSize | None = None
    precision: Literal["float16", "bfloat16"] | None = None


class ComposedRecipe(Strict):
    """Everything that an adapter needs to know about a training, and nothing else.

    Attributes:
        task: id in ``tasks.yaml``.
        adapter: ``package.module:class`` of the task's adapter.
        profile: `smoke`, `mini` or `paper`.
        scale: which section of the models' files applies.
        comparable: whether published numbers may be judged by what is measured.
        teacher_seed: the seed of the one teacher that all students learn from.
        student: the network that is trained and scored.
        teacher: the network that it is distilled from.
        method: how it is distilled; None for a network that is trained alone.
        data: what it is trained and scored on.
        schedule: optimiser, schedule and length in the zoo's config.
        devices: number of devices in the published training.
        resources: the user's resources, where they differ from the published ones.
        departures: every setting that is not as published.
    """

    task: str
    adapter: str
    profile: str
    scale: Scale
    comparable: bool
    teacher_seed: int = 0
    student: ComposedModel
    teacher: ComposedModel | None = None
    method: ComposedMethod | None = None
    data: ComposedData
    schedule: dict[str, Any] = {}
    devices: Devices = 1
    resources: Resources = Field(default_factory=Resources)
    departures: list[Departure] = []

    @property
    def devices_used(self) -> int:
        """Number of devices that train together."""
        return self.resources.devices or self.devices


@dataclass(frozen=True)
class EffectiveProtocol:
    """What a run really does, read back from the objects that were built.

    Attributes:
        settings: plain values by name, nested.
    """

    settings: Mapping[str, Any]

    def at(self, name: str) -> Any:
        """The value at a flat name such as ``train_transforms.Resize.scale``; None if there is none."""
        return _at(self.settings, name)

    def changed(self, **settings: Any) -> EffectiveProtocol:
        """A copy with other values for some settings."""
        return EffectiveProtocol({**self.settings, **settings})


def _at(settings: Mapping[str, Any], name: str) -> Any:
    if name in settings:
        return settings[name]
    # A key may itself have dots.
    for cut in [position for position, letter in enumerate(name) if letter == "."]:
        inner = settings.get(name[:cut])
        if isinstance(inner, Mapping):
            return _at(inner, name[cut + 1 :])
    return None


@dataclass(frozen=True)
class Step:
    """The progress of a training.

    Attributes:
        done: fraction of its iterations, from 0 to 1.
        epoch: current epoch, counted from 1.
        epochs: number of epochs.
        loss: loss of the latest iteration.
        iteration: number of iterations since the training began.
    """

    done: float
    epoch: int
    epochs: int
    loss: float = math.nan
    iteration: int = 0


class Scalars(Strict):
    """A line of the scalars that a training logs: means over the iterations since the previous line.

    Attributes:
        iteration: the last of these iterations, counted from 1.
        epoch: the epoch of that iteration, counted from 1; None for a training that is counted in iterations.
        learning_rate: the learning rate of that iteration; of the optimiser's first group, where groups
            differ.
        loss: the total loss, of one process where several train together.
        losses: the terms that the total is the sum of, each with its weight applied.
        seconds_per_step: includes loading the batch, and excludes what happens between epochs.
        memory_mib: peak memory so far, of the GPU if there is one, otherwise of the process.
    """

    iteration: int = Field(ge=1)
    epoch: int | None = None
    learning_rate: float
    loss: float
    losses: dict[Name, float]
    seconds_per_step: float
    memory_mib: float


class TapGradient(Strict):
    """The gradient norms of task and method at a tap of the student, in one iteration.

    Attributes:
        iteration: counted from 1.
        tap: the tap as losses name it, `student.<tap>`.
        task: norm of the gradient of the task's own losses with respect to the tapped tensors.
        method: likewise for the sum of the method's losses.
    """

    iteration: int = Field(ge=1)
    tap: Line
    task: float
    method: float


class MethodSeen(Strict):
    """What was observed of a method while it trained a student.

    Attributes:
        steps: number of iterations.
        fired: tap -> how often its modules ran in them.
        gradients: at a few fixed iterations, for every tap of the student that gradients flow through.
    """

    steps: int
    fired: dict[Line, int]
    gradients: list[TapGradient]


class Found(Strict):
    """An object that a detector found in a test image.

    Attributes:
        label: name of its class.
        score: percent.
        box: x0, y0, x1, y1 in pixels of the image.
        mask: run lengths of its mask on the grid of the sample; None for a detector that only predicts boxes.
    """

    label: Line
    score: float
    box: tuple[float, float, float, float]
    mask: list[int] | None = None


class Sample(Strict):
    """What a scored network predicts for one test image.

    Masks and label maps are thinned to a grid, and stored as run lengths: row by row, how many cells are
    outside, inside, outside, ...

    Attributes:
        file: path of the image below the folder of the data set; its position in the test set if it has none.
        width: width of the image in pixels.
        height: height of the image in pixels.
        grid: height and width of masks and label maps, in cells.
        classes: for a classifier, the names of the likeliest classes with their scores in percent.
        objects: for a detector, the objects with a score high enough to be shown.
        areas: for a segmenter, its label map: name of each class that occurs -> its run lengths.
        png: the image as base64, if it may be redistributed.
    """

    file: Line
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    grid: tuple[int, int] | None = None
    classes: list[tuple[Line, float]] | None = None
    objects: list[Found] | None = None
    areas: dict[Line, list[int]] | None = None
    png: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]+={0,2}$")


def _tell_nobody(step: Step) -> None:
    """Ignores progress; defined at module level so that a job can be pickled for another process."""


def _print_line(text: str) -> None:
    """Prints a message to the run's log only."""
    print(text, flush=True)


def never() -> bool:
    """Never asks a run to stop."""
    return False


@dataclass(frozen=True)
class Job:
    """A training that an adapter is asked to do.

    Attributes:
        recipe: the composed recipe.
        seed: seed of the run.
        run_dir: folder for the run's checkpoints and log; its name is the run's id.
        data_dir: folder in which data sets are found, or built.
        device: `cpu` or `cuda`.
        teacher_weights: weights of the teacher, for a distilled run.
        start_weights: weights of the network that `ComposedModel.pretrained` names, for one that has it.
        sha256: file of weights -> its SHA-256 when it was checked, which must be unchanged when it is loaded.
        launcher: `none` for one process, `pytorch` inside a process group of torchrun.
        progress: called with the progress of the training.
        tell: called with a line that the user has to see.
        stops: called at every step; True asks the run to leave a resume point and stop.
        log_to: an additional logger (`suite.running.loggers`); None for none.
    """

    recipe: ComposedRecipe
    seed: int
    run_dir: Path
    data_dir: Path
    device: str = "cpu"
    teacher_weights: Path | None = None
    start_weights: Path | None = None
    sha256: Mapping[Path, str] = field(default_factory=dict)
    launcher: str = "none"
    progress: Callable[[Step], None] = _tell_nobody
    tell: Callable[[str], None] = _print_line
    stops: Callable[[], bool] = never
    log_to: str | None = None


class Adapter(ABC):
    """One task. An adapter is created for one job, and its methods are called in the order below."""

    def __init__(self, job: Job) -> None:
        """Keeps the job; nothing heavy happens before `build`."""
        self.job = job

    @abstractmethod
    def fingerprint(self) -> str:
        """Makes the data set ready and returns its fingerprint.

        Raises:
            BlockedError: the data set is missing, or is not the one that the recipe names.
        """

    @abstractmethod
    def build(self) -> None:
        """Builds models, data, losses and schedule, ready for the first step.

        Raises:
            BlockedError: a tap names no module, or the weights of the teacher or of the pretrained backbone
                do not fit.
        """

    @abstractmethod
    def build_released(self, checkpoint: Path) -> dict[str, Any]:
        """Builds only the plain student and the test set, instead of `build`; `evaluate` may follow.

        Args:
            checkpoint: the student's weights, trained elsewhere; not trusted.

        Returns:
            How many keys of the checkpoint were loaded, and how many left out.

        Raises:
            BlockedError: the checkpoint does not fit key by key, or cannot be read without running code.
        """

    @abstractmethod
    def describe(self) -> EffectiveProtocol:
        """The effective protocol, read back from the objects that were built."""

    def classes(self) -> Mapping[str, Sequence[StoredClass]]:
        """After `build` or `build_released`: the class lists of the data sets that were built.

        They are compared with those of `DataSource.classes` before anything is trained or scored.

        Returns:
            Part (`train`, `test`) -> its classes in the order of their labels; empty for a task without any.
        """
        return {}

    @classmethod
    def with_stub_data(cls) -> type[Adapter]:
        """The adapter for a dry run with stub data and without weights: only `build` and `describe` are used.

        Raises:
            BlockedError: the task does not support this; its protocol is only read when a training starts.
        """
        raise BlockedError(f"{cls.__name__} cannot be built without data")

    @abstractmethod
    def fit(self) -> dict[str, float]:
        """Trains, from the newest checkpoint if there is one.

        Returns:
            `train` and, if there was a step left to make, `seconds_per_step`, in seconds; and
            `resumed_iteration`, the iteration at which it resumed from an earlier attempt, if it did.

        Raises:
            StoppedError: `Job.stops` asked for it; a resume point is left.
        """

    def first_losses(self, steps: int) -> list[dict[str, float]]:
        """After `build` and instead of `fit`: trains only the first steps.

        Args:
            steps: how many; a shorter training has fewer.

        Returns:
            The losses of each step by name.

        Raises:
            BlockedError: the task does not support this.
        """
        raise BlockedError(f"{type(self).__name__} does not report the losses of single steps")

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Scores the trained student on the test set.

        Returns:
            Values by metric name (`top1`, `box_AP`, `mIoU`, ...), in the unit of ``metrics.yaml``.
        """

    def per_class(self) -> dict[str, dict[str, float]]:
        """After `evaluate`: metric (`IoU`, `AP`) -> class name -> percent, where the task has it."""
        return {}

    def skipped(self) -> dict[str, int]:
        """After `fit`: why data were skipped -> how often."""
        return {}

    def scalars(self) -> Sequence[Scalars]:
        """During or after `fit`: the scalars from the first iteration to the latest, complete or empty.

        A training that was stopped or killed and then resumed has the same scalars as an uninterrupted one,
        except for times and memory.
        """
        return ()

    def method_seen(self) -> MethodSeen | None:
        """After `fit`: what was observed of the method; None without one, or if the task observes nothing."""
        return None

    def samples(self, count: int) -> Sequence[Sample]:
        """After `evaluate`: what the scored network predicts for a fixed choice of test images.

        Args:
            count: how many images; a smaller test set has fewer.

        Returns:
            The same images for every network on the same data; empty if the task keeps no samples.
        """
        return ()

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes only the student's weights, under the keys of the plain network."""


def load(name: str) -> Any:
    """Loads the Python object that a file names, such as an adapter or a data builder.

    This is where names in files become Python (SECURITY.md lists where else that happens). The Python files
    of papers are imported first, so that what they register is available to what is loaded.

    Args:
        name: ``package.module:name`` of an object that a module of ``tasks`` or ``suite.datasets`` itself
            defines, or ``<paper>/<file>.py:name`` of one in a file in the folder of a paper.

    Raises:
        BlockedError: there is no such module or no such name in it, it is in neither of these places, or an
            import fails.
    """
    if not re.fullmatch(PYTHON, name):
        raise BlockedError(
            f"{name!r} cannot be loaded: it is in neither tasks/ nor a paper's folder; put it into one"
        )
    module, _, attribute = name.partition(":")
    try:
        import_python_files()
        if module.endswith(".py"):
            return getattr(import_file(module), attribute)
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SuiteError) as error:
        raise BlockedError(f"{name!r} cannot be loaded: {error}") from error
    if getattr(found, "__module__", None) != module:
        raise BlockedError(f"{name!r} cannot be loaded: {module} imports it and does not define it")
    return found


def modules_of(tap: Tap) -> Iterator[str]:
    """The dotted paths of a tap, one per level."""
    yield from [tap.module] if isinstance(tap.module, str) else tap.module
