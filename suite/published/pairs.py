"""One pair across the literature: every published number of a teacher, a student and a data set.

The numbers come from three places: claims, what the papers' folders quote about claims and pairs, and the
literature. Each number says who printed it and whose run it was.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from suite.catalogue import Catalogue, current
from suite.errors import SuiteError, did_you_mean
from suite.published.claims import Claim, Paper, Quoted, Setting, Source
from suite.published.finding import load_papers
from suite.published.literature import Document, Literature, PairRows, Provenance, Row, load_literature
from suite.published.metrics import find_metric, load_metrics
from suite.published.names import MetricName

STUDENT_ALONE = "student alone"
TEACHER_ALONE = "teacher alone"


@dataclass(frozen=True, order=True)
class Pair:
    """A teacher and a student on a data set.

    Attributes:
        student: model id.
        teacher: model id; empty if the student learns without one.
        dataset: where both are measured.
    """

    student: str
    teacher: str
    dataset: str

    @property
    def name(self) -> str:
        """The value of ``--pair``: ``TEACHER:STUDENT``, or the student alone."""
        return f"{self.teacher}:{self.student}" if self.teacher else self.student


@dataclass(frozen=True)
class Value:
    """A number that somebody printed.

    Attributes:
        row: id of the row that has it; for a claim, the first of its sources that prints it.
        claim: id of the claim, if it is one.
        method: its name; `STUDENT_ALONE` or `TEACHER_ALONE` for a model trained alone.
        metric: its name.
        printed: the number; None if only a gain was printed.
        gain: over the student alone, taken from the same source if that prints both numbers.
        gain_printed: whether the gain itself was printed; else it is a difference of printed numbers.
        student: what the source prints for the student alone.
        teacher: what it prints for the teacher.
        spread: printed standard deviation over runs.
        provenance: whose run it is.
        printed_by: who prints it, in a few words.
        source: the document.
        claimed_by: whose number it is, if the claim's own paper does not print it.
        settings: hyper-parameters that the document states for it; ``show CLAIM`` lists those of a claim.
        protocol: how it was produced, as far as the document says.
        note: what a reader must know about it.
        source_note: what a reader must know about all numbers of the document.
        discrepancies: titles of the contradictions that concern it.
    """

    row: str
    claim: str | None
    method: str
    metric: MetricName
    printed: str | None
    gain: str | None
    gain_printed: bool
    student: str | None
    teacher: str | None
    spread: str | None
    provenance: Provenance
    printed_by: str
    source: str
    claimed_by: str | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    protocol: str | None = None
    note: str | None = None
    source_note: str | None = None
    discrepancies: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether it is the number of a model trained alone."""
        return self.method in (STUDENT_ALONE, TEACHER_ALONE)


def pair_of(claim: Claim) -> Pair:
    """The pair that a claim is about. A network that is its own teacher counts as having no teacher."""
    teacher = None if claim.teacher == claim.student else claim.teacher
    return Pair(claim.student or "", teacher or "", claim.dataset)


def known_pairs() -> list[Pair]:
    """Every pair with a number of a distilled student, sorted by student, teacher and data set."""
    return sorted({pair for pair, value in _all_values() if not value.alone})


def find_pair(name: str, dataset: str | None = None) -> Pair:
    """The pair with this name.

    Args:
        name: ``TEACHER:STUDENT``, or a student for methods without a teacher.
        dataset: which data set; required if the pair has numbers on several.

    Raises:
        SuiteError: nothing is published about it, or on that data set, or its numbers are on several.
    """
    pairs = known_pairs()
    found = [pair for pair in pairs if pair.name == name]
    if not found:
        close = did_you_mean(name, {pair.name for pair in pairs})
        raise SuiteError(f"no number is known for a pair {name!r} (TEACHER:STUDENT); {close}")
    datasets = [pair.dataset for pair in found]
    if dataset is None and len(found) > 1:
        raise SuiteError(f"{name} has numbers on {' and '.join(datasets)}; choose one with --dataset")
    if dataset is not None and dataset not in datasets:
        raise SuiteError(f"{name} has no number on {dataset!r}; {did_you_mean(dataset, datasets)}")
    return next(pair for pair in found if dataset in (None, pair.dataset))


def values_of(pair: Pair) -> list[Value]:
    """Every published number of a pair and of its two models alone, sorted by method, metric and value.

    The models alone come first; of equal numbers, the method's own comes first, and gains without a number
    come last.
    """
    return sorted((value for other, value in _all_values() if _concerns(other, value, pair)), key=_order)


def _concerns(other: Pair, value: Value, pair: Pair) -> bool:
    if value.method == STUDENT_ALONE:
        return (other.student, other.dataset) == (pair.student, pair.dataset)
    if value.method == TEACHER_ALONE:
        return (other.teacher, other.dataset) == (pair.teacher, pair.dataset)
    return other == pair


def _order(value: Value) -> tuple[int, str, int, float, int, str]:
    alone = (TEACHER_ALONE, STUDENT_ALONE, value.method).index(value.method)
    metric = list(load_metrics()).index(value.metric)
    number = math.inf if value.printed is None else float(value.printed)
    whose = get_args(Provenance).index(value.provenance)
    return alone, value.method.casefold(), metric, number, whose, value.printed_by


def _all_values() -> tuple[tuple[Pair, Value], ...]:
    return _of(current())


@functools.lru_cache(maxsize=8)
def _of(catalogue: Catalogue) -> tuple[tuple[Pair, Value], ...]:
    return tuple(published_values(load_papers().values(), load_literature()))


def published_values(papers: Iterable[Paper], literature: Literature) -> Iterator[tuple[Pair, Value]]:
    """Every published number, with the pair that it is about; for a model alone, the other one is empty.

    A number that a claim takes over from the literature appears once, as in its document, with the claim's
    id.
    """
    papers = list(papers)
    claims = {claim.id: claim for paper in papers for claim in paper.claims}
    rows = {row.row for _, _, row in literature.rows()}
    taken = {
        source.row: claim for claim in claims.values() for source in claim.sources if source.is_one_of(rows)
    }
    for paper in papers:
        for claim in paper.claims:
            pair = pair_of(claim)
            sources = [source for source in claim.sources if source.row not in taken]
            yield from ((pair, value) for value in _of_claim(paper, claim, sources, claims))
        for quoted in paper.quoted:
            about = _models_of(paper, quoted, claims)
            if about is not None:
                yield from ((about, value) for value in _of_quoted(paper, quoted, about))
    for key, block, row in literature.rows():
        document = literature.documents[key]
        pair = Pair(block.student or "", block.teacher or "", document.dataset)
        values = _of_literature(literature, document, block, row, taken.get(row.row))
        yield from ((pair, value) for value in values)


def _of_claim(
    paper: Paper, claim: Claim, own: Sequence[Source], claims: Mapping[str, Claim]
) -> Iterator[Value]:
    """The numbers of a claim: for each metric, every distinct number that its own sources print."""
    provenance: Provenance = "quoted" if claim.role == "rival" or claim.claimed_by else "own"
    for metric, claimed in claim.metrics.items():
        student, teacher = (
            None if name is None or metric not in claims[name].metrics else str(claims[name].metrics[metric])
            for name in (claim.baseline, claim.teacher_claim)
        )
        by_number: dict[str, list[Source]] = {}
        for source in own:
            if metric in source.printed:
                by_number.setdefault(source.printed[metric], []).append(source)
        for printed, sources in by_number.items():
            gain = next((source.gains[metric] for source in sources if metric in source.gains), None)
            if gain is None and claimed.gain is not None and printed == str(claimed):
                gain = f"{claimed.gain:.{claimed.decimals}f}"
            yield Value(
                row=sources[0].row,
                claim=claim.id,
                method=claim.method or (TEACHER_ALONE if claim.kind.arm == "teacher" else STUDENT_ALONE),
                metric=metric,
                printed=printed,
                gain=gain or _difference(metric, printed, student),
                gain_printed=gain is not None,
                student=student,
                teacher=teacher,
                spread=None,
                provenance=provenance,
                printed_by=claim.claimed_by or paper.id.upper(),
                source=_documents(paper, claim, sources),
                claimed_by=claim.claimed_by,
                note=claim.note,
                discrepancies=tuple(paper.discrepancy(name).title for name in claim.discrepancies),
            )


def _documents(paper: Paper, claim: Claim, sources: Iterable[Source]) -> str:
    """Where a claim is printed; the paper itself is named only if the number is its own."""
    places = "; ".join(dict.fromkeys(source.where for source in sources))
    return places if claim.claimed_by else f"{paper.title} ({paper.venue}): {places}"


def _models_of(paper: Paper, quoted: Quoted, claims: Mapping[str, Claim]) -> Pair | None:
    """The pair that a quoted number is about; None if its row does not say."""
    if quoted.about is not None:
        return pair_of(claims[quoted.about])
    if quoted.models is None:
        return None
    (dataset,) = paper.table(quoted.table).datasets
    return Pair(quoted.models.student or "", quoted.models.teacher or "", dataset)


def _of_quoted(paper: Paper, quoted: Quoted, about: Pair) -> Iterator[Value]:
    for metric in dict.fromkeys([*quoted.metrics, *quoted.gains]):
        printed, gain = quoted.metrics.get(metric), quoted.gains.get(metric)
        # A student alone with numbers for several settings is not used: no source says which was distilled.
        student, teacher = quoted.student_metrics.get(metric), quoted.teacher_metrics.get(metric)
        yield Value(
            row=quoted.row,
            claim=None,
            method=quoted.method or (STUDENT_ALONE if about.student else TEACHER_ALONE),
            metric=metric,
            printed=printed,
            gain=gain or _difference(metric, printed, student),
            gain_printed=gain is not None,
            student=student,
            teacher=teacher,
            spread=None,
            provenance="re-run" if quoted.kind == "reproduction" else "quoted",
            printed_by=paper.document(quoted),
            source=paper.document(quoted),
            settings=quoted.hyperparameters.get("stated", {}),
            protocol=paper.table(quoted.table).protocol,
            note=quoted.note,
            discrepancies=tuple(paper.discrepancy(name).title for name in quoted.discrepancies),
        )


def _of_literature(
    literature: Literature, document: Document, pair: PairRows, row: Row, claim: Claim | None
) -> Iterator[Value]:
    for metric in dict.fromkeys([*row.metrics, *row.gains]):
        printed, gain = row.metrics.get(metric), row.gains.get(metric)
        student, teacher = pair.student_metrics.get(metric), pair.teacher_metrics.get(metric)
        yield Value(
            row=row.row,
            claim=claim.id if claim else None,
            method=row.method or (STUDENT_ALONE if pair.student else TEACHER_ALONE),
            metric=metric,
            printed=printed,
            gain=gain or _difference(metric, printed, student),
            gain_printed=gain is not None,
            student=student,
            teacher=teacher,
            spread=row.spread.get(metric),
            provenance=document.whose(row),
            printed_by=document.title,
            source=document.document,
            claimed_by=claim.claimed_by if claim else None,
            settings=row.settings,
            protocol=document.protocol,
            note=row.note,
            source_note=document.note,
            discrepancies=tuple(literature.discrepancy(name).title for name in row.discrepancies),
        )


def _difference(metric: MetricName, printed: str | None, alone: str | None) -> str | None:
    """The gain of a printed number over a printed student alone; None if one of them is missing."""
    if printed is None or alone is None:
        return None
    return find_metric(metric).printed_gain(printed, alone)
