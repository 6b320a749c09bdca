"""Published speeds and schedules of trainings: ``baselines/training_costs.yaml``."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import PositiveFloat, PositiveInt, model_validator

from suite.errors import did_you_mean
from suite.paths import BASELINES
from suite.strict import Strict
from suite.strict_yaml import parse, refuse


class Benchmark(Strict):
    """A published table of training speeds.

    Attributes:
        source: the document.
        where: its address.
        hardware: the kind of device.
        devices: how many of them trained together.
        batch: images per step, on all devices together; None if images per second are printed.
        note: what a reader must know before adding these hours to others.
    """

    source: str
    where: str
    hardware: str
    devices: PositiveInt
    batch: PositiveInt | None = None
    note: str | None = None

    def __str__(self) -> str:
        batch = f" with {self.batch} images a step" if self.batch else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self.source}, on {self.devices} x {self.hardware}{batch}{note}"


class Scaling(Strict):
    """How the step time of one model is scaled to that of another.

    Attributes:
        by: the quantity that is known for both.
        source: the document that prints it.
        this: its value for the model itself.
        other: its value for the model whose speed is published.
    """

    by: str
    source: str
    this: PositiveFloat
    other: PositiveFloat


class Figure(Strict):
    """The published speed of one model, as it was printed.

    Attributes:
        benchmark: key of the table that prints it.
        seconds_per_step: seconds per training step of the whole batch.
        images_per_second: images per second, on all devices of the benchmark together.
        of: the row of the table, if it is another model's.
        scaled: the scaling from that model to this one.
    """

    benchmark: str
    seconds_per_step: PositiveFloat | None = None
    images_per_second: PositiveFloat | None = None
    of: str | None = None
    scaled: Scaling | None = None

    @model_validator(mode="after")
    def _says_one_speed(self) -> Figure:
        if (self.seconds_per_step is None) == (self.images_per_second is None):
            raise ValueError(
                "a figure has seconds_per_step or images_per_second; write the one that is printed"
            )
        if (self.of is None) != (self.scaled is None):
            raise ValueError("'of' and 'scaled' go together; write both or neither")
        return self

    def device_seconds(self, benchmark: Benchmark) -> float:
        """Device-seconds per image on the benchmark's hardware, for the model of the printed row."""
        if self.images_per_second is not None:
            return benchmark.devices / self.images_per_second
        assert self.seconds_per_step is not None
        assert benchmark.batch is not None  # load_costs refuses the file otherwise
        return self.seconds_per_step * benchmark.devices / benchmark.batch


class Schedule(Strict):
    """How long a zoo's config trains.

    Attributes:
        epochs: passes over the training images.
        iterations: steps, if the config counts those.
        batch: images per step on one device, given with `iterations`.
    """

    epochs: PositiveInt | None = None
    iterations: PositiveInt | None = None
    batch: PositiveInt | None = None

    @model_validator(mode="after")
    def _counts_in_one_way(self) -> Schedule:
        if (self.epochs is None) == (self.iterations is None) or bool(self.iterations) != bool(self.batch):
            raise ValueError("a schedule has epochs, or iterations and batch; write one of the two")
        return self


class TrainingCosts(Strict):
    """The whole of ``training_costs.yaml``.

    Attributes:
        benchmarks: published tables by the suite's name for them.
        figures: published speeds by model.
        schedules: by the zoo's config, ``<package>::<path>``.
    """

    benchmarks: dict[str, Benchmark]
    figures: dict[str, Figure]
    schedules: dict[str, Schedule]


@functools.lru_cache(maxsize=8)
def load_costs(path: Path = BASELINES / "training_costs.yaml") -> TrainingCosts:
    """Reads the published costs; kept for the life of the process.

    Raises:
        SuiteError: the file is missing or breaks the schema, or a figure names a benchmark that is not in it
            or does not say how many images its steps have; with file and line.
    """
    costs = parse(TrainingCosts, path)
    for model, figure in costs.figures.items():
        where = ("figures", model, "benchmark")
        name = figure.benchmark
        if name not in costs.benchmarks:
            refuse(path, where, f"there is no benchmark {name!r}; {did_you_mean(name, costs.benchmarks)}")
        if figure.seconds_per_step and not costs.benchmarks[name].batch:
            refuse(path, where, f"{name!r} does not say how many images a step has; add its batch")
    return costs
