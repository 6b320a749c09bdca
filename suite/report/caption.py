"""The caption of a report, on all its claims together: how many ran, and the signs of their gains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import fsum

from suite.published.metrics import find_metric
from suite.published.priors import load_priors
from suite.published.roles import find_role, load_roles
from suite.report.cells import Row, many, p_value
from suite.verdicts import SignTest, sign_test


def captions(rows: Sequence[Row], profile: str) -> tuple[str, ...]:
    """The sentences of a paper's caption.

    Args:
        rows: all rows of the paper, in the order of its claims.
        profile: the profile of the rows.
    """
    return tuple(
        sentence
        for sentence in (
            _counts(rows, profile),
            _sign_sentence(sign_test(pair_gains(rows))),
            *_other_sentences(rows),
            _teacher_sentence(teacher_leads(rows)),
            _priors_used(rows),
        )
        if sentence
    )


def signs(test: SignTest) -> str:
    """The three counts of a sign test in words."""
    return f"{test.positive} above zero, {test.negative} below, {test.ties} equal"


def is_own_result(row: Row) -> bool:
    """Whether a row belongs to a claim that the paper presents as its own result."""
    return row["origin"] == "claim" and find_role(row["role"]).own


def pair_gains(rows: Iterable[Row], role: str | None = None) -> list[float]:
    """Mean gains of the pairs, for the sign test.

    A pair is a claim with a measured gain on its main metric, whatever its task; claims that are served by
    the same series of runs count as one pair.

    Args:
        rows: of the frame.
        role: the role of the claims; by default the papers' own results.

    Returns:
        Percent points, in the order of the claims.
    """
    gains: dict[str, float] = {}
    for row in rows:
        wanted = is_own_result(row) if role is None else (row["origin"], row["role"]) == ("claim", role)
        if wanted and row["main"] and row["gain"] is not None:
            gains.setdefault(row["series"], row["gain"])
    return list(gains.values())


def teacher_leads(rows: Iterable[Row]) -> dict[tuple[str, str, str], float]:
    """How much better teachers are than the students alone, for the paper's own methods.

    Returns:
        (teacher, student, main metric) -> how much better the teacher is than the student alone, in points
        of the metric, if both were measured; several methods on one teacher and student are one entry.
    """
    return {
        (row["teacher"], row["student"], row["metric"]): find_metric(row["metric"]).gain(
            row["teacher_measured"], row["student_mean"]
        )
        for row in rows
        if is_own_result(row)
        and row["main"]
        and row["teacher_measured"] is not None
        and row["student_mean"] is not None
    }


def _counts(rows: Sequence[Row], profile: str) -> str:
    """How many claims have each status."""
    status = {row["claim"]: row["status"] for row in rows if row["origin"] == "claim"}
    counted = Counter(status.values())
    judged = len(status) - counted["quoted"]
    parts = [f"{counted['finished']} of {judged} claims finished"]
    parts += [f"{counted[name]} {name}" for name in ("failed", "blocked", "not run") if counted[name]]
    quoted = {
        row["claim"]: row["role"] for row in rows if row["origin"] == "claim" and row["status"] == "quoted"
    }
    for role, count in Counter(quoted.values()).items():
        parts.append(f"{many(count, 'number')} of {find_role(role).plural} quoted")
    return f"Profile `{profile}`: {', '.join(parts)}."


def _sign_sentence(test: SignTest) -> str:
    pairs = test.positive + test.negative + test.ties
    if not pairs:
        return "No gain has been measured yet."
    return (
        f"Sign test over {many(pairs, 'pair')} (one per claim of the paper's own methods, on its main "
        f"metric): {signs(test)} (exact, two-sided p = {p_value(test.p_value)})."
    )


def _other_sentences(rows: Sequence[Row]) -> Iterator[str]:
    """A sentence on the gains of each role other than the paper's own results."""
    # Ablations, for example, share teacher, student and most of a method: their signs are not independent.
    for name, role in load_roles().items():
        gains = [] if role.own else pair_gains(rows, name)
        if gains:
            counted = f"{many(len(gains), 'gain')}, {signs(sign_test(gains))}"
            yield f"{role.plural.capitalize()}, not in the sign test: {counted}."


def _teacher_sentence(leads: dict[tuple[str, str, str], float]) -> str:
    if not leads:
        return ""
    wins = sum(lead > 0 for lead in leads.values())
    by_metric: dict[str, list[float]] = {}
    for (_, _, metric), lead in leads.items():
        by_metric.setdefault(metric, []).append(lead)
    parts = [f"{metric} {_mean(group):+.2f} over {len(group)}" for metric, group in by_metric.items()]
    return (
        f"The teacher beats the student alone in {wins} of {many(len(leads), 'teacher-student pair')}, by "
        f"{_mean(leads.values()):+.2f} points on average over pairs"
        + (f" ({', '.join(parts)})." if len(parts) > 1 else ".")
    )


def _priors_used(rows: Sequence[Row]) -> str:
    if not any(row["p_value"] is not None for row in rows):
        return ""
    return f"Noise priors: version {load_priors().version} (`baselines/priors.yaml`)."


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return fsum(numbers) / len(numbers)
