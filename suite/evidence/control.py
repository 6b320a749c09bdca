"""The study's own control: students alone judged as if half of their seeds were distilled (A/A).

Nothing was done to either half, so about one 90 % interval in ten should exclude zero, by the same code that
judges distilled students.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from suite.evidence.frame import main_metric
from suite.evidence.gathered import Arms
from suite.published.claims import Claim
from suite.published.metrics import find_metric
from suite.published.names import MetricName, TaskName
from suite.published.priors import find_margin
from suite.verdicts import STANDARD_RUNS, PooledGain, judge_gains_together
from suite.verdicts.shared_noise import LEVEL

SEEDS: Final = 2 * STANDARD_RUNS
"""Seeds of a student alone that make one comparison."""


@dataclass(frozen=True, eq=False)
class StudentAlone:
    """A student trained alone on embedded data, whichever claims it is the student of.

    Attributes:
        name: id of the model.
        task: what it does.
        metric: the one that speaks for its claims.
        series: of its runs.
        by_seed: seed -> metric of the finished runs, percent.
    """

    name: str
    task: TaskName
    metric: MetricName
    series: str
    by_seed: Mapping[int, float]


@dataclass(frozen=True)
class NullComparison:
    """Three seeds of a student alone over three others of the very same training.

    Attributes:
        student: whose seeds they are.
        seeds: the three that are taken for distilled, and the three that are taken for the student alone.
        judged: the verdict on their differences, one by one in the order of the seeds.
    """

    student: StudentAlone
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    judged: PooledGain

    @property
    def excludes_zero(self) -> bool:
        """Whether it is a false alarm: its interval does not hold zero."""
        assert self.judged.lower is not None
        assert self.judged.upper is not None
        return not self.judged.lower <= 0 <= self.judged.upper


@dataclass(frozen=True)
class FalseAlarms:
    """How often nothing was taken for something.

    Attributes:
        comparisons: how many there are.
        excluding: how many of their intervals exclude zero.
        lower: lower end of the exact 95 % interval of the share (Clopper and Pearson 1934).
        upper: upper end of it.
        p_value: how often so many or more exclude zero where one in ten does (exact, binomial, one-sided).
    """

    comparisons: int
    excluding: int
    lower: float
    upper: float
    p_value: float

    @property
    def share(self) -> float:
        """Which part of the intervals excludes zero, 0 to 1."""
        return self.excluding / self.comparisons


def students_alone(claims: Iterable[Claim], arms: Arms) -> list[StudentAlone]:
    """The students that were trained alone on embedded data, each once.

    Args:
        claims: of all papers.
        arms: what was measured at one profile.
    """
    found: dict[str, StudentAlone] = {}
    for claim in claims:
        alone = arms.get((claim.id, "student", ()))
        if not claim.judged or claim.student is None or alone is None or not alone.finished:
            continue
        metric = main_metric(claim)
        series = alone.finished[0].series
        by_seed = alone.by_seed(metric)
        if by_seed and not alone.comparable:
            found.setdefault(series, StudentAlone(claim.student, claim.task, metric, series, by_seed))
    return list(found.values())


def null_comparisons(students: Iterable[StudentAlone]) -> list[NullComparison]:
    """Judges the seeds of students alone against one another, those of one task and metric together.

    Args:
        students: any; those with fewer than `SEEDS` seeds are left out.

    Returns:
        One for every six seeds of a student: the lower three of them stand for the student alone.
    """
    kinds: dict[tuple[TaskName, MetricName], list[tuple[StudentAlone, tuple[int, ...]]]] = {}
    for student in students:
        for six in _sixes(sorted(student.by_seed)):
            kinds.setdefault((student.task, student.metric), []).append((student, six))
    return [comparison for group in kinds.values() for comparison in _judged(group)]


def false_alarms(comparisons: Iterable[NullComparison]) -> FalseAlarms | None:
    """Counts how often nothing was taken for something; None without a comparison."""
    outcomes = [comparison.excludes_zero for comparison in comparisons]
    if not outcomes:
        return None
    # Late, for what it takes to import.
    from scipy.stats import binomtest

    test = binomtest(sum(outcomes), len(outcomes), 1 - LEVEL, alternative="greater")
    share = binomtest(sum(outcomes), len(outcomes)).proportion_ci(0.95, method="exact")
    return FalseAlarms(len(outcomes), sum(outcomes), float(share.low), float(share.high), float(test.pvalue))


def _sixes(seeds: list[int]) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(seeds) - SEEDS + 1, SEEDS):
        yield tuple(seeds[start : start + SEEDS])


def _judged(group: list[tuple[StudentAlone, tuple[int, ...]]]) -> Iterator[NullComparison]:
    """The comparisons of one task and metric, which share their noise as distilled rows do."""
    rows = {}
    for number, (student, six) in enumerate(group):
        sign = find_metric(student.metric).sign
        alone, other = six[:STANDARD_RUNS], six[STANDARD_RUNS:]
        pairs = zip(other, alone, strict=True)
        rows[str(number)] = [sign * (student.by_seed[x] - student.by_seed[y]) for x, y in pairs]
    judged = judge_gains_together(rows, find_margin(group[0][0].metric))
    for (student, six), gain in zip(group, judged.values(), strict=True):
        yield NullComparison(student, (six[STANDARD_RUNS:], six[:STANDARD_RUNS]), gain)
