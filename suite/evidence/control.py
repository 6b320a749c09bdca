"""The study's own control: students alone, judged by the code that judges distilled students.

**A/A**: half of their seeds are treated as if they were distilled. Both halves are trained alike, so about
one 90 % interval in ten should exclude zero. **Planted effects**: a student trained for twice as many epochs
as in its recipe must be a gain over the recipe's student, and one trained for half as many a loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from suite.evidence.embedded_noise import Kind, Pairs, gains_of, pairs_of
from suite.evidence.frame import main_metric
from suite.evidence.gathered import Arms
from suite.evidence.served import known_trainings
from suite.planning.composing import compose
from suite.published.claims import Claim
from suite.published.metrics import find_metric
from suite.published.names import MetricName, TaskName
from suite.published.priors import find_margin
from suite.verdicts import GAIN, LOSS, STANDARD_RUNS, GainName, PooledGain, judge_gains_together
from suite.verdicts.shared_noise import LEVEL

SEEDS: Final = 2 * STANDARD_RUNS
"""Seeds of a student alone for one comparison."""

EPOCHS: Final = "student.embedded.epochs="
"""Beginning of an override that plants an effect; the number of epochs follows."""

PLANTED: Final[Mapping[float, GainName]] = {2.0: GAIN, 0.5: LOSS}
"""Factor on the epochs of the recipe -> the verdict that a student trained for so many must have."""


@dataclass(frozen=True, eq=False)
class StudentAlone:
    """A student trained alone on embedded data, in whichever claims.

    Attributes:
        name: id of the model.
        task: its task.
        metric: the main metric of its claims.
        series: series of its runs.
        by_seed: seed -> metric of the finished runs, percent.
    """

    name: str
    task: TaskName
    metric: MetricName
    series: str
    by_seed: Mapping[int, float]


@dataclass(frozen=True)
class NullComparison:
    """Three seeds of a student alone compared with three others of exactly the same training.

    Attributes:
        student: the student.
        seeds: the three treated as distilled, and the three treated as the student alone.
        judged: the verdict on their differences, paired in the order of the seeds.
    """

    student: StudentAlone
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    judged: PooledGain

    @property
    def excludes_zero(self) -> bool:
        """Whether it is a false alarm: its interval does not contain zero."""
        assert self.judged.lower is not None
        assert self.judged.upper is not None
        return not self.judged.lower <= 0 <= self.judged.upper


@dataclass(frozen=True)
class PlantedEffect:
    """A student alone that was trained longer or shorter, compared with the student of its recipe.

    Attributes:
        student: the student with the other number of epochs.
        times: factor on the epochs of the recipe; a key of `PLANTED`.
        seeds: the seeds that both have.
        judged: the verdict on their differences, paired by seed.
    """

    student: StudentAlone
    times: float
    seeds: tuple[int, ...]
    judged: PooledGain

    @property
    def expected(self) -> GainName:
        """The verdict that it must have."""
        return PLANTED[self.times]

    @property
    def is_found(self) -> bool:
        """Whether it has that verdict."""
        return self.judged.verdict == self.expected


@dataclass(frozen=True)
class FalseAlarms:
    """The false alarm rate of null comparisons.

    Attributes:
        comparisons: number of comparisons.
        excluding: how many of their intervals exclude zero.
        lower: lower end of the exact 95 % interval of the share (Clopper and Pearson 1934).
        upper: upper end of it.
        p_value: probability that at least so many exclude zero if one in ten does (exact binomial test,
            one-sided).
    """

    comparisons: int
    excluding: int
    lower: float
    upper: float
    p_value: float

    @property
    def share(self) -> float:
        """Share of the intervals that exclude zero, 0 to 1."""
        return self.excluding / self.comparisons


def students_alone(claims: Iterable[Claim], arms: Arms) -> list[StudentAlone]:
    """The students that were trained alone on embedded data, each once.

    Args:
        claims: the claims of all papers.
        arms: what was measured at one profile.
    """
    found: dict[str, StudentAlone] = {}
    for claim in claims:
        if student := _student_alone(claim, arms):
            found.setdefault(student.series, student)
    return list(found.values())


def planted_effects(claims: Iterable[Claim], arms: Arms, profile: str) -> list[PlantedEffect]:
    """Judges the students trained for twice or half as many epochs, pooled by task and metric.

    Args:
        claims: the claims of all papers.
        arms: what was measured at one profile.
        profile: that profile.

    Returns:
        One for each such training that shares at least `STANDARD_RUNS` seeds with the student of the recipe.

    Raises:
        SuiteError: a recipe does not compose.
    """
    variants: dict[str, list[tuple[str, ...]]] = {}
    for claim_id, arm, variant in arms:
        if arm == "student" and len(variant) == 1 and variant[0].startswith(EPOCHS):
            variants.setdefault(claim_id, []).append(variant)
    kinds: dict[Kind, dict[str, tuple[StudentAlone, float, Pairs]]] = {}
    for claim in claims:
        for variant in sorted(variants.get(claim.id, ()), key=_epochs_of, reverse=True):
            other, times = _student_alone(claim, arms, variant), _times(claim, _epochs_of(variant), profile)
            if not _student_alone(claim, arms) or not other or times not in PLANTED:
                continue
            own, changed = (arms[claim.id, "student", which] for which in ((), variant))
            pairs = pairs_of(other.metric, changed, own)
            if len(pairs) >= STANDARD_RUNS:
                kinds.setdefault((other.task, other.metric), {})[other.series] = (other, times, pairs)
    return [effect for group in kinds.values() for effect in _planted(group)]


def null_comparisons(students: Iterable[StudentAlone]) -> list[NullComparison]:
    """Judges the seeds of students alone against one another, pooled by task and metric.

    Args:
        students: any; those with fewer than `SEEDS` seeds are left out.

    Returns:
        One for every six seeds of a student, of which the lower three are treated as the student alone.
    """
    kinds: dict[Kind, list[tuple[StudentAlone, tuple[int, ...]]]] = {}
    for student in students:
        for six in _sixes(sorted(student.by_seed)):
            kinds.setdefault((student.task, student.metric), []).append((student, six))
    return [comparison for group in kinds.values() for comparison in _judged(group)]


def false_alarms(comparisons: Iterable[NullComparison]) -> FalseAlarms | None:
    """Counts the false alarms; None without a comparison."""
    outcomes = [comparison.excludes_zero for comparison in comparisons]
    if not outcomes:
        return None
    # Imported late, since SciPy takes long to import.
    from scipy.stats import binomtest

    test = binomtest(sum(outcomes), len(outcomes), 1 - LEVEL, alternative="greater")
    share = binomtest(sum(outcomes), len(outcomes)).proportion_ci(0.95, method="exact")
    return FalseAlarms(len(outcomes), sum(outcomes), float(share.low), float(share.high), float(test.pvalue))


def _student_alone(claim: Claim, arms: Arms, variant: tuple[str, ...] = ()) -> StudentAlone | None:
    """The student of a claim, or of a variant of it; None if it was not trained alone on embedded data."""
    alone = arms.get((claim.id, "student", variant))
    if not claim.judged or claim.student is None or alone is None or not alone.finished:
        return None
    metric = main_metric(claim)
    by_seed = alone.by_seed(metric)
    if not by_seed or alone.comparable:
        return None
    return StudentAlone(claim.student, claim.task, metric, alone.finished[0].series, by_seed)


def _epochs_of(variant: tuple[str, ...]) -> int:
    """The number of epochs that a variant sets; 0 if it sets none."""
    wanted = variant[0].removeprefix(EPOCHS)
    return int(wanted) if wanted.isdecimal() else 0


def _times(claim: Claim, epochs: int, profile: str) -> float:
    """The factor of a number of epochs on those of a claim's recipe; NaN if unknown."""
    recipe = known_trainings().recipes.get((claim.id, "student", ()))
    if recipe is None or not epochs:
        return math.nan
    own = compose(recipe, profile).schedule.get("train_cfg", {}).get("max_epochs")
    return epochs / own if own else math.nan


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


def _planted(group: Mapping[str, tuple[StudentAlone, float, Pairs]]) -> Iterator[PlantedEffect]:
    """The planted effects of one task and metric, which share their noise."""
    margin = find_margin(next(iter(group.values()))[0].metric)
    judged = judge_gains_together({name: gains_of(pairs) for name, (*_, pairs) in group.items()}, margin)
    for name, (student, times, pairs) in group.items():
        yield PlantedEffect(student, times, tuple(pairs), judged[name])
