"""The metrics that claims may name: ``baselines/metrics.yaml``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

from pydantic import RootModel

from suite.catalogue import Catalogue, collect, current, entries
from suite.errors import SuiteError, did_you_mean
from suite.strict import Strict
from suite.strict_yaml import parse


class MetricKind(Strict):
    """A metric and its unit.

    Attributes:
        title: in words.
        unit: such as `percent`; differences are in points of it.
        better: whether higher or lower is better.
        headline: whether `list` shows it; of the others it shows only how many there are.
    """

    title: str
    unit: str
    better: Literal["higher", "lower"]
    headline: bool = False

    @property
    def sign(self) -> Literal[1, -1]:
        """The factor that makes a difference positive if it is an improvement."""
        return 1 if self.better == "higher" else -1

    def gain(self, value: float, alone: float) -> float:
        """How much better a value is than the student alone, in points of the unit."""
        return self.sign * (value - alone)

    def printed_gain(self, value: str, alone: str) -> str:
        """The gain of one printed number over another, with as many decimals as the longer of the two.

        The rounding removes the binary noise of a difference of decimals.
        """
        decimals = max(len(text.partition(".")[2]) for text in (value, alone))
        return f"{self.gain(float(value), float(alone)):.{decimals}f}"


class _Metrics(RootModel[dict[str, MetricKind]]):
    """One file of metrics."""


def load_metrics() -> dict[str, MetricKind]:
    """The metrics by name, in the order in which tables show them; read once per catalogue.

    Raises:
        SuiteError: a file breaks the schema, or two have the same metric; names file and line.
    """
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> dict[str, MetricKind]:
    return read_metrics(*catalogue)


def read_metrics(shared: Path, outside: tuple[Path, ...] = ()) -> dict[str, MetricKind]:
    """The metrics of a catalogue; see `load_metrics`."""
    files = Catalogue(shared, outside).files("metrics.yaml")
    return entries(collect("metric", files, lambda path: parse(_Metrics, path).root))


def find_metric(name: str) -> MetricKind:
    """The metric with this name.

    Raises:
        SuiteError: there is none; names the closest ones.
    """
    known = load_metrics()
    if name not in known:
        raise SuiteError(f"unknown metric {name!r}; {did_you_mean(name, known)}")
    return known[name]
