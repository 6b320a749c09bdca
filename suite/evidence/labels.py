"""Labels the latest points in the history of a row: pure functions from numbers to labels.

Every point is compared with a prediction interval for one more run, computed from the earlier points that
were inside theirs. A point outside is not used for later intervals, so that a drop does not widen the
interval that it fell out of; it stays a drop until a point is inside again, or a change is declared
(`suite.published.changes`).

=====================  ==================================================================================
`regression`           the last two or more points are outside the interval
`suspicious`           the last point is outside, the one before inside
`no_regression`        the last point is inside
`differs`              the first steps of a training have left their stored trajectory
`insufficient_data`    too few points for an interval, or nothing to compute one from
`stale`                a new point was due but is missing; in addition to any of the others
=====================  ==================================================================================
"""

from __future__ import annotations

import datetime
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from suite.evidence.points import LOSS, SMOKE, Point, Row, is_teacher
from suite.published.changes import Change, last_change
from suite.published.finding import claims_by_id
from suite.published.priors import find_prior
from suite.verdicts import TEACHER_TOLERANCE, prediction_half_width

Label = Literal["regression", "suspicious", "no_regression", "differs", "insufficient_data", "stale"]

REGRESSION: Final = "regression"
SUSPICIOUS: Final = "suspicious"
NO_REGRESSION: Final = "no_regression"
DIFFERS: Final = "differs"
INSUFFICIENT_DATA: Final = "insufficient_data"
STALE: Final = "stale"

OPEN: Final = frozenset({REGRESSION, SUSPICIOUS, DIFFERS})
"""The labels of a last point that is outside its interval."""

ALERTS: Final = frozenset({REGRESSION, DIFFERS, STALE})
"""The labels that are reported; not `suspicious`, since among a hundred rows one is outside every night."""

WINDOW: Final = 30
"""Largest number of points that an interval is computed from: the latest."""
LEVEL: Final = 0.99
"""Probability that one more run falls inside the interval."""
LEAST: Final = 3
"""Smallest number of points that an interval is computed from, if the noise of one run is known."""
LEAST_ALONE: Final = 5
"""The same if the noise has to be estimated from the points."""
SLOWER: Final = 0.10
"""How far seconds and memory may rise above their mean and still be inside, since machines are shared."""

PERFORMANCE: Final = ("seconds_per_step", "peak_memory_mib")
"""Attributes of a point that are judged in addition to its metric, only on the same hardware."""

_EPSILON: Final = 1e-9
"""Tolerance for rounding, so that the same number measured again is inside."""


class Interval(NamedTuple):
    """The interval in which one more point is expected."""

    lower: float
    upper: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and self.lower - _EPSILON <= value <= self.upper + _EPSILON


Expectation = Callable[[Sequence[float]], Interval | None]
"""Maps the points that were inside, oldest first, to the interval of the next one; None if too few."""


def by_prior(sigma0: float) -> Expectation:
    """The prediction interval of `suite.verdicts`, with a known sd of one run.

    Args:
        sigma0: sd of one run, percentage points.
    """

    def expect(values: Sequence[float]) -> Interval | None:
        if len(values) < LEAST:
            return None
        reach = prediction_half_width(values, sigma0, level=LEVEL)
        return _around(statistics.fmean(values), reach)

    return expect


def by_itself(values: Sequence[float]) -> Interval | None:
    """The prediction interval of points without a published sd, as on embedded data."""
    if len(values) < LEAST_ALONE:
        return None
    return _around(statistics.fmean(values), prediction_half_width(values, nu0=0, level=LEVEL))


def by_tolerance(published: float | None) -> Expectation:
    """The expected score of a fixed checkpoint: around its published number, or else around its first score.

    The tolerance is that of a teacher (`suite.verdicts.TEACHER_TOLERANCE`).

    Args:
        published: percent; None if none was published.
    """

    def expect(values: Sequence[float]) -> Interval | None:
        centre = published if published is not None else values[0] if values else None
        return None if centre is None else _around(centre, TEACHER_TOLERANCE)

    return expect


def by_share(values: Sequence[float]) -> Interval | None:
    """For seconds and memory, with no lower bound: up to the usual noise or `SLOWER` above the mean."""
    if len(values) < LEAST_ALONE:
        return None
    mean = statistics.fmean(values)
    reach = max(prediction_half_width(values, nu0=0, level=LEVEL), SLOWER * mean)
    return Interval(float("-inf"), mean + reach)


def never(values: Sequence[float]) -> Interval | None:
    """No interval, for meaningless numbers such as those of two iterations."""
    return None


def nowhere(values: Sequence[float]) -> Interval | None:
    """For the step at which losses leave their trajectory, which must be 0, meaning that they do not."""
    return Interval(0.0, 0.0)


def expectation_of(row: Row, metric: str, last: Point) -> Expectation:
    """Chooses the expectation for a metric of a row, from its kind and what is published about it.

    Args:
        row: the row.
        metric: name of the metric.
        last: its last point.
    """
    if row.arm == "released":
        return by_tolerance(last.claimed if is_teacher(row.subject) else None)
    if row.profile == LOSS:
        return nowhere
    if row.profile == SMOKE:
        return never
    claim = claims_by_id().get(row.subject)
    prior = find_prior(claim.dataset, metric) if claim is not None and last.comparable else None
    return by_itself if prior is None else by_prior(prior.sigma0)


def _around(centre: float, reach: float) -> Interval:
    return Interval(centre - reach, centre + reach)


class Reading(NamedTuple):
    """The label of the last of a series of numbers.

    Attributes:
        label: any but `stale`.
        interval: where the last one was expected; None for `insufficient_data`.
        outside: number of consecutive ones outside, up to and including the last.
    """

    label: Label
    interval: Interval | None
    outside: int


def readings(values: Iterable[float], expectation: Expectation) -> Iterator[Reading]:
    """Labels each of a series of numbers, oldest first, based on those before it."""
    inside: list[float] = []
    outside = 0
    for value in values:
        interval = expectation(inside[-WINDOW:])
        if interval is None or value in interval:
            inside.append(value)
            outside = 0
        else:
            outside += 1
        label: Label = REGRESSION if outside > 1 else SUSPICIOUS if outside else NO_REGRESSION
        yield Reading(INSUFFICIENT_DATA if interval is None else label, interval, outside)


def read(values: Sequence[float], expectation: Expectation) -> Reading:
    """Labels the last of a series of numbers, oldest first."""
    nothing = Reading(INSUFFICIENT_DATA, None, 0)
    return deque(readings(values, expectation), maxlen=1).pop() if values else nothing


@dataclass(frozen=True)
class Status:
    """The status of one metric of a row tonight.

    Attributes:
        row: the row.
        metric: name of the metric, or of one of `PERFORMANCE`.
        label: any but `stale`.
        stale: whether a point was due but is missing.
        value: the last value; None if there is none.
        n: number of points since the last known change.
        interval: where the last value was expected; None if there are too few.
        since: night of the first of the consecutive points outside; otherwise of the last point.
        last: night of the last point; None if there is none.
        change: the known change at which the history was restarted, if any.
    """

    row: Row
    metric: str
    label: Label
    stale: bool = False
    value: float | None = None
    n: int = 0
    interval: Interval | None = None
    since: datetime.date | None = None
    last: datetime.date | None = None
    change: str | None = None

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label, and `stale` where it applies, which replaces a label that is not in `OPEN`."""
        if not self.stale:
            return (self.label,)
        return (self.label, STALE) if self.label in OPEN else (STALE,)

    @property
    def alerts(self) -> tuple[Label, ...]:
        """The labels that are reported."""
        return tuple(label for label in self.labels if label in ALERTS)


def judge(
    points: Iterable[Point],
    tonight: datetime.date,
    expectation: Callable[[Row, str, Point], Expectation],
    due: Callable[[Row], int | None],
    changes: Sequence[Change] = (),
    expected: Iterable[Row] = (),
) -> list[Status]:
    """Labels every row of a history.

    Args:
        points: the history, in any order.
        tonight: points of later nights are left out.
        expectation: chooses the expectation for a metric of a row, given its last point.
        due: after how many nights without a new point a row is stale; 1: it is measured every night, None: it
            never becomes stale.
        changes: known changes.
        expected: rows that should have been measured tonight, whether or not they ever were.

    Returns:
        The rows in the order of their first points, each with its metrics and then its performance; rows of
        `expected` without any point come last, with one stale status each.
    """
    series: dict[Row, dict[str, list[Point]]] = {}
    for point in sorted(points, key=_by_time):
        if point.night <= tonight:
            series.setdefault(point.row, {}).setdefault(point.metric, []).append(point)
    # Rows that were due tonight are stale after one night, whatever `due` says.
    awaited = dict.fromkeys(expected)
    found: list[Status] = []
    for row, metrics in series.items():
        nights = 1 if row in awaited else due(row)
        for metric, measured in metrics.items():
            standing = _Standing(row, measured, tonight, changes, nights)
            found.append(standing.status(metric, expectation(row, metric, measured[-1])))
        found += _performance(row, metrics, tonight, changes)
    return found + [
        Status(row, "any metric", INSUFFICIENT_DATA, stale=True) for row in awaited if row not in series
    ]


def judged_points(points: Iterable[Point], metric: str) -> list[Point]:
    """The points of a row from which a metric is judged, oldest first; for performance, of one hardware.

    Args:
        points: all points of the row, of any metric, in any order.
        metric: name of the metric, or one of `PERFORMANCE`: one point per run, on the hardware of the last.
    """
    ordered = sorted(points, key=_by_time)
    if metric not in PERFORMANCE:
        return [point for point in ordered if point.metric == metric]
    runs = sorted({point.run_id: point for point in ordered}.values(), key=_by_time)
    return [
        point for point in runs if point.hardware == runs[-1].hardware and getattr(point, metric) is not None
    ]


def _by_time(point: Point) -> tuple[str, int]:
    return point.finished_at, point.n


@dataclass(frozen=True)
class _Standing:
    """The points of one metric of a row, and what they are judged with; `nights` as `due` of `judge`."""

    row: Row
    measured: Sequence[Point]
    tonight: datetime.date
    changes: Sequence[Change]
    nights: int | None

    def status(self, name: str, expectation: Expectation, attribute: str = "value") -> Status:
        """Labels one attribute of the points."""
        last = self.measured[-1]
        change = last_change(self.changes, self.row.subject, self.tonight)
        counted = [point for point in self.measured if change is None or point.night >= change.date]
        values = [float(getattr(point, attribute)) for point in counted]
        reading = read(values, expectation)
        first_outside = counted[-reading.outside] if reading.outside else last
        return Status(
            row=self.row,
            metric=name,
            # First steps are not random, so one night outside is enough.
            label=DIFFERS if self.row.profile == LOSS and reading.outside else reading.label,
            stale=self.nights is not None and (self.tonight - last.night).days >= self.nights,
            value=float(getattr(last, attribute)),
            n=len(values),
            interval=reading.interval,
            since=first_outside.night,
            last=last.night,
            change=None if change is None else change.reason,
        )


def _performance(
    row: Row,
    metrics: Mapping[str, Sequence[Point]],
    tonight: datetime.date,
    changes: Sequence[Change],
) -> list[Status]:
    """The statuses of seconds and memory of a row; never stale, since its metrics report that."""
    points = [point for measured in metrics.values() for point in measured]
    found = []
    for name in PERFORMANCE:
        if same := judged_points(points, name):
            standing = _Standing(row, same, tonight, changes, nights=None)
            found.append(standing.status(name, by_share, name))
    return found
